"""
The AWS CLI and graph-notebook's client, as their users have them.

They pin half the world, so they live in an environment of their own: NEPTUNE_ML_REAL_CLIENTS_PYTHON names its
interpreter, and ``pip install awscli graph-notebook`` makes it.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_neptune_ml.kinds import (
    DATA_PROCESSING,
    ENDPOINTS,
    EXPORT,
    KINDS,
    MODEL_TRAINING,
    MODEL_TRANSFORM,
)
from airflow_provider_neptune_ml.simulator import Simulator
from airflow_provider_neptune_ml.simulator.auth import EXAMPLE_CREDENTIAL
from airflow_provider_neptune_ml.simulator.model import operations

if TYPE_CHECKING:
    from collections.abc import Iterator

PYTHON = os.environ.get("NEPTUNE_ML_REAL_CLIENTS_PYTHON", "")
SESSIONS = Path(__file__).with_name("real_client_sessions.py")
NEPTUNES = {name for name, operation in operations().items() if operation.kind is not EXPORT}
ROLE = "arn:aws:iam::123456789012:role/neptune-ml"

pytestmark = pytest.mark.skipif(
    not PYTHON, reason="NEPTUNE_ML_REAL_CLIENTS_PYTHON names no interpreter with awscli and graph-notebook"
)


@pytest.fixture(params=[False, True], ids=["open", "iam-auth"])
def cluster(request: pytest.FixtureRequest) -> Iterator[Simulator]:
    """A cluster with what each kind builds on, without and with IAM auth."""
    with Simulator(clock="manual", iam_auth=request.param) as simulator:
        simulator.seed(DATA_PROCESSING.name, "data")
        simulator.seed(MODEL_TRAINING.name, "training")
        yield simulator


def session(cluster: Simulator, client: str, calls: list[Any]) -> list[list[Any]]:
    """Make calls with a real client; return what it got for each."""
    keys = {
        "AWS_ACCESS_KEY_ID": EXAMPLE_CREDENTIAL.access_key,
        "AWS_SECRET_ACCESS_KEY": EXAMPLE_CREDENTIAL.secret_key,
    }
    settings = {"client": client, "port": cluster.port, "iam_auth": cluster.iam_auth, "calls": calls}
    done = subprocess.run(
        [PYTHON, str(SESSIONS)],
        input=json.dumps(settings),
        env={
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/"),
            **(keys if cluster.iam_auth else {}),
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results: list[list[Any]] = json.loads(done.stdout)
    return results


def test_aws_cli(cluster: Simulator) -> None:
    """All sixteen operations work from the AWS CLI, which shows the errors' codes and not their texts."""
    starts = {
        DATA_PROCESSING: ["--input-data-s3-location", "s3://b/i", "--processed-data-s3-location", "s3://b/o"],
        MODEL_TRAINING: ["--data-processing-job-id", "data", "--train-model-s3-location", "s3://b/t"],
        MODEL_TRANSFORM: ["--data-processing-job-id", "data", "--ml-model-training-job-id", "training",
                          "--model-transform-output-s3-location", "s3://b/x"],
        ENDPOINTS: ["--ml-model-training-job-id", "training"],
    }  # fmt: skip
    calls = []
    for kind, words in starts.items():
        calls += [
            [_command(kind.start_operation), "--id", "job-1", *words, "--neptune-iam-role-arn", ROLE],
            [_command(kind.get_operation), "--id", "job-1"],
            [_command(kind.list_operation), "--max-items", "5"],
            [_command(kind.stop_operation), "--id", "job-1", "--clean"],
            [_command(kind.get_operation), "--id", "nobody"],
        ]
    results = session(cluster, "aws", calls)

    for (made, shown, listed, stopped, missed), kind in zip(_in_fives(results), starts, strict=True):
        assert json.loads(made[1])["id"] == "job-1"
        assert json.loads(shown[1])["status"] == kind.statuses.running
        assert "job-1" in json.loads(listed[1])["ids"]
        assert json.loads(stopped[1])["status"]
        assert missed[0] != 0
        assert "(MLResourceNotFoundException)" in missed[1]
    assert {request.operation for request in cluster.journal} == NEPTUNES


