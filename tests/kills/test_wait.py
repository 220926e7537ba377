"""Kills, time-outs and failures while a task waits for its job, at the very end, and while it cancels one."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_neptune_ml.cancellation import cancel_late, cancel_late_async
from airflow_provider_neptune_ml.compat import AirflowTaskTimeout
from airflow_provider_neptune_ml.exceptions import (
    NeptuneMLError,
    NeptuneMLKilledError,
    NeptuneMLTimeoutError,
)
from airflow_provider_neptune_ml.kinds import MODEL_TRAINING
from airflow_provider_neptune_ml.operators.kill import Kill
from airflow_provider_neptune_ml.simulator import Fault, Simulator
from tests.conftest import TIMEOUT_SECONDS
from tests.contexts import TaskStateStore, context
from tests.interruptions import before, interrupted, wait_begun, when_answered
from tests.operators.tasks import CANCEL, GET, cancel, deploy, start, statuses
from tests.sdk import TaskDeferred

pytestmark = pytest.mark.usefixtures("connection", "completed_data")

CREATE = "CreateMLEndpoint"


def resume(task: Any, simulator: Simulator, where: Any, *, trigger_broke: bool = False) -> Any:
    """Take a task up whose endpoint is in service, as Airflow does when its trigger has fired or broken."""
    if trigger_broke:
        return task.resume_execution("__fail__", {"error": "Trigger failure"}, where)
    description = simulator.describe("endpoints", "mine")
    event = {"status": "success", "resource_id": "mine", "description": description}
    return task.resume_execution("execute_complete", {"event": event}, where)


@pytest.fixture
def deployed(simulator: Simulator) -> Any:
    """The context of a deferred task whose endpoint is in service; no retry is left."""
    simulator.seed("modeltraining", "training-1", status="Completed")
    where = context(task_id="deploy", task_state_store=TaskStateStore())
    with pytest.raises(TaskDeferred):
        deploy(deferrable=True).execute(where)
    simulator.finish("endpoints", "mine")
    return where


def fail() -> None:
    """Fail as Airflow's own API does."""
    raise RuntimeError("API server: 503")


# While it waits


def test_kill_while_waiting(simulator: Simulator) -> None:
    """A task killed while it waits stops the job, can't go on to succeed, and says what came of the job."""
    task = start(job_id="mine", wait_for_completion=True)

    # The first call looks whether the id is taken.
    with interrupted(simulator, GET, task.on_kill, calls=2), pytest.raises(NeptuneMLKilledError) as killed:
        task.execute(context())

    assert str(killed.value) == "The task was killed. Model training job 'mine': cancellation requested."
    # Artifacts in S3 are not deleted.
    assert [(request.id, request.query["clean"]) for request in simulator.calls(CANCEL)] == [
        ("mine", "false")
    ]
    assert statuses(simulator)["mine"] == "Stopping"


def test_kill_wakes_a_long_sleep(simulator: Simulator) -> None:
    """A task that sleeps for an hour between two polls notices a kill at once."""
    task = start(job_id="mine", wait_for_completion=True, poll_interval=3600)

    def overslept(signum: int, frame: object) -> None:
        raise TimeoutError

    previous = signal.signal(signal.SIGALRM, overslept)
    signal.alarm(60)
    try:
        with when_answered(simulator, GET, task.on_kill), pytest.raises(NeptuneMLKilledError):
            task.execute(context())
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def test_kill_without_cancel_on_kill(simulator: Simulator) -> None:
    """With cancel_on_kill off the job is left alone; the task still does not succeed."""
    task = start(job_id="mine", wait_for_completion=True, cancel_on_kill=False)

    with when_answered(simulator, GET, task.on_kill), pytest.raises(NeptuneMLKilledError) as killed:
        task.execute(context())

    assert str(killed.value) == "The task was killed."
    assert not simulator.calls(CANCEL)


@pytest.mark.parametrize("fault", ["reset", "too_many_requests", "internal_failure"])
def test_kill_is_retried_after_transient_errors(simulator: Simulator, fault: str) -> None:
    """A kill is not put off by a lost connection, throttling or a hiccup of the service."""
    task = start(job_id="mine")
    wait_begun(task, context())
    simulator.add_fault(Fault(kind=fault, operation=CANCEL, times=2))

    task.on_kill()

    assert statuses(simulator)["mine"] == "Stopping"


