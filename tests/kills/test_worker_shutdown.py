"""A SIGTERM in the worker: a user who ends the task, or a worker that is shut down."""

from __future__ import annotations

from threading import Event
from typing import Any

import pytest

from airflow_provider_neptune_ml import task_state
from airflow_provider_neptune_ml.compat import AIRFLOW_V_3_0_PLUS
from airflow_provider_neptune_ml.exceptions import NeptuneMLKilledError
from airflow_provider_neptune_ml.simulator import Fault, Simulator
from tests.conftest import set_budgets
from tests.contexts import KEY, TaskStateStore, context, running
from tests.interruptions import interrupted
from tests.operators.tasks import GET, START, deploy, start, statuses
from tests.sdk import TaskDeferred
from tests.task_states import LeftAs

pytestmark = pytest.mark.usefixtures("connection", "completed_data")


def terminated(
    simulator: Simulator, *, max_tries: int = 1, store: TaskStateStore | None = None, **arguments: Any
) -> str:
    """Execute a start whose process gets a SIGTERM at its first poll; return what its error says."""
    task = start(wait_for_completion=True, **arguments)
    store = TaskStateStore() if store is None else store
    with (
        running(context(**KEY, max_tries=max_tries, task_state_store=store)) as where,
        interrupted(simulator, GET, task.on_kill, calls=2),
        pytest.raises(NeptuneMLKilledError) as killed,
    ):
        task.execute(where)
    return str(killed.value)


def test_shutdown(simulator: Simulator, left_as: LeftAs) -> None:
    """A worker that is shut down leaves its job to the retry, which takes it over."""
    left_as("running", max_tries=1)

    message = terminated(simulator)

    (job,) = statuses(simulator)
    assert statuses(simulator) == {job: "InProgress"}
    assert f"model training job {job!r} keeps running, and the retry adopts it" in message
    assert start(retries=1).execute(context(**KEY, try_number=2, max_tries=1)) == job


def test_shutdown_in_the_middle_of_the_start(simulator: Simulator, left_as: LeftAs, held: Event) -> None:
    """So it does with a job whose start request is under way."""
    left_as("running", max_tries=1)
    simulator.add_fault(Fault("slow", operation=START, seconds=60))

    task = start()

    def on_term() -> None:
        task.on_kill()
        held.set()

    with (
        running(context(**KEY, max_tries=1, task_state_store=TaskStateStore())) as where,
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
    left_as("running", max_tries=1)

    terminated(simulator, **arguments)

    assert list(statuses(simulator).values()) == ["Stopping"]


def test_state_that_is_not_told_in_time(
    simulator: Simulator, left_as: LeftAs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job is cancelled where Airflow does not tell the state within the time that a kill has."""
    left_as("running", max_tries=1)
    never = Event()
    set_budgets(monkeypatch, kill_question=0.05)
    look_up = "state_of" if AIRFLOW_V_3_0_PLUS else "row_of"
    monkeypatch.setattr(task_state, look_up, lambda _: never.wait(60) and None)

    terminated(simulator)

    never.set()
    assert list(statuses(simulator).values()) == ["Stopping"]


def test_signal_in_the_middle_of_a_request_to_airflow(simulator: Simulator, left_as: LeftAs) -> None:
    """A signal in the middle of a request to Airflow asks nothing else: its answer would be mixed up."""
    left_as("running", max_tries=0)
    request = {"__name__": "airflow.sdk.execution_time.comms", "ask": task_state.state_at_shutdown}
    exec("def send(ti): return ask(ti, lambda: True, 60)", request)

    assert task_state.state_at_shutdown(context(**KEY)["ti"], lambda: True, 60) == "running"
    assert request["send"](context(**KEY)["ti"]) is None  # type: ignore[operator]


class StaleStore(TaskStateStore):
    """The store as a try finds it that is not the latest any more."""

    def get(self, key: str, default: Any = None) -> Any:
        """Find nothing."""
        return default


@pytest.mark.parametrize("state", ["scheduled", "queued", "running", "deferred"])
def test_user_whose_clear_begins_another_try(simulator: Simulator, left_as: LeftAs, state: str) -> None:
    """A running task that was marked failed and cleared before its worker noticed has its job cancelled."""
    left_as(state, try_number=2, max_tries=2)  # the clear has moved it on

    terminated(simulator, store=StaleStore())

    assert list(statuses(simulator).values()) == ["Stopping"]


def test_shutdown_of_a_worker_that_has_deferred(simulator: Simulator, left_as: LeftAs) -> None:
    """A worker that is shut down when its task has just been deferred leaves the job, whatever retries."""
    left_as("deferred", max_tries=0)
    task = start(job_id="mine", wait_for_completion=True, deferrable=True)
    with running(context(**KEY, max_tries=0, task_state_store=TaskStateStore())) as where:
        with pytest.raises(TaskDeferred):
            task.execute(where)
        task.on_kill()

    assert statuses(simulator) == {"mine": "InProgress"}


# A task that has succeeded


def test_signal_after_an_endpoint_is_in_service(simulator: Simulator, left_as: LeftAs) -> None:
    """A SIGTERM after the task has succeeded, as where its callbacks take long, deletes nothing."""
    left_as("success")
    simulator.seed("modeltraining", "training-1", status="Completed")
    task = deploy()
    task.hook.start_conn.meta.events.register(
        "after-call.neptunedata.CreateMLEndpoint", lambda **_: simulator.finish("endpoints", "mine")
    )
    with running(context(**KEY, task_state_store=TaskStateStore())) as where:
        assert task.execute(where) == "mine"
        task.on_kill()

    assert simulator.describe("endpoints", "mine")["status"] == "InService"


def test_signal_after_a_job_is_started(simulator: Simulator, left_as: LeftAs) -> None:
    """So it does not cancel a job that its task has started without waiting."""
    left_as("success")
    task = start(job_id="mine")
    with running(context(**KEY)) as where:
        task.execute(where)
        task.on_kill()

    assert statuses(simulator) == {"mine": "InProgress"}
