"""`make demo` and `make airflow`: the example Dags in a real Airflow 3, against a simulated Neptune ML."""

from __future__ import annotations

import argparse
import math
import shutil
import signal
import sys
import tempfile
import textwrap
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_neptune_ml.kinds import DATA_PROCESSING, MODEL_TRAINING, Phase
from airflow_provider_neptune_ml.simulator import Simulator
from dev.aws import aws_connection, aws_server
from dev.local_airflow import LocalAirflow
from dev.rest_api import ENDED_RUN_STATES, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

HOMES = Path(__file__).parents[1] / ".airflow"
CONNECTION_ID = "neptune_ml_default"
# The jobs that the params of the example Dags name.
DATA_JOB_ID = "nightly-data"
TRAINING_JOB_ID = "my-training"
DEMO_SPEED = 80.0  # a training of 20 minutes takes 15 seconds
VISIBLE_SPEED = 60.0
# Between two looks some of these show and some don't; nobody misses them.
PASSING_STATES = frozenset({"scheduled", "queued"})
LINE = "{:<18} {:<4} {:<46} {:<28} {:>7}"

WHAT_NEXT = """
Try next:
  make airflow              the same Airflow and cluster, kept running, with the UI: trigger the Dags yourself
  example_dags/             the Dags that ran, and others
  docs/tasks.md             gates, retries, every argument
  docs/cancel.md            cancel and clean up
  docs/testing.md           test your own Dags without AWS
"""

WHAT_TO_DO = """
What to do now; every Dag runs as it is, with one click on Trigger:
  1. Trigger gate_on_training. Its training takes 20 s and shows on the page of the simulated cluster.
  2. Have the next training fail, trigger gate_on_training again, and read the log of its task "wait".
       {script} '{{"kind": "modeltraining", "fail_stage": "hpoJob", "reason": "out of memory"}}'
  3. Trigger train_with_cleanup with "Data are good" off: the training is cancelled.
  4. Trigger whole_workflow: from the export to a model that answers a query, all waits in the triggerer.
  5. Have a training complete that Airflow did not start: within a minute, on_training_completed runs.
       {seed} '{{"kind": "modeltraining", "id": "nightly-1"}}'
  6. Admin > Connections > {connection} > Test.

Ctrl-C ends it."""


@dataclass(frozen=True)
class Scene:
    """One Dag run and how it must end."""

    title: str
    dag_id: str
    run_state: str
    task_states: dict[str, str]
    job_status: str | None
    conf: dict[str, object] = field(default_factory=dict)
    stage_seconds: dict[str, float] = field(default_factory=dict)
    # When it is given up.
    timeout_seconds: float = 150

    @property
    def ends(self) -> dict[tuple[str, str], str]:
        """How the Dag run and its tasks must end."""
        tasks = {("task", name): state for name, state in self.task_states.items()}
        return {**tasks, ("Dag", self.dag_id): self.run_state}

    def marked(self, sort: str, name: str, state: str) -> str:
        """Return the state, with a mark if it is a failure that belongs to the scene."""
        expected = "failed" in state and self.ends.get((sort, name)) == state
        return f"{state}, as expected" if expected else state


SCENES = (
    Scene(
        title="Train, wait, and go on only because the training completed",
        dag_id="gate_on_training",
        run_state="success",
        task_states={"start": "success", "wait": "success", "use_model": "success"},
        job_status=MODEL_TRAINING.statuses.succeeded,
    ),
    Scene(
        title="A check fails while the training runs, and the training is cancelled",
        dag_id="train_with_cleanup",
        run_state="failed",
        task_states={
            "start": "success",
            "check_data": "failed",
            "cancel": "success",
            "fail_run": "failed",
            "wait": "failed",
            "use_model": "upstream_failed",
            "clean_up": "success",
        },
        job_status=MODEL_TRAINING.statuses.stopped,
        conf={"data_is_good": False},
        # However slow this machine is: the training still runs when the cancellation comes.
        stage_seconds={"hpoJob": 24 * 3600.0},
    ),
)


