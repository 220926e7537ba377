"""`make demo-workflow`: the example Dag `whole_workflow` in a real Airflow 3, all around it simulated."""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from airflow_provider_neptune_ml.kinds import DATA_PROCESSING, MODEL_TRAINING
from airflow_provider_neptune_ml.simulator import Simulator
from dev.aws import aws_client, aws_connection, aws_server
from dev.demo import DEMO_SPEED, PASSING_STATES, Story
from dev.local_airflow import LocalAirflow
from dev.rest_api import ENDED_RUN_STATES, until

DAG_ID = "whole_workflow"
RUN_SECONDS = 600
BUCKET = "my-bucket"  # as the Dag says
# Both as in AWS's examples, shortened.
CONFIGURATION = {
    "models": [
        {
            "model": "rgcn",
            "task_type": "node_class",
            "eval_metric": {"metric": "acc"},
            "1-tier-param": [
                {"param": "num-hidden", "range": [16, 128], "type": "int", "inc_strategy": "power2"},
                {"param": "num-epochs", "range": [3, 30], "type": "int", "inc_strategy": "linear"},
            ],
        }
    ]
}
METRICS = {"accuracy": 0.86, "macro avg": {"f1-score": 0.84}}
_FILES: dict[str, dict[str, Any]] = {
    DATA_PROCESSING.name: {"model-hpo-configuration.json": CONFIGURATION},
    MODEL_TRAINING.name: {"eval_metrics_info.json": METRICS, "test_metrics_info.json": METRICS},
}


class Bucket:
    """
    A bucket in a server of moto's.

    :param url: the server.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self.client = aws_client("s3", url)
        self.client.create_bucket(Bucket=BUCKET)

    @property
    def connection(self) -> dict[str, Any]:
        """The AWS connection that leads there."""
        return aws_connection(self._url)

    def read(self, url: str) -> Any:
        """Return what the JSON of an object says."""
        key = url.removeprefix(f"s3://{BUCKET}/")
        return json.loads(self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read())

    def fill(self, cluster: Simulator, seen: set[str]) -> list[tuple[str, str]]:
        """
        Leave the files of each job that has an output and is not among those seen; return these jobs.

        :param cluster: the simulated cluster.
        :param seen: the outputs that have their files.
        """
        found = []
        for kind, files in _FILES.items():
            for job in cluster.overview()["kinds"][kind]:
                output = job["stages"][0]["output"]
                if output in seen:
                    continue
                for name, content in files.items():
                    key = f"{output}/{name}".removeprefix(f"s3://{BUCKET}/")
                    self.client.put_object(Bucket=BUCKET, Key=key, Body=json.dumps(content).encode())
                seen.add(output)
                found.append((kind, job["id"]))
        return found


@contextmanager
def bucket() -> Iterator[Bucket]:
    """Serve S3 with the bucket."""
    with aws_server() as url:
        yield Bucket(url)


def run_workflow(airflow: LocalAirflow, cluster: Simulator, s3: Bucket, story: Story) -> str:
    """Run the Dag to its end, telling what happens; return the state of the run."""
    told: dict[str, str | None] = {}
    outputs: set[str] = set()
    run = airflow.api.trigger(DAG_ID, {})

    def look() -> bool:
        airflow.check()
        s3.fill(cluster, outputs)
        # The run first: once it has ended, what is seen of its tasks afterwards is final.
        state = run.state()
        for task_id, news in run.task_states().items():
            if news and news != told.get(task_id) and news not in PASSING_STATES:
                story.tell(f"task  {task_id}", news)
                told[task_id] = news
                if news == "failed":
                    print(run.log(task_id))
        return state in ENDED_RUN_STATES

    until(look, within=RUN_SECONDS, what=f"the end of {DAG_ID}")
    return str(run.state())


def main() -> int:
    """Run everything; return the exit code."""
    # An exit like any other, so that the processes are ended.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    story = Story()
    with (
        tempfile.TemporaryDirectory(prefix="neptune-ml-", ignore_cleanup_errors=True) as home,
        Simulator(speed=DEMO_SPEED) as cluster,
        bucket() as s3,
    ):
        story.tell("Neptune ML simulator", f"{cluster.url}  ({DEMO_SPEED:g} times as fast as real time)")
        story.tell("Airflow", "starting")
        connections = {"NEPTUNE_ML_DEFAULT": cluster.connection, "AWS_DEFAULT": s3.connection}
        env = {f"AIRFLOW_CONN_{name}": json.dumps(known) for name, known in connections.items()}
        # However slow this machine is: the default of 5 s kills tasks whose server has yet to warm up.
        env["AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT"] = "60"
        with LocalAirflow(Path(home), env=env, busy=True) as airflow:
            story.tell("Airflow", airflow.url)
            state = run_workflow(airflow, cluster, s3, story)
        story.tell(f"Dag   {DAG_ID}", state)
        for call in cluster.calls("ExecuteGremlinQuery"):
            print(f"\nAsked before it counted as deployed:\n{call.body['gremlin']}")
    return 0 if state == "success" else 1


if __name__ == "__main__":
    sys.exit(main())
