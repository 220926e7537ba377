"""What OpenLineage learns of a task: from its provider, in a process where it is enabled, and in detail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_neptune_ml.exceptions import NeptuneMLFailedError, NeptuneMLServiceError
from airflow_provider_neptune_ml.operators.neptune_ml import (
    NeptuneMLCancelModelTrainingJobOperator,
    NeptuneMLModelMetricsOperator,
    NeptuneMLStartModelTransformJobOperator,
)
from airflow_provider_neptune_ml.sensors.neptune_ml import NeptuneMLModelTrainingJobSensor
from airflow_provider_neptune_ml.simulator import Simulator
from tests.conftest import CONNECTION_VARIABLE, use_dags_folder
from tests.contexts import context
from tests.dag_files import IMPORTS
from tests.operators.tasks import deploy, start
from tests.sdk import DAG

DAG_FILE = """
with DAG("lineage", schedule=None, default_args={"poll_interval": 0.05, "poke_interval": 0.05}) as dag:
    train = NeptuneMLStartModelTrainingJobOperator(
        task_id="train",
        data_processing_job_id="data-1",
        train_model_s3_location="s3://my-bucket/models/{{ dag.dag_id }}",
        deferrable=True,
    )
    create = NeptuneMLCreateEndpointOperator(
        task_id="create", endpoint_id="fraud", ml_model_training_job_id=train.output
    )
    broken = NeptuneMLModelTrainingJobSensor(task_id="broken", job_id="bad")
    create >> broken
"""
# No look-up times out because this machine is busy.
RUN = """
import runpy, sys
from botocore.config import Config
from airflow_provider_neptune_ml import lineage
from airflow_provider_neptune_ml.hooks import clients
lineage._LOOK_UP_SECONDS = 60.0
clients.KILL_CONFIG = Config(connect_timeout=60.0, read_timeout=60.0)
runpy.run_path(sys.argv[1])["dag"].test()
"""
Events = dict[tuple[str, str], tuple[set[str], set[str]]]


@pytest.fixture
def events(airflow_database: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Events]:
    """Run a Dag in a process with OpenLineage, and return the inputs and outputs of its events."""

    def run(simulator: Simulator, text: str) -> Events:
        use_dags_folder(monkeypatch, tmp_path)
        path, written = tmp_path / "dag.py", tmp_path / "events.json"
        path.write_text(IMPORTS + text)
        transport = {"type": "file", "log_file_path": str(written), "append": True}
        env = {
            **os.environ,
            CONNECTION_VARIABLE: json.dumps(simulator.connection),
            "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(transport),
            "AIRFLOW__OPENLINEAGE__EXECUTION_TIMEOUT": "120",
        }
        subprocess.run([sys.executable, "-c", RUN, str(path)], env=env, check=True, capture_output=True)
        found = map(json.loads, written.read_text().splitlines())
        return {
            (event["job"]["name"].removeprefix("lineage."), event["eventType"]): (
                urls(event["inputs"]),
                urls(event["outputs"]),
            )
            for event in found
        }

    return run


def urls(datasets: Any) -> set[str]:
    """Return datasets, as plain data or as OpenLineage's, as URLs."""
    plain = (SimpleNamespace(**each) if isinstance(each, dict) else each for each in datasets)
    return {f"{each.namespace}/{each.name}" for each in plain}


def test_events(events: Callable[..., Events]) -> None:
    """Each step's outputs are inputs of the next one: of a deferred start, a creation, and a sensor."""
    with Simulator(speed=20_000) as simulator:
        simulator.seed("dataprocessing", "data-1", status="Completed")
        simulator.seed("modeltraining", "bad", status="Failed")

        found = events(simulator, DAG_FILE)

        cluster = f"neptune-ml://127.0.0.1:{simulator.port}"
        [job] = [each["id"] for each in simulator.overview()["kinds"]["modeltraining"] if each["id"] != "bad"]
        data, model, bad = (
            {part["outputLocation"] for part in simulator.describe(*each).values() if isinstance(part, dict)}
            for each in (("dataprocessing", "data-1"), ("modeltraining", job), ("modeltraining", "bad"))
        )
        endpoint = simulator.describe("endpoints", "fraud")["endpoint"]["arn"].replace(
            ":endpoint", "/endpoint"
        )
    assert found["train", "START"] == (set(), {"s3://my-bucket/models/lineage"})
    training = f"{cluster}/modeltraining/{job}"
    assert found["train", "COMPLETE"] == ({f"{cluster}/dataprocessing/data-1", *data}, {training, *model})
    assert found["create", "COMPLETE"] == ({training, *model}, {f"{cluster}/endpoints/fraud", endpoint})
    assert found["broken", "FAIL"] == ({f"{cluster}/modeltraining/bad"}, bad)


