"""What SageMaker would leave in the AWS account: a stage's log, and the files that a user's tasks read."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from typing import TYPE_CHECKING, Any

from airflow_provider_neptune_ml.kinds import DATA_PROCESSING, MODEL_TRAINING, Phase, Stage, stage_phase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_neptune_ml.simulator.resources import Resource, Run

# As in AWS's examples, shortened; node classification has scikit-learn's report.
FILES: dict[str, dict[str, Any]] = {
    DATA_PROCESSING.name: {
        "model-hpo-configuration.json": {
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
    },
    MODEL_TRAINING.name: {
        "eval_metrics_info.json": {"accuracy": 0.87, "macro avg": {"f1-score": 0.85}, "MSE": 0.13},
        "test_metrics_info.json": {"accuracy": 0.86, "macro avg": {"f1-score": 0.84}, "MSE": 0.14},
    },
}
_EPOCHS = 10
_TIMES: Any = {"connect_timeout": 2, "read_timeout": 5, "retries": {"total_max_attempts": 1}}
# Of anybody: what listens at the endpoint asks for none in particular.
_CREDENTIALS = {"aws_access_key_id": "simulator", "aws_secret_access_key": "simulator"}
_log = logging.getLogger(__name__)


class Account:
    """
    Write to CloudWatch Logs and S3, at an endpoint such as moto's server.

    What is due is written when a resource is described, before the answer: nothing runs in the background.
    A client that sees a failed stage finds its last lines. After a restart, all is written once more.

    :param endpoint_url: where both services listen.
    :param region: the AWS region.
    """

    def __init__(self, endpoint_url: str, region: str) -> None:
        self._endpoint_url = endpoint_url
        self._region = region
        self._clients: dict[str, Any] = {}
        # How many lines of a stream, by its group and name.
        self._written: dict[tuple[str, str], int] = {}
        # The output locations that have their files.
        self._filled: set[str] = set()
        self._has_failed = False

    def write(self, resource: Resource, now: float) -> None:
        """Write what a resource has left up to a moment of simulated time; never raises."""
        try:
            for stage in resource.row.stages:
                for run in resource.runs:
                    if run.member == stage.member and run.starts <= now:
                        self._write_log(resource, stage, run, now)
            if resource.kind in FILES and resource.has_succeeded(now):
                self._write_files(str(resource.runs[0].output), FILES[resource.kind])
        except Exception as error:  # whatever boto3 raises: the cluster goes on
            if not self._has_failed:
                _log.warning("aws_endpoint_url=%s: %s: %s", self._endpoint_url, type(error).__name__, error)
            self._has_failed = True

    def _write_log(self, resource: Resource, stage: Stage, run: Run, now: float) -> None:
        group, _ = stage.log_streams(run.name)
        lines = list(_lines(stage, run, now))
        for stream in _streams(resource, stage, run):
            written = self._written.get((group, stream), 0)
            if len(lines) <= written:
                continue
            logs = self._client("logs")
            if not written:
                _unless_there(logs.create_log_group, logGroupName=group)
                _unless_there(logs.create_log_stream, logGroupName=group, logStreamName=stream)
            at = int(time.time() * 1000)
            logs.put_log_events(
                logGroupName=group,
                logStreamName=stream,
                logEvents=[{"timestamp": at, "message": line} for line in lines[written:]],
            )
            self._written[group, stream] = len(lines)

    def _write_files(self, location: str, files: dict[str, Any]) -> None:
        bucket, _, prefix = location.removeprefix("s3://").partition("/")
        if location in self._filled or not bucket:
            return
        s3 = self._client("s3")
        _unless_there(s3.create_bucket, Bucket=bucket)
        for name, content in files.items():
            s3.put_object(Bucket=bucket, Key=f"{prefix}/{name}", Body=json.dumps(content).encode())
        self._filled.add(location)

    def _client(self, service: str) -> Any:
        if service not in self._clients:
            import boto3
            from botocore.config import Config

            credentials: Any = {} if _has_credentials() else _CREDENTIALS
            session: Any = boto3.Session(region_name=self._region, **credentials)
            self._clients[service] = session.client(
                service, endpoint_url=self._endpoint_url, config=Config(**_TIMES)
            )
        return self._clients[service]


def _has_credentials() -> bool:
    return bool(os.environ.get("AWS_ACCESS_KEY_ID") or os.environ.get("AWS_PROFILE"))


def _unless_there(create: Callable[..., object], **members: str) -> None:
    from botocore.exceptions import ClientError

    try:
        create(**members)
    except ClientError as error:
        if "Already" not in error.response["Error"]["Code"]:
            raise


def _streams(resource: Resource, stage: Stage, run: Run) -> list[str]:
    """Return the names of a stage's streams; a tuning job has one per training job."""
    if stage.has_own_log_group:
        return [f"AllTraffic/i-{hashlib.sha256(run.name.encode()).hexdigest()[:17]}"]
    jobs = resource.training_jobs if stage.resource == "hyper-parameter-tuning-job" else [run.name]
    return [f"{job}/algo-1-{int(run.starts)}" for job in jobs]


def _lines(stage: Stage, run: Run, now: float) -> Iterator[str]:
    """Yield what a stage has logged up to a moment."""
    yield f"Starting {stage.resource} {run.name}"
    seconds = max(run.ends - run.starts, 1e-9)
    done = min(_EPOCHS - 1, int(_EPOCHS * (min(now, run.ends) - run.starts) / seconds))
    for epoch in range(1, done + 1):
        yield f"{stage.title}: {epoch} of {_EPOCHS}, loss {2.0 / (1 + epoch):.3f}"
    if now < run.ends:
        return
    if stage_phase(run.ending) is Phase.SUCCEEDED:
        yield f"{stage.title}: {_EPOCHS} of {_EPOCHS}; reporting success"
        return
    yield "Traceback (most recent call last):"
    yield '  File "/opt/ml/code/run.py", line 42, in main'
    yield f"RuntimeError: {run.reason or run.ending}"
    yield f"Reporting {run.ending}"
