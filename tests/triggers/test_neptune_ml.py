"""What is the trigger's own, against the simulator over HTTP. How waits end: tests/test_outcomes.py."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_neptune_ml.exceptions import NeptuneMLError
from airflow_provider_neptune_ml.operators.neptune_ml import (
    NeptuneMLCancelModelTrainingJobOperator,
    NeptuneMLStartModelTrainingJobOperator,
)
from airflow_provider_neptune_ml.simulator import Simulator
from airflow_provider_neptune_ml.triggers.neptune_ml import NeptuneMLJobTrigger
from tests.contexts import context
from tests.modes import first_event, rebuild

pytestmark = pytest.mark.usefixtures("connection")


def trigger(**arguments: Any) -> NeptuneMLJobTrigger:
    """Return a trigger on the job ``mine``, as it comes back from Airflow's database."""
    defaults = {"kind": "modeltraining", "resource_id": "mine", "poll_interval": 0.01}
    return rebuild(*NeptuneMLJobTrigger(**{**defaults, **arguments}).serialize())


def test_survives_the_database() -> None:
    """A trigger is equal to what the database makes of it, whole settings included."""
    original = NeptuneMLJobTrigger(
        kind="endpoints",
        resource_id="mine",
        target_statuses=["InService"],
        deadline=time.time() + 60,
        hook_parameters={"neptune_ml_conn_id": "cluster", "verify": False, "config": {"read_timeout": 5}},
    )

    assert rebuild(*original.serialize()).serialize() == original.serialize()


@pytest.mark.parametrize("cancel_on_timeout", [True, False])
def test_deadline(simulator: Simulator, cancel_on_timeout: bool) -> None:
    """A passed deadline fires a timeout, and stops the job if it was to."""
    simulator.seed("modeltraining", "mine", status="InProgress")

    task = trigger(deadline=time.time() - 1, cancel_on_timeout=cancel_on_timeout)
    event = first_event(task).payload

    assert event["status"] == "timeout"
    assert "'mine' is still InProgress" in event["message"]
    assert ("It was asked to stop" in event["message"]) is cancel_on_timeout
    assert bool(simulator.calls("CancelMLModelTrainingJob")) is cancel_on_timeout


@pytest.mark.parametrize("cancel_on_kill", [True, False])
def test_kill(simulator: Simulator, cancel_on_kill: bool) -> None:
    """A user's kill stops the job if it was to."""
    simulator.seed("modeltraining", "mine", status="InProgress")

    asyncio.run(trigger(cancel_on_kill=cancel_on_kill).on_kill())

    assert bool(simulator.calls("CancelMLModelTrainingJob")) is cancel_on_kill


def test_cancelled_run_leaves_the_job_alone(simulator: Simulator) -> None:
    """A triggerer that shuts down, or hands the trigger on, does not touch the job."""
    simulator.seed("modeltraining", "mine", status="InProgress")
    task = trigger(cancel_on_kill=True, cancel_on_timeout=True)

    async def shut_down() -> None:
        running = asyncio.ensure_future(anext(aiter(task.run())))
        while not simulator.calls("GetMLModelTrainingJob"):
            await asyncio.sleep(0.01)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await task.cleanup()

    asyncio.run(shut_down())

    assert not simulator.calls("CancelMLModelTrainingJob")


def test_start_defers(simulator: Simulator) -> None:
    """A deferrable start hands all settings and an absolute deadline over, and takes up the outcome."""
    simulator.seed("dataprocessing", "data-1", status="Completed")
    task = NeptuneMLStartModelTrainingJobOperator(
        task_id="train",
        data_processing_job_id="data-1",
        train_model_s3_location="s3://bucket/model",
        deferrable=True,
        timeout=3600,
        poll_interval=0.01,
        botocore_config={"read_timeout": 7},
    )
    where = context()

    with pytest.raises(TaskDeferred) as deferred:
        task.execute(where)

    path, stored = deferred.value.trigger.serialize()
    job_id = where["ti"].xcoms["job_id"]
    assert stored["resource_id"] == job_id
    assert stored["deadline"] == pytest.approx(time.time() + 3600, abs=60)
    assert stored["hook_parameters"]["config"] == {"read_timeout": 7}
    assert stored["cancel_on_kill"]
    simulator.finish("modeltraining", job_id)
    event = first_event(rebuild(path, stored)).payload
    assert getattr(task, deferred.value.method_name)(where, event) == job_id
    assert where["ti"].xcoms["description"]["status"] == "Completed"


@pytest.mark.parametrize(
    "event", [None, {}, {"status": "error", "message": "no"}, {"status": "timeout", "message": "no"}]
)
def test_nothing_but_success_succeeds(event: dict[str, Any] | None) -> None:
    """An empty event, an error and a timeout all fail the task."""
    task = NeptuneMLCancelModelTrainingJobOperator(task_id="cancel", job_id="mine")

    with pytest.raises(NeptuneMLError):
        task.execute_complete(context(), event)