def test_execution_timeout_cancels(simulator: Simulator) -> None:
    """Airflow calls on_kill when execution_timeout is over; cancel_on_timeout decides then."""
    for arguments, cancelled in (
        ({}, True),
        ({"cancel_on_timeout": False}, False),
        ({"cancel_on_kill": False}, True),
    ):
        simulator.reset()
        simulator.seed("dataprocessing", "data-1", status="Completed")
        task = start(job_id="mine", **arguments)
        wait_begun(task, context())
        try:
            raise AirflowTaskTimeout
        except AirflowTaskTimeout:
            task.on_kill()

        assert bool(simulator.calls(CANCEL)) is cancelled


@pytest.mark.parametrize(
    ("cancel_on_timeout", "words"),
    [(True, "Cancellation requested"), (False, r"Cancellation not requested \(cancel_on_timeout=False\)")],
)
def test_timeout(simulator: Simulator, cancel_on_timeout: bool, words: str) -> None:
    """At its timeout the task fails, and says what became of the job."""
    task = start(job_id="mine", wait_for_completion=True, timeout=0.05, cancel_on_timeout=cancel_on_timeout)

    with pytest.raises(NeptuneMLTimeoutError, match=f"'mine' timed out .*{words}"):
        task.execute(context())

    assert bool(simulator.calls(CANCEL)) is cancel_on_timeout


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (True, "Cancellation requested."),
        (False, "It has ended since."),
        (NeptuneMLError("No."), "Cancellation failed: No."),
        (None, "Cancellation not requested (cancel_on_timeout=False)."),
    ],
)
def test_cancellation_past_the_deadline(answer: bool | NeptuneMLError | None, words: str) -> None:
    """What came of it is told in the same words by a worker and by a trigger."""

    def request() -> bool:
        if isinstance(answer, NeptuneMLError):
            raise answer
        return bool(answer)

    async def request_async() -> bool:
        return request()

    in_trigger = cancel_late_async(MODEL_TRAINING, None if answer is None else request_async)

    assert cancel_late(MODEL_TRAINING, None if answer is None else request) == words
    assert asyncio.run(in_trigger) == words


class Lines(list[str]):
    """A log that keeps its lines, each after something else was done."""

    def __init__(self, first: Callable[[], object] = list) -> None:
        self.first = first

    def warning(self, message: str, *arguments: Any) -> None:
        """Log a line."""
        self.first()
        self.append(message % arguments)

    info = warning


def test_kill_is_logged(simulator: Simulator) -> None:
    """The log says what came of the job, of which no artifact in S3 was deleted."""
    simulator.seed("modeltraining", "mine", status="InProgress")
    log = Lines()
    kill = Kill(MODEL_TRAINING, lambda: cancel().hook, log)
    kill.aim("mine")

    kill.cancel()

    assert log == ["Killed. Model training job 'mine': cancellation requested."]
    assert [request.query["clean"] for request in simulator.calls(CANCEL)] == ["false"]


def test_kill_that_is_refused(simulator: Simulator) -> None:
    """The log says why a job was not cancelled; the request is not repeated."""
    simulator.add_fault(Fault("access_denied", operation=CANCEL, times=None))
    log = Lines()
    kill = Kill(MODEL_TRAINING, lambda: cancel().hook, log)
    kill.aim("mine")

    kill.cancel()

    assert "403 AccessDeniedException" in log[0]
    assert len(simulator.calls(CANCEL)) == 1


def test_kill_in_the_middle_of_a_line_of_the_log(simulator: Simulator) -> None:
    """A kill that came while the main thread logs, with the log's lock, does not wait for the log."""
    simulator.seed("modeltraining", "mine", status="InProgress")
    unlocked = Event()
    log = Lines(lambda: unlocked.wait(TIMEOUT_SECONDS))
    kill = Kill(MODEL_TRAINING, lambda: cancel().hook, log)
    kill.aim("mine")

    kill.cancel()

    assert not log
    unlocked.set()


