"""What the simulator leaves in an AWS account: log lines and metrics, in moto's server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from airflow_provider_neptune_ml.kinds import ENDPOINTS, MODEL_TRAINING, ResourceKind
from airflow_provider_neptune_ml.logs import streams_of
from airflow_provider_neptune_ml.simulator import Simulator
from tests.cloudwatch import CloudWatch, moto_server
from tests.simulator.cli import running, url_in


@pytest.fixture(scope="module")
def account() -> Iterator[CloudWatch]:
    """An AWS account."""
    with moto_server() as server:
        yield server


@pytest.fixture
def cluster(account: CloudWatch) -> Iterator[Simulator]:
    """A simulator that writes to it."""
    account.reset()
    with Simulator(clock="manual", aws_endpoint_url=account.url) as simulator:
        yield simulator


def get(url: str, kind: str) -> Any:
    """Describe the resource ``mine`` as a client does."""
    client = boto3.client(
        "neptunedata",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
    )
    operation = {"modeltraining": "get_ml_model_training_job", "endpoints": "get_ml_endpoint"}
    operation |= {
        "dataprocessing": "get_ml_data_processing_job",
        "modeltransform": "get_ml_model_transform_job",
    }
    return getattr(client, operation[kind])(id="mine")


def lines_in(account: CloudWatch, group: str) -> list[str]:
    """Return the lines of a log group."""
    events = account.client().filter_log_events(logGroupName=group)["events"]
    return [event["message"] for event in events]


@pytest.mark.parametrize("kind", [MODEL_TRAINING, ENDPOINTS], ids=lambda kind: kind.name)
def test_each_stage_has_lines_where_its_link_leads(
    cluster: Simulator, account: CloudWatch, kind: ResourceKind
) -> None:
    """Who describes a resource finds the lines of each of its stages by what the reply says."""
    cluster.seed(kind.name, "mine", status=kind.statuses.running)
    cluster.advance(1)
    cluster.finish(kind.name, "mine")
    reply = get(cluster.url, kind.name)

    for stage, part in kind.stages_in(reply):
        streams = streams_of(stage, part)
        assert streams is not None
        lines = lines_in(account, streams.group)
        assert f"Starting {stage.resource} {part['name']}" in lines
        assert f"{stage.title}: 10 of 10; reporting success" in lines


def test_lines_come_with_time_and_once(cluster: Simulator, account: CloudWatch) -> None:
    """A stage logs as it goes on; described twice, it has its lines once; a failed one says why."""
    cluster.seed("dataprocessing", "mine", status="InProgress")
    counts = []
    for _ in range(3):
        cluster.advance(100)
        get(cluster.url, "dataprocessing")
        get(cluster.url, "dataprocessing")
        counts.append(len(lines_in(account, "/aws/sagemaker/ProcessingJobs")))
    cluster.fail("dataprocessing", "mine", reason="no GPU")
    get(cluster.url, "dataprocessing")

    lines = lines_in(account, "/aws/sagemaker/ProcessingJobs")
    assert counts == sorted(set(counts))
    assert lines[-2:] == ["RuntimeError: no GPU", "Reporting Failed"]
    assert len(lines) == len(set(lines))


def test_a_tuning_job_has_a_stream_per_training_job(cluster: Simulator, account: CloudWatch) -> None:
    """As in SageMaker, its training jobs log, each for itself."""
    cluster.seed("modeltraining", "mine", status="InProgress")
    cluster.advance(400)
    name = get(cluster.url, "modeltraining")["hpoJob"]["name"]

    streams = account.client().describe_log_streams(logGroupName="/aws/sagemaker/TrainingJobs")["logStreams"]

    assert len(streams) == 2
    assert all(stream["logStreamName"].startswith(f"{name}-00") for stream in streams)


def test_metrics_of_a_trained_model(account: CloudWatch, monkeypatch: pytest.MonkeyPatch) -> None:
    """A completed training has left its metrics at its output location; from the command line, too."""
    account.reset()
    with running("--clock", "manual", "--aws-endpoint-url", account.url) as (_, banner):
        url = url_in(banner)
        from urllib.request import Request, urlopen

        body = json.dumps({"kind": "modeltraining", "id": "mine"}).encode()
        urlopen(Request(f"{url}/_simulator/seed", body, {"Content-Type": "application/json"})).close()
        location = get(url, "modeltraining")["processingJob"]["outputLocation"]

    bucket, _, prefix = location.removeprefix("s3://").partition("/")
    for name in ("eval", "test"):
        found = account.client("s3").get_object(Bucket=bucket, Key=f"{prefix}/{name}_metrics_info.json")
        assert json.loads(found["Body"].read())["accuracy"] > 0.8


def test_an_account_out_of_reach_harms_nobody() -> None:
    """Where nobody listens, the cluster answers all the same."""
    with Simulator(clock="manual", aws_endpoint_url="http://127.0.0.1:9") as simulator:
        simulator.seed("modeltraining", "mine")
        assert get(simulator.url, "modeltraining")["status"] == "Completed"


def test_an_endpoint_is_a_url() -> None:
    """Anything else is refused before anything listens."""
    with pytest.raises(ValueError, match="aws_endpoint_url='localhost:5000': must be an http or https URL"):
        Simulator(aws_endpoint_url="localhost:5000")
