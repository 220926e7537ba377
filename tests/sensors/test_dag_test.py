"""Sensors in ``dag.test()``, which runs their triggers itself, and resumes every task on a worker."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_neptune_ml.compat import CAN_RUN_WITHOUT_WORKER
from airflow_provider_neptune_ml.simulator import Simulator
from tests.dag_files import run, write_dag

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
