"""A SIGTERM in the worker: a user who ends the task, or a worker that is shut down."""

from __future__ import annotations

from threading import Event
from typing import Any

import pytest

from airflow_provider_neptune_ml import task_state
from airflow_provider_neptune_ml.exceptions import NeptuneMLKilledError
from airflow_provider_neptune_ml.operators import base
from airflow_provider_neptune_ml.simulator import Fault, Simulator
from tests.contexts import KEY, context, running
from tests.interruptions import interrupted
from tests.operators.test_neptune_ml import GET, START, start, statuses
from tests.task_states import LeftAs

pytestmark = pytest.mark.usefixtures("connection", "completed_data")


def terminated(simulator: Simulator, *, max_tries: int = 1, **arguments: Any) -> str:
    """Execute a start whose process gets a SIGTERM at its first poll; return what its error says."""
    task = start(wait_for_completion=True, **arguments)
    with (
        running(context(**KEY, max_tries=max_tries)) as where,
        interrupted(simulator, GET, task.on_kill, calls=2),
        pytest.raises(NeptuneMLKilledError) as killed,
    ):
        task.execute(where)
    return str(killed.value)


def test_shutdown(simulator: Simulator, left_as: LeftAs) -> None:
    """A worker that is shut down leaves its job to the retry, which takes it over."""
    left_as("running")

    message = terminated(simulator)

    (job,) = statuses(simulator)
    assert statuses(simulator) == {job: "InProgress"}
    assert f"model training job {job!r} goes on for the retry" in message
    assert start(retries=1).execute(context(**KEY, try_number=2, max_tries=1)) == job


def test_shutdown_in_the_middle_of_the_start(simulator: Simulator, left_as: LeftAs, held: Event) -> None:
    """So it does with a job whose start request is under way."""
    left_as("running")
    simulator.add_fault(Fault("slow", operation=START, seconds=60))

    task = start()

    def on_term() -> None:
        task.on_kill()
        held.set()

    with (
        running(context(**KEY, max_tries=1)) as where,
        interrupted(simulator, START, on_term),
        pytest.raises(NeptuneMLKilledError),
    ):
        task.execute(where)

    assert list(statuses(simulator).values()) == ["InProgress"]


@pytest.mark.parametrize("state", ["restarting", "failed", "success", "skipped", None])
def test_user(simulator: Simulator, left_as: LeftAs, state: str | None) -> None:
    """A user who marked or cleared the task cancels its job."""
    left_as(state)

    terminated(simulator)

    assert list(statuses(simulator).values()) == ["Stopping"]


@pytest.mark.parametrize("arguments", [{"durable": False}, {"max_tries": 0}], ids=str)
def test_shutdown_without_a_retry(simulator: Simulator, left_as: LeftAs, arguments: dict[str, Any]) -> None:
    """A worker that is shut down cancels a job that no retry would take over."""
    left_as("running")

    terminated(simulator, **arguments)

    assert list(statuses(simulator).values()) == ["Stopping"]


def test_state_that_is_not_told_in_time(
    simulator: Simulator, left_as: LeftAs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job is cancelled where Airflow does not tell the state within the time that a kill has."""
    left_as("running")
    never = Event()
    monkeypatch.setattr(base, "_STATE_SECONDS", 0.05)
    monkeypatch.setattr(task_state, "state_of", lambda _: never.wait(60) and "running")

    terminated(simulator)

    never.set()
    assert list(statuses(simulator).values()) == ["Stopping"]


def test_signal_in_the_middle_of_a_request_to_airflow(simulator: Simulator, left_as: LeftAs) -> None:
    """A signal in the middle of a request to Airflow asks nothing else: its answer would be mixed up."""
    left_as("running")
    request = {"__name__": "airflow.sdk.execution_time.comms", "is_shutdown": task_state.is_shutdown}
    exec("def send(ti): return is_shutdown(ti, 60)", request)

    assert task_state.is_shutdown(context(**KEY)["ti"], 60)
    assert not request["send"](context(**KEY)["ti"])  # type: ignore[operator]
