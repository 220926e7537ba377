"""Sensors in ``dag.test()``, which runs their triggers itself, and resumes every task on a worker."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_neptune_ml.compat import CAN_RUN_WITHOUT_WORKER
from airflow_provider_neptune_ml.simulator import Simulator
from airflow_provider_neptune_ml.triggers.neptune_ml import NeptuneMLJobTrigger
from tests.dag_files import run, write_dag
from tests.modes import first_event

DAG = """
without_worker = {"start_from_trigger": True, "end_from_trigger": True, "poke_interval": 0.1}
with DAG("without_worker", schedule=None, default_args=without_worker) as dag:
    wait = NeptuneMLModelTrainingJobSensor(task_id="completed", job_id="good")
    NeptuneMLModelTrainingJobSensor(task_id="target", job_id="bad", target_statuses=["Failed"])
    NeptuneMLModelTrainingJobSensor(task_id="failed", job_id="bad")
    NeptuneMLModelTrainingJobSensor(task_id="failed_softly", job_id="bad", soft_fail=True)
    NeptuneMLModelTrainingJobSensor(task_id="late", job_id="endless", timeout=0.1)
    NeptuneMLModelTrainingJobSensor(task_id="late_softly", job_id="endless", timeout=0.1, soft_fail=True)
    NeptuneMLModelTrainingJobSensor.partial(task_id="mapped").expand(job_id=["good"])

    @task
    def use_model(training: dict[str, Any]) -> None:
        assert (training["id"], training["status"]) == ("good", "Completed")

    use_model(wait.output)
"""


@pytest.mark.usefixtures("connection", "airflow_database")
def test_without_worker(
    simulator: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A wait that would begin and end in the triggerer ends as it does there, and says why it does not."""
    simulator.seed("modeltraining", "good", status="Completed")
    simulator.seed("modeltraining", "bad", status="Failed")
    simulator.seed("modeltraining", "endless", status="InProgress")

    _, states = run(write_dag(monkeypatch, tmp_path, DAG))

    assert states == {
        **dict.fromkeys(("completed", "target", "mapped", "use_model"), "success"),
        **dict.fromkeys(("failed", "late"), "failed"),
        **dict.fromkeys(("failed_softly", "late_softly"), "skipped"),
    }
    reason = "Airflow starts mapped tasks on one, and dag.test() every task"
    reason = reason if CAN_RUN_WITHOUT_WORKER else "that needs Airflow 3.3 or newer"
    logs = (capfd.readouterr().out, caplog.text)  # Airflow 3 and 2
    assert max(log.count(f"Started on a worker, not from the trigger: {reason}") for log in logs) >= 7


@pytest.mark.skipif(not CAN_RUN_WITHOUT_WORKER, reason="Airflow before 3.3 ends no task so")
@pytest.mark.parametrize(("status", "state"), [("Completed", "success"), ("Failed", "skipped")])
@pytest.mark.usefixtures("connection")
def test_triggerer_sends_no_payload(simulator: Simulator, status: str, state: str) -> None:
    """What an end event has for ``dag.test()`` does not leave the triggerer, which ends the task itself."""
    base: Any = importlib.import_module("airflow.triggers.base")
    simulator.seed("modeltraining", "mine", status=status)
    trigger = NeptuneMLJobTrigger(
        kind="modeltraining",
        resource_id="mine",
        poll_interval=0.01,
        end_from_trigger=True,
        fail_from_trigger=True,
        soft_fail=True,
    )

    event: Any = first_event(trigger)
    line = importlib.import_module("pydantic").TypeAdapter(base.DiscrimatedTriggerEvent)
    received = line.validate_json(line.dump_json(event))

    assert event.payload["status"] == ("success" if status == "Completed" else "failed")
    assert (type(received), received.payload) == (type(event), state)
    assert received.xcoms == event.xcoms