class Story:
    """Tells what happens when it happens, each change once, and remembers it for the closing table."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._seen: dict[tuple[str, str, str], tuple[str, float, float]] = {}

    def tell(self, what: str, news: str) -> None:
        """Print one line."""
        print(f"{time.monotonic() - self._began:6.1f} s  {what:<50} {news}", flush=True)

    def quote(self, error: str) -> None:
        """Print the beginning of what a failed task logged, below the line about the task."""
        indent = " " * 11
        print(
            textwrap.fill(error, 110, initial_indent=indent, subsequent_indent=indent, max_lines=2),
            flush=True,
        )

    def change(self, scene: Scene, sort: str, name: str, state: str | None) -> bool:
        """Print the state of a Dag run, task or job if it is another than last time; return whether it is."""
        now = time.monotonic()
        before, since, _ = self._seen.get((scene.dag_id, sort, name), (None, now, now))
        if not state or state == before or state in PASSING_STATES:
            return False
        self.tell(f"{sort:<5} {name}", scene.marked(sort, name, state))
        self._seen[scene.dag_id, sort, name] = (state, since, now)
        return True

    def close(self, scenes: tuple[Scene, ...]) -> None:
        """Print the closing table.

        :raises RuntimeError: if something ended otherwise than it should.
        """
        print("\n" + LINE.format("Dag", "", "", "ended as", "seconds"))
        by_dag = {scene.dag_id: scene for scene in scenes}
        dags = list(by_dag)
        rows = sorted(self._seen.items(), key=lambda row: (dags.index(row[0][0]), row[0][1] != "Dag"))
        for (dag_id, sort, name), (state, since, until_) in rows:
            marked = by_dag[dag_id].marked(sort, name, state)
            print(LINE.format(dag_id, sort, name, marked, f"{until_ - since:.1f}"))
        wrong = [line for scene in scenes for line in self._wrong(scene)]
        if wrong:
            raise RuntimeError("\n".join(wrong))
        print("\nEverything ended as it should.")

    def _wrong(self, scene: Scene) -> list[str]:
        seen = {key[1:]: state for key, (state, *_) in self._seen.items() if key[0] == scene.dag_id}
        jobs = [state for (sort, _), state in seen.items() if sort == "job"]
        wrong = [
            f"WRONG: {scene.dag_id} {' '.join(key)} should have ended as {state}, not as {seen.get(key)}"
            for key, state in scene.ends.items()
            if seen.get(key) != state
        ]
        if jobs != [scene.job_status]:
            wrong.append(f"WRONG: {scene.dag_id} should have left one job as {scene.job_status}, not {jobs}")
        return wrong


def play(scene: Scene, airflow: LocalAirflow, cluster: Simulator, story: Story) -> None:
    """Run one Dag to its end, telling what happens to it and its job."""
    print(f"\n{scene.title}")
    if scene.stage_seconds:
        cluster.script(MODEL_TRAINING.name, seconds=scene.stage_seconds)
    earlier_jobs = set(_jobs(cluster))
    run = airflow.api.trigger(scene.dag_id, scene.conf)

    def look() -> bool:
        airflow.check()
        # The run first: once it has ended, what is seen of its tasks afterwards is final.
        run_state = run.state()
        for task_id, state in run.task_states().items():
            if story.change(scene, "task", task_id, state) and state == "failed":
                story.quote(run.error(task_id))
        for job_id, status in _jobs(cluster).items():
            if job_id not in earlier_jobs:
                story.change(scene, "job", job_id, status)
        story.change(scene, "Dag", run.dag_id, run_state)
        return run_state in ENDED_RUN_STATES

    until(look, within=scene.timeout_seconds, what=f"the end of {scene.dag_id}")


def _jobs(cluster: Simulator) -> dict[str, str]:
    """Return the status of each training job, with its stage while it runs."""
    jobs = {}
    for job in cluster.overview()["kinds"][MODEL_TRAINING.name]:
        description = cluster.describe(MODEL_TRAINING.name, job["id"])
        status = description["status"]
        stage = [stage.title for stage in MODEL_TRAINING.stages if stage.member in description][-1]
        jobs[job["id"]] = (
            f"{status} ({stage})" if MODEL_TRAINING.phase_of(status) is Phase.RUNNING else status
        )
    return jobs


def seed(cluster: Simulator) -> None:
    """Have the jobs on a cluster that the params of the example Dags name."""
    cluster.seed(DATA_PROCESSING.name, DATA_JOB_ID, status=DATA_PROCESSING.statuses.succeeded)
    cluster.seed(MODEL_TRAINING.name, TRAINING_JOB_ID, status=MODEL_TRAINING.statuses.succeeded)


@contextmanager
def local_set_up(speed: float, story: Story) -> Iterator[tuple[LocalAirflow, Simulator]]:
    """
    Run a simulated cluster with processed data, AWS with its logs and files, and an Airflow with connections.

    :param speed: how much faster than real time the cluster's clock is.
    :param story: is told what happens.
    """
    HOMES.mkdir(exist_ok=True)
    home = Path(tempfile.mkdtemp(dir=HOMES, prefix=time.strftime("%Y%m%d-%H%M%S-")))
    with aws_server() as aws, Simulator(speed=speed, aws_endpoint_url=aws) as cluster:
        seed(cluster)
        story.tell("Neptune ML simulator", f"{cluster.url}  ({speed:g} times as fast as real time)")
        connections = {CONNECTION_ID: cluster.connection, "aws_default": aws_connection(aws)}
        progress = partial(story.tell, "Airflow")
        try:
            with LocalAirflow(home, connections=connections, progress=progress) as airflow:
                story.tell("Airflow", airflow.url)
                yield airflow, cluster
        except Exception:
            print(f"\nFailed; the logs are in {home}", file=sys.stderr)
            raise
        except BaseException:
            shutil.rmtree(home)
            raise
    shutil.rmtree(home)


def run_demo() -> int:
    """Play all scenes; return the exit code."""
    story = Story()
    with local_set_up(DEMO_SPEED, story) as (airflow, cluster):
        for scene in SCENES:
            play(scene, airflow, cluster, story)
        story.close(SCENES)
    story.tell("Airflow", "stopped")
    print(WHAT_NEXT)
    return 0


def keep_running() -> int:
    """Run the set-up until a signal ends it."""
    story = Story()
    with local_set_up(VISIBLE_SPEED, story) as (airflow, cluster):
        print(f"\nAirflow             {airflow.url}  (no login: everybody on this machine is its admin)")
        print(f"Simulated cluster   {cluster.url}")
        print(f"Dags                {airflow.env['AIRFLOW__CORE__DAGS_FOLDER']}")
        print(f"Logs                {airflow.home}")
        control = f"curl -fsS {cluster.url}/_simulator/{{}} -H 'Content-Type: application/json' -d"
        commands = {name: control.format(name) for name in ("script", "seed")}
        print(WHAT_TO_DO.format(connection=CONNECTION_ID, **commands), flush=True)
        return until(airflow.check, within=math.inf, what="the end")


def _exit(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def exit_code_of(run: Callable[[], int], *, interrupted: int = 130) -> int:
    """
    Run a command, and return its exit code, however it ends.

    :param run: what runs it.
    :param interrupted: the exit code after Ctrl-C.
    """
    # An exit like any other, so that the processes are ended.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _exit)
    try:
        return run()
    except (OSError, RuntimeError, ImportError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nEnded.")
        return interrupted


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep-running", action="store_true", help="only start everything; Ctrl-C ends it")
    if parser.parse_args().keep_running:
        return exit_code_of(keep_running, interrupted=0)
    return exit_code_of(run_demo)


if __name__ == "__main__":
    sys.exit(main())