def test_sleep_of_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that is not killed sleeps as long as it is to, and looks for a kill twice a second."""
    slept: list[float] = []
    clock = SimpleNamespace(monotonic=lambda: 100 + sum(slept), sleep=slept.append)
    monkeypatch.setattr("airflow_provider_neptune_ml.operators.kill.time", clock)

    cancel().kill.sleep(1.25)

    assert slept == [0.5, 0.5, 0.25]


# Killed at the very end


def test_kill_while_the_marker_is_deleted(simulator: Simulator) -> None:
    """A task never succeeds with the endpoint that a kill has just deleted, however late the kill came."""
    simulator.seed("modeltraining", "training-1", status="Completed")
    task, store = deploy(), TaskStateStore()
    task.hook.start_conn.meta.events.register(
        f"after-call.neptunedata.{CREATE}", lambda **_: simulator.finish("endpoints", "mine")
    )
    before(store, "delete", task.on_kill)

    with pytest.raises(NeptuneMLKilledError):
        task.execute(context(task_id="deploy", task_state_store=store))

    assert simulator.describe("endpoints", "mine")["status"] == "Deleting"


@pytest.mark.parametrize("step", ["description", "marker"])
def test_kill_while_the_end_is_told(simulator: Simulator, deployed: Any, step: str) -> None:
    """So it is where a deferred task is killed while its end is pushed, after the wait."""
    task = deploy()
    before_step(step, deployed, task.on_kill)

    with pytest.raises(NeptuneMLKilledError, match="'mine': deletion requested"):
        resume(task, simulator, deployed)

    assert simulator.describe("endpoints", "mine")["status"] == "Deleting"


def before_step(step: str, where: Any, act: Callable[[], object]) -> None:
    """Have something done before the description is pushed, or before the marker is deleted."""
    if step == "description":
        before(where["ti"], "xcom_push", act, key="description")
    else:
        before(where["task_state_store"], "delete", act)


@pytest.mark.parametrize("trigger_broke", [True, False])
def test_kill_while_the_id_is_pulled(simulator: Simulator, deployed: Any, trigger_broke: bool) -> None:
    """A task that is killed when it is taken up, before it knows what it has started, stops that."""
    task = deploy()
    before(deployed["ti"], "xcom_pull", task.on_kill)

    with pytest.raises(NeptuneMLKilledError, match="'mine': deletion requested"):
        resume(task, simulator, deployed, trigger_broke=trigger_broke)

    assert simulator.describe("endpoints", "mine")["status"] == "Deleting"


# Something else than the service fails


@pytest.mark.parametrize("step", ["description", "marker"])
@pytest.mark.parametrize(
    ("max_tries", "words", "left"),
    [
        (0, "No retry follows: cancellation requested.", "Stopping"),
        (1, "The job may be running: the retry adopts it.", "InProgress"),
    ],
)
def test_failure_after_the_start(
    simulator: Simulator, step: str, max_tries: int, words: str, left: str
) -> None:
    """Where Airflow itself fails after the start, the error says so, and what becomes of the job."""
    where = context(max_tries=max_tries, task_state_store=TaskStateStore())
    before_step(step, where, fail)

    with pytest.raises(NeptuneMLError, match=r"'mine'.*API server: 503") as failed:
        start(job_id="mine").execute(where)

    assert str(failed.value).endswith(words)
    assert isinstance(failed.value.__cause__, RuntimeError)
    assert statuses(simulator) == {"mine": left}


@pytest.mark.parametrize("step", ["description", "marker"])
def test_failure_after_the_wait(simulator: Simulator, deployed: Any, step: str) -> None:
    """An endpoint in service is deleted if its task fails for such a reason and no retry follows."""
    before_step(step, deployed, fail)

    with pytest.raises(
        NeptuneMLError, match=r"'mine'.*API server: 503\. No retry follows: deletion requested\.$"
    ) as failed:
        resume(deploy(), simulator, deployed)

    assert isinstance(failed.value.__cause__, RuntimeError)
    assert simulator.describe("endpoints", "mine")["status"] == "Deleting"


# A task that cancels a job


def test_cancel_killed_before_its_client_is_there(simulator: Simulator) -> None:
    """A cancel operator that is killed before it could send anything sends its request all the same."""
    simulator.seed("modeltraining", "mine", status="InProgress")
    task = cancel()
    task.on_kill()

    with pytest.raises(NeptuneMLKilledError, match=r"'mine': cancellation requested\.$"):
        task.execute(context())

    assert [request.id for request in simulator.calls(CANCEL)] == ["mine"]


def test_cancel_killed_before_it_was_acknowledged(simulator: Simulator, held: Event) -> None:
    """A cancel operator that is killed without an answer sends its request once more, with the same clean."""
    simulator.seed("modeltraining", "mine", status="InProgress")
    simulator.add_fault(Fault(kind="slow", operation=CANCEL))
    task = cancel(clean=True)

    def act() -> None:
        task.on_kill()
        held.set()

    with interrupted(simulator, CANCEL, act), pytest.raises(NeptuneMLKilledError):
        task.execute(context())

    assert [request.query["clean"] for request in simulator.calls(CANCEL)] == ["true", "true"]


def test_cancel_killed_after_it_was_acknowledged(simulator: Simulator) -> None:
    """A cancel operator that is killed while it waits has nothing more to send, and does not succeed."""
    simulator.seed("modeltraining", "mine", status="InProgress")
    task = cancel()

    with when_answered(simulator, GET, task.on_kill), pytest.raises(NeptuneMLKilledError):
        task.execute(context())

    assert len(simulator.calls(CANCEL)) == 1
