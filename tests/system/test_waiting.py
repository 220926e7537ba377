"""Sensors on a real triggerer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_neptune_ml.sensors.neptune_ml import CAN_RUN_WITHOUT_WORKER
from airflow_provider_neptune_ml.simulator import Simulator
from tests.system.local_airflow import LocalAirflow
from tests.system.rest_api import DagRun, until

SUCCEEDING = {
    "deferred",
    "by_output",
    "by_pull",
    "by_params",
    "by_run",
    "by_macro",
    "by_mapped_pull",
    "with_outlets",
    "mapped",
}
WITHOUT_WORKER = {"by_output", "by_pull", "by_params", "by_run", "failed_without_worker", "skipped"}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Simulator]:
    """A simulated cluster with a job that goes on until a test ends it, and one that has failed."""
    with Simulator(clock="manual") as simulator:
        simulator.seed("modeltraining", "mine", status="InProgress")
        simulator.seed("modeltraining", "broken", status="InProgress")
        simulator.fail("modeltraining", "broken", reason="AlgorithmError: no", stage="hpoJob")
        yield simulator


@pytest.fixture(scope="module")
def airflow(cluster: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAirflow]:
    """A real Airflow with the Dags of these tests."""
    connection = {"AIRFLOW_CONN_NEPTUNE_ML_DEFAULT": json.dumps(cluster.connection)}
    home = tmp_path_factory.mktemp("waiting") / "airflow"
    with LocalAirflow(home, dags=Path(__file__).parent / "dags", env=connection) as started:
        yield started


@pytest.fixture(scope="module")
def run(airflow: LocalAirflow, cluster: Simulator) -> DagRun:
    """A run of the Dag, in which the triggerer was killed and started again in the middle of the wait."""
    dag_run = airflow.api.trigger("waiting", {"job_id": "mine"})
    until(
        lambda: all(
            state == "deferred" for task, state in dag_run.task_states().items() if task in SUCCEEDING
        ),
        within=120,
        what="all sensors to wait in the triggerer",
    )
    airflow.processes["triggerer"].kill()
    airflow.processes["triggerer"].start()
    asked = len(cluster.calls("GetMLModelTrainingJob"))
    until(lambda: len(cluster.calls("GetMLModelTrainingJob")) > asked, within=120, what="the new triggerer")
    cluster.finish("modeltraining", "mine")
    dag_run.wait(within=180)
    return dag_run


def test_states(run: DagRun) -> None:
    """Every sensor ends as its job did, through the restart of the triggerer."""
    states = run.task_states()

    assert {task: states[task] for task in SUCCEEDING} == dict.fromkeys(SUCCEEDING, "success")
    assert (states["failed"], states["failed_without_worker"], states["skipped"]) == (
        "failed",
        "failed",
        "skipped",
    )


def test_descriptions(run: DagRun) -> None:
    """The description is the sensor's XCom, wherever the wait ended."""
    for task in SUCCEEDING - {"mapped"}:
        # The API has it as text, in Python's or in JSON's quotes.
        assert re.search(r"""["']status["']: *["']Completed["']""", str(run.xcom(task))), task


def test_an_ended_job_is_not_retried(run: DagRun) -> None:
    """Retries don't help a sensor on a job that has ended."""
    [failed] = [task for task in run.tasks() if task["task_id"] == "failed"]

    assert failed["try_number"] == 1
    assert "'broken' ended as Failed in stage 'hyperparameter tuning': AlgorithmError: no" in run.log(
        "failed"
    )


@pytest.mark.skipif(
    not CAN_RUN_WITHOUT_WORKER, reason="Airflow 3.3 is the first whose triggerer renders templates"
)
def test_no_worker(run: DagRun) -> None:
    """A wait that begins and ends in the triggerer was never on a worker; the others say why they were."""
    on_worker = {task["task_id"] for task in run.tasks() if task["pid"]}

    assert (
        on_worker & (SUCCEEDING | {"failed", "failed_without_worker", "skipped"})
        == (SUCCEEDING | {"failed", "skipped"}) - WITHOUT_WORKER
    )
    assert "'broken' ended as Failed" in run.log("failed_without_worker")
    assert "job_id is not known in the triggerer" in run.log("by_macro")


@pytest.mark.skipif(CAN_RUN_WITHOUT_WORKER, reason="this Airflow can")
def test_too_old(run: DagRun) -> None:
    """An Airflow that can't begin in the triggerer defers from a worker and says so."""
    assert "The wait begins in a worker: that needs Airflow 3.3 or newer" in run.log("by_params")