def test_graph_notebook_client(cluster: Simulator) -> None:
    """All sixteen operations work from graph-notebook's client, with the spellings that it has for them."""
    calls: list[list[Any]] = [
        ["dataprocessing_start", {"s3_input_uri": "s3://b/i", "s3_output_uri": "s3://b/o", "id": "job-1"}],
        ["dataprocessing_job_status", {"job_id": "job-1", "neptune_iam_role_arn": ROLE}],
        ["dataprocessing_list", {"max_items": 5, "neptune_iam_role_arn": ROLE}],
        ["dataprocessing_stop", {"job_id": "job-1", "clean": True}],
        ["dataprocessing_job_status", {"job_id": "nobody"}],
        ["modeltraining_start", {"data_processing_job_id": "data", "train_model_s3_location": "s3://b/t",
                                 "max_hpo_number_of_training_jobs": 2, "max_hpo_parallel_training_jobs": 2,
                                 "modelName": "rgcn", "id": "job-1"}],
        ["modeltraining_job_status", {"training_job_id": "job-1"}],
        ["modeltraining_list", {}],
        ["modeltraining_stop", {"training_job_id": "job-1", "clean": True, "neptune_iam_role_arn": ROLE}],
        ["modeltraining_job_status", {"training_job_id": "nobody"}],
        ["modeltransform_create", {"output_s3_location": "s3://b/x", "dataprocessing_job_id": "data",
                                   "modeltraining_job_id": "training", "id": "job-1"}],
        ["modeltransform_status", {"job_id": "job-1"}],
        ["modeltransform_list", {}],
        ["modeltransform_stop", {"job_id": "job-1"}],
        ["modeltransform_status", {"job_id": "nobody"}],
        ["endpoints_create", {"model_training_job_id": "training", "id": "job-1",
                              "instanceType": "ml.r5.xlarge"}],
        ["endpoints_status", {"endpoint_id": "job-1"}],
        ["endpoints", {}],
        ["endpoints_delete", {"endpoint_id": "job-1"}],
        ["endpoints_status", {"endpoint_id": "nobody"}],
    ]  # fmt: skip
    results = session(cluster, "graph-notebook", calls)

    for (made, shown, listed, stopped, missed), kind in zip(_in_fives(results), KINDS.values(), strict=True):
        assert [made[0], shown[0], listed[0], stopped[0], missed[0]] == [200, 200, 200, 200, 404]
        assert json.loads(shown[1])["status"] == kind.statuses.running
        assert "job-1" in json.loads(listed[1])["ids"]
        assert json.loads(missed[1])["detailedMessage"].startswith("Invalid ID provided.")
    assert {request.operation for request in cluster.journal} == NEPTUNES


def test_graph_notebook_export(cluster: Simulator) -> None:
    """The export works from graph-notebook's client, as ``%neptune_ml export`` uses it."""
    host = f"127.0.0.1:{cluster.port}/v1"
    params = {"outputS3Path": "s3://b/e", "params": {"endpoint": "c", "profile": "neptune_ml"}}
    [[status, text]] = session(
        cluster, "graph-notebook", [["export", {"host": host, "params": params, "ssl": False}]]
    )
    job = json.loads(text)["jobId"]
    cluster.finish(EXPORT.name, job)
    asked = [["export_status", {"host": host, "job_id": id_, "ssl": False}] for id_ in (job, "nobody")]
    [[found, said], [missed, _]] = session(cluster, "graph-notebook", asked)

    assert (status, found, missed) == (200, 200, 404)
    assert json.loads(said)["status"] == "succeeded"
    assert json.loads(said)["outputS3Uri"].startswith("s3://b/e/")


def test_aws_command(cluster: Simulator) -> None:
    """The ``aws`` command itself lists the trainings."""
    signing = [] if cluster.iam_auth else ["--no-sign-request"]
    command = [str(Path(PYTHON).with_name("aws")), "neptunedata", "list-ml-model-training-jobs", *signing]
    keys = {
        "AWS_ACCESS_KEY_ID": EXAMPLE_CREDENTIAL.access_key,
        "AWS_SECRET_ACCESS_KEY": EXAMPLE_CREDENTIAL.secret_key,
        "AWS_DEFAULT_REGION": cluster.region,
    }
    done = subprocess.run(
        [*command, "--endpoint-url", cluster.url, "--output", "json"],
        env={"PATH": os.environ["PATH"], **keys},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"ids": ["training"]}


def _command(operation: str) -> str:
    from botocore import xform_name

    return str(xform_name(operation, "-"))


def _in_fives(results: list[list[Any]]) -> list[list[list[Any]]]:
    return [results[start : start + 5] for start in range(0, len(results), 5)]
