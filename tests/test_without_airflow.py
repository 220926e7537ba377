"""Tasks in the unit tests of users, who execute them with an empty context."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.exceptions import AirflowRescheduleException

from airflow_provider_neptune_ml.compat import AirflowFailException, AirflowSensorTimeout
from airflow_provider_neptune_ml.exceptions import NeptuneMLError
from airflow_provider_neptune_ml.sensors.neptune_ml import NeptuneMLModelTrainingJobSensor
from airflow_provider_neptune_ml.simulator import Simulator
from tests.operators.tasks import START, cancel, deploy, start
from tests.sdk import TaskDeferred

pytestmark = pytest.mark.usefixtures("connection")
EMPTY: Any = {}


def sensor(**arguments: Any) -> NeptuneMLModelTrainingJobSensor:
    """Return a sensor on the job of these tests."""
    return NeptuneMLModelTrainingJobSensor(**{"task_id": "wait", "job_id": "mine", **arguments})


@pytest.mark.usefixtures("airflow_database")  # which Airflow 2 asks when a rescheduled sensor began
@pytest.mark.parametrize("mode", ["poke", "reschedule"])
def test_sensors(simulator: Simulator, mode: str) -> None:
    """A sensor pokes, waits, succeeds, fails and times out."""
    simulator.seed("modeltraining", "mine", status="InProgress")
    assert not sensor(mode=mode).poke(EMPTY)
    with pytest.raises(AirflowRescheduleException if mode == "reschedule" else AirflowSensorTimeout):
        sensor(mode=mode, timeout=60 if mode == "reschedule" else 0).execute(EMPTY)

    simulator.reset()
    simulator.seed("modeltraining", "mine", status="Completed")
    assert sensor(mode=mode).execute(EMPTY)["status"] == "Completed"

    simulator.reset()
    simulator.seed("modeltraining", "mine", status="Failed")
    with pytest.raises(AirflowFailException):
        sensor(mode=mode).execute(EMPTY)


def test_deferred_sensors(simulator: Simulator) -> None:
    """A sensor defers, also when the triggerer hands its wait back, and returns what the trigger found."""
    waiting = sensor(deferrable=True)

    with pytest.raises(TaskDeferred):
        waiting.execute(EMPTY)
    with pytest.raises(TaskDeferred):
        waiting.execute_complete(EMPTY, {"status": "unresolved", "message": "no"})
    assert waiting.execute_complete(EMPTY, {"status": "success", "description": {"id": "mine"}}) == {
        "id": "mine"
    }


@pytest.mark.parametrize("wait_for_completion", [True, False])
def test_cancels(simulator: Simulator, wait_for_completion: bool) -> None:
    """A cancel requests the cancellation, defers its wait, and returns the id."""
    simulator.seed("modeltraining", "mine", status="InProgress")

    if wait_for_completion:
        with pytest.raises(TaskDeferred):
            cancel(deferrable=True).execute(EMPTY)
    assert cancel(wait_for_completion=False).execute(EMPTY) == "mine"
    event = {"status": "success", "resource_id": "mine", "description": {"id": "mine"}}
    assert cancel().execute_complete(EMPTY, event) == "mine"


def test_starts(simulator: Simulator, completed_data: str) -> None:
    """A start with an id of its own starts the job, defers its wait, and resumes."""
    assert start(job_id="mine").execute(EMPTY) == "mine"
    with pytest.raises(TaskDeferred):
        start(job_id="deferred", wait_for_completion=True, deferrable=True).execute(EMPTY)
    event = {"status": "success", "resource_id": "deferred", "description": {"id": "deferred"}}
    assert start(job_id="deferred").execute_complete(EMPTY, event) == "deferred"
    assert (
        start(job_id="deferred").resume_execution("execute_complete", {"event": event}, EMPTY) == "deferred"
    )
    with pytest.raises(AirflowFailException, match="exists already"):
        start(job_id="mine").execute(EMPTY)
    assert [call.body["id"] for call in simulator.calls(START)] == ["mine", "deferred"]


@pytest.mark.parametrize("status", ["failed", "timeout", "error"])
def test_failures_of_starts(status: str) -> None:
    """A start whose wait has failed resumes with the error of that."""
    event = {"status": status, "resource_id": "mine", "description": {"status": "Failed"}, "message": "no"}

    with pytest.raises(NeptuneMLError) as error:
        start(job_id="mine").resume_execution("execute_complete", {"event": event}, EMPTY)
    assert str(error.value).startswith(
        "Model training job 'mine' ended as Failed" if status == "failed" else "no"
    )


@pytest.mark.parametrize("task", [start(), deploy(endpoint_id=None)], ids=["job", "endpoint"])
def test_ids_need_a_task_instance(simulator: Simulator, task: Any) -> None:
    """A start that would name its job after the task instance asks for an id; nothing is sent."""
    with pytest.raises(ValueError, match="_id=None must be given where the context has no task instance"):
        task.execute(EMPTY)

    assert not simulator.journal