def asked(task: Any, when: str = "complete") -> tuple[set[str], set[str]]:
    """Return the inputs and outputs that OpenLineage is told; on Airflow 3.0 it asks an unrendered copy."""
    with DAG("other", schedule=None):
        unrendered = start(task_id="copy", data_processing_job_id="{{ no }}")
    asks = task if when == "start" or not hasattr(task, "durable") else unrendered
    known = () if when == "start" else (SimpleNamespace(task=task),)
    lineage = getattr(asks, f"get_openlineage_facets_on_{when}")(*known)
    return urls(lineage.inputs), urls(lineage.outputs)


@pytest.fixture
def cluster(simulator: Simulator, connection: dict[str, Any]) -> str:
    """How the datasets of the simulated cluster begin."""
    return f"neptune-ml://127.0.0.1:{simulator.port}"


def test_at_the_start_only_locations_are_known(simulator: Simulator, cluster: str) -> None:
    """Nothing is asked for, and what isn't rendered is left out."""
    code = {"sourceS3DirectoryPath": "s3://code"}
    task = start(custom_model_training_parameters=code, train_model_s3_location="s3://bucket/a/")
    assert asked(task, "start") == ({"s3://code//"}, {"s3://bucket/a"})
    assert asked(start(train_model_s3_location="s3://bucket/{{ ds }}"), "start") == (set(), set())
    assert not simulator.journal


def test_a_start_that_does_not_wait(simulator: Simulator, cluster: str, completed_data: str) -> None:
    """Where the job writes is in its first description."""
    task = start()
    job_id = str(task.execute(context()))

    inputs, outputs = asked(task)

    data = simulator.describe("dataprocessing", "data-1")["processingJob"]["outputLocation"]
    assert inputs == {f"{cluster}/dataprocessing/data-1", data}
    model = simulator.describe("modeltraining", job_id)["processingJob"]["outputLocation"]
    assert outputs == {f"{cluster}/modeltraining/{job_id}", model}


def test_a_start_that_fails(simulator: Simulator, cluster: str) -> None:
    """What it would have read that isn't there is named, and costs no error."""
    task = start(job_id="mine")
    with pytest.raises(NeptuneMLServiceError):
        task.execute(context())

    inputs, outputs = asked(task, "failure")

    assert inputs == {f"{cluster}/dataprocessing/data-1"}
    assert outputs == {f"{cluster}/modeltraining/mine", "s3://bucket/model"}


def test_a_failed_job_has_written_a_part(simulator: Simulator, cluster: str, completed_data: str) -> None:
    """The outputs are those of the stages that there were."""
    task = start(wait_for_completion=True, deferrable=True)
    simulator.seed("modeltraining", "mine", status="Failed")
    description = simulator.describe("modeltraining", "mine")
    event = {"status": "failed", "resource_id": "mine", "description": description}
    with pytest.raises(NeptuneMLFailedError):
        task.execute_complete(context(), event)

    _, outputs = asked(task, "failure")

    assert outputs == {f"{cluster}/modeltraining/mine", description["processingJob"]["outputLocation"]}


def test_a_transform_builds_on_two_jobs(simulator: Simulator, cluster: str) -> None:
    """Both are inputs, each with what it has written."""
    for kind in ("dataprocessing", "modeltraining"):
        simulator.seed(kind, "old", status="Completed")
    task = NeptuneMLStartModelTransformJobOperator(
        task_id="transform",
        model_transform_output_s3_location="s3://bucket",
        data_processing_job_id="old",
        ml_model_training_job_id="old",
        deferrable=False,
    )
    inputs, outputs = asked(task)

    assert {f"{cluster}/dataprocessing/old", f"{cluster}/modeltraining/old"} < inputs
    assert len({each for each in inputs if each.startswith("s3://")}) == 4
    assert outputs == {"s3://bucket//"}


def test_sensors_read_what_they_wait_for(simulator: Simulator, cluster: str) -> None:
    """So does the check of metrics; a cancellation reads and writes nothing."""
    simulator.seed("modeltraining", "mine", status="Completed")
    sensor = NeptuneMLModelTrainingJobSensor(task_id="wait", job_id="mine", deferrable=False)
    sensor.execute(context())

    inputs, outputs = asked(sensor)

    assert inputs == {f"{cluster}/modeltraining/mine"}
    assert len(outputs) == 3
    check = NeptuneMLModelMetricsOperator(task_id="check", job_id="mine")
    assert asked(check) == ({f"{cluster}/modeltraining/mine"}, set())
    assert not hasattr(NeptuneMLCancelModelTrainingJobOperator, "get_openlineage_facets_on_complete")


def test_a_look_up_that_fails_costs_no_error(
    simulator: Simulator, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a connection, the S3 locations are left; what can't be read at all gives empty facets."""
    monkeypatch.setenv(CONNECTION_VARIABLE, "{")
    assert asked(start()) == (set(), {"s3://bucket/model"})

    broken = deploy()
    broken.last_description = 7  # type: ignore[assignment]
    assert asked(broken, "failure") == (set(), set())
