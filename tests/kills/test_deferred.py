"""A kill that reaches a trigger late, or one whose task went on, run by Airflow's own triggerer."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.jobs import triggerer_job_runner

from airflow_provider_neptune_ml.compat import AIRFLOW_V_3_0_PLUS
from airflow_provider_neptune_ml.hooks.neptune_ml import shared_hook
from airflow_provider_neptune_ml.simulator import Fault, Simulator
from airflow_provider_neptune_ml.triggers import neptune_ml as triggers
from airflow_provider_neptune_ml.triggers.neptune_ml import NeptuneMLJobTrigger
from airflow_provider_neptune_ml.triggers.user_action import AIRFLOW_CALLS_ON_KILL
from tests.conftest import ONCE, TIMEOUT_SECONDS, set_budgets
from tests.contexts import KEY
from tests.interruptions import during
from tests.operators.tasks import CANCEL, GET
from tests.task_states import LeftAs
from tests.triggers.waits import trigger

pytestmark = pytest.mark.usefixtures("connection", "airflow_database")

TRIGGER_ID = 1
HOOK = {"config": ONCE}


@pytest.fixture(autouse=True)
def _looks_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second look need not be waited for."""
    monkeypatch.setattr(triggers, "_LOOK_AGAIN_SECONDS", 0.01)


def late(**arguments: Any) -> NeptuneMLJobTrigger:
    """Return a trigger whose time is over and that is to stop its job then."""
    return at_work(**{"deadline": time.time() - 1, "cancel_on_timeout": True, **arguments})


def at_work(**arguments: Any) -> NeptuneMLJobTrigger:
    """Return a trigger as the triggerer has it when it runs."""
    task: Any = trigger(**{"cancel_on_kill": True, "hook_parameters": HOOK, **arguments})
    of_no_matter = dict.fromkeys(("id", "context_carrier", "trigger_timeout"))
    task.task_instance = SimpleNamespace(**KEY, try_number=1, **of_no_matter)
    task.trigger_id = TRIGGER_ID
    return task  # type: ignore[no-any-return]


async def killed(task: NeptuneMLJobTrigger, when: Callable[[], object], act: Callable[[], object]) -> None:
    """Run a trigger in Airflow's triggerer until something is the case; kill its task then, and act."""

    async def reached() -> None:
        while not when():
            assert not running.done()
            await asyncio.sleep(0.005)

    make: Any = triggerer_job_runner.TriggerRunner
    runner = make()
    running = asyncio.ensure_future(runner.run_trigger(TRIGGER_ID, task))
    runner.triggers[TRIGGER_ID] = {"task": running, "name": "train", "events": 0}
    await asyncio.wait_for(reached(), TIMEOUT_SECONDS)
    runner.to_cancel.append(TRIGGER_ID)
    await runner.cancel_triggers()
    act()
    with pytest.raises(asyncio.CancelledError):
        await running


def status(simulator: Simulator) -> Any:
    """Return the status of the job."""
    return simulator.describe("modeltraining", "mine")["status"]


@pytest.mark.parametrize("cancel_on_kill", [True, False])
def test_kill(simulator: Simulator, left_as: LeftAs, cancel_on_kill: bool) -> None:
    """A user's kill stops the job if it was to, though Airflow cancels the trigger again while it does."""
    left_as("failed", job_id="mine")
    simulator.seed("modeltraining", "mine", status="InProgress")
    task: Any = trigger(cancel_on_kill=cancel_on_kill)
    task.task_instance = SimpleNamespace(**KEY, try_number=1)
    task.trigger_id = 1

    async def kill() -> None:
        killing = asyncio.ensure_future(task.on_kill())
        while not killing.done():
            await asyncio.sleep(0.01)
            killing.cancel()

    asyncio.run(kill())

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


# Late


def test_kill_while_a_late_trigger_retries(simulator: Simulator, left_as: LeftAs) -> None:
    """A user's kill while a late trigger tries in vain to stop its job stops it."""
    left_as("failed", job_id="mine")
    simulator.seed("modeltraining", "mine", status="InProgress")
    simulator.add_fault(Fault("unavailable", operation=CANCEL, times=None))

    asyncio.run(killed(late(), lambda: simulator.calls(CANCEL), simulator.clear_faults))

    assert status(simulator) == "Stopping"


def test_kill_while_a_late_triggers_request_is_under_way(simulator: Simulator, left_as: LeftAs) -> None:
    """A user's kill while the request of a late trigger is under way is not lost with its answer."""
    left_as("failed", job_id="mine")
    simulator.seed("modeltraining", "mine", status="InProgress")
    simulator.add_fault(Fault("unavailable", operation=CANCEL))
    asked, killed_by_now = threading.Event(), threading.Event()

    def hold() -> None:
        asked.set()
        assert killed_by_now.wait(TIMEOUT_SECONDS)

    during(shared_hook(HOOK).conn, CANCEL, hold)

    asyncio.run(killed(late(), asked.is_set, killed_by_now.set))

    assert status(simulator) == "Stopping"


def test_kill_of_a_late_task_whose_job_may_go_on(simulator: Simulator, left_as: LeftAs) -> None:
    """With cancel_on_timeout off, a kill after the task's time is over leaves the job alone."""
    left_as("failed", job_id="mine")
    simulator.seed("modeltraining", "mine", status="InProgress")
    task = late(cancel_on_timeout=False)

    async def end_and_kill() -> None:
        async for event in task.run():
            assert event.payload["status"] == "timeout"
        await task.on_kill()

    asyncio.run(end_and_kill())

    assert not simulator.calls(CANCEL)


# Just started


def test_kill_of_a_job_that_is_not_found_yet(simulator: Simulator, left_as: LeftAs) -> None:
    """A kill while "not found" is forgiven stops the job, though it appears only after the first request."""
    left_as("failed", job_id="mine")
    task = at_work(started_at=time.time(), not_found_grace=3600)
    during(
        shared_hook(HOOK).urgent_conn,
        GET,
        lambda: simulator.seed("modeltraining", "mine", status="InProgress"),
        call=2,
    )

    asyncio.run(task.on_kill())

    assert status(simulator) == "Stopping"


# Whose doing it was


# On Airflow 3, a clear and the end of the wait elsewhere look the same until the next try has its own id.
# Airflow 2 tells the try.
_CLEARED_OR_RESUMED = "Stopping" if AIRFLOW_V_3_0_PLUS else "InProgress"


@pytest.mark.parametrize(
    ("state", "xcoms", "left"),
    [
        # Another triggerer waits, a retry takes the job over, or the task has succeeded with it.
        ("up_for_retry", {"job_id": "mine"}, "InProgress"),
        ("success", {"job_id": "mine", "return_value": "mine"}, "InProgress"),
        # A user marked or cleared it.
        ("success", {"job_id": "mine"}, "Stopping"),
        ("failed", {"job_id": "mine"}, "Stopping"),
        (None, {"job_id": "mine"}, "Stopping"),
        # It was cleared, since nothing ends the wait for a job that is under way, however far the new try is.
        ("scheduled", {"job_id": "mine"}, _CLEARED_OR_RESUMED),
        ("queued", {"job_id": "mine"}, _CLEARED_OR_RESUMED),
        ("running", {"job_id": "mine"}, _CLEARED_OR_RESUMED),
        ("running", {}, _CLEARED_OR_RESUMED),
        ("running", {"job_id": "other"}, _CLEARED_OR_RESUMED),
        ("deferred", {"job_id": "other"}, "Stopping"),
    ],
)
def test_kill_of_a_wait_for_a_job_under_way(
    simulator: Simulator, left_as: LeftAs, state: str | None, xcoms: dict[str, str], left: str
) -> None:
    """A job under way is cancelled if a user ended its task, and not if its task continues."""
    left_as(state, **xcoms)
    simulator.seed("modeltraining", "mine", status="InProgress")

    asyncio.run(at_work().on_kill())

    assert status(simulator) == left


@pytest.mark.parametrize(
    ("state", "xcoms", "left"),
    [
        # What a start of an export returns is not its id.
        ("success", {"job_id": "mine", "return_value": "s3://bucket/export/1"}, "running"),
        ("success", {"job_id": "mine"}, "cancelling"),
        ("failed", {"job_id": "mine"}, "cancelling"),
    ],
)
def test_kill_of_a_wait_for_an_export(
    simulator: Simulator, left_as: LeftAs, state: str, xcoms: dict[str, str], left: str
) -> None:
    """So is an export."""
    left_as(state, **xcoms)
    simulator.seed("export", "mine", status="running")

    asyncio.run(at_work(kind="export", hook_parameters={**HOOK, "export_api_url": None}).on_kill())

    assert simulator.describe("export", "mine")["status"] == left


@pytest.mark.skipif(not AIRFLOW_V_3_0_PLUS, reason="there a wait elsewhere has another trigger's id")
@pytest.mark.parametrize("xcoms", [{"job_id": "mine"}, {}], ids=["id", "no XCom"])
def test_kill_of_a_wait_that_another_triggerer_has(
    simulator: Simulator, left_as: LeftAs, xcoms: dict[str, str]
) -> None:
    """A triggerer that was hung leaves the job alone for which another one waits now."""
    left_as("deferred", **xcoms)
    simulator.seed("modeltraining", "mine", status="InProgress")

    asyncio.run(at_work().on_kill())

    assert status(simulator) == "InProgress"


@pytest.mark.skipif(AIRFLOW_V_3_0_PLUS, reason="only Airflow 2 tells the try")
@pytest.mark.parametrize("state", ["scheduled", "queued", "running", "deferred", "success"])
def test_kill_of_a_try_before(simulator: Simulator, left_as: LeftAs, state: str) -> None:
    """A job is cancelled if its task is at another try, whatever that has come to."""
    left_as(state, try_number=2, job_id="mine", return_value="mine")
    simulator.seed("modeltraining", "mine", status="InProgress")

    asyncio.run(at_work().on_kill())

    assert status(simulator) == "Stopping"


@pytest.mark.parametrize("ended", ["Completed", "Failed", "Stopped"])
@pytest.mark.parametrize("state", ["failed", "running"])
def test_kill_of_a_wait_for_an_ended_job(
    simulator: Simulator, left_as: LeftAs, state: str, ended: str
) -> None:
    """Nothing is sent for a job that has ended."""
    left_as(state, job_id="mine")
    simulator.seed("modeltraining", "mine", status=ended)

    asyncio.run(at_work().on_kill())

    assert not simulator.calls(CANCEL)


def test_kill_of_a_job_that_is_gone(simulator: Simulator, left_as: LeftAs) -> None:
    """Nothing is sent for a job that does not exist any more."""
    left_as("failed", job_id="mine")

    asyncio.run(at_work(started_at=time.time() - 3600).on_kill())

    assert not simulator.calls(CANCEL)


@pytest.mark.parametrize(
    ("state", "xcoms", "left"),
    [
        ("queued", {"endpoint_id": "mine"}, "InService"),
        ("success", {"endpoint_id": "mine", "return_value": "mine"}, "InService"),
        ("success", {"endpoint_id": "mine"}, "Deleting"),
        ("failed", {"endpoint_id": "mine"}, "Deleting"),
        (None, {"endpoint_id": "mine"}, "Deleting"),
    ],
)
def test_kill_of_a_wait_for_an_endpoint_in_service(
    simulator: Simulator,
    left_as: LeftAs,
    monkeypatch: pytest.MonkeyPatch,
    state: str | None,
    xcoms: dict[str, str],
    left: str,
) -> None:
    """An endpoint in service is deleted if a user ended its task, and left while that can't be told."""
    set_budgets(monkeypatch, trigger=0.0)
    left_as(state, **xcoms)
    simulator.seed("endpoints", "mine", status="InService")

    asyncio.run(at_work(kind="endpoints").on_kill())

    assert simulator.describe("endpoints", "mine")["status"] == left


@pytest.mark.skipif(not AIRFLOW_V_3_0_PLUS, reason="Airflow 2 tells the try at the first look")
@pytest.mark.parametrize(
    ("then", "left"),
    [
        (("success", {"endpoint_id": "mine", "return_value": "mine"}), "InService"),
        (("running", {"endpoint_id": "other"}), "Deleting"),
        (("failed", {"endpoint_id": "mine"}), "Deleting"),
    ],
)
def test_kill_is_decided_later(
    simulator: Simulator, left_as: LeftAs, then: tuple[str, dict[str, str]], left: str
) -> None:
    """Whether a queued task was cleared or goes on with its endpoint is looked at until it can be told."""
    left_as("queued", endpoint_id="mine")
    simulator.seed("endpoints", "mine", status="InService")
    state, xcoms = then
    during(shared_hook(HOOK).urgent_conn, "GetMLEndpoint", lambda: left_as(state, **xcoms))

    asyncio.run(at_work(kind="endpoints").on_kill())

    assert simulator.describe("endpoints", "mine")["status"] == left


@pytest.mark.skipif(not AIRFLOW_CALLS_ON_KILL, reason="before, a triggerer shuts down far more often")
def test_kill_while_airflow_is_out_of_reach(simulator: Simulator, left_as: LeftAs) -> None:
    """A job is not cancelled before Airflow has said what became of its task."""
    simulator.seed("modeltraining", "mine", status="InProgress")
    seen: list[Any] = []

    def recover() -> None:
        seen.append(status(simulator))
        left_as("failed", job_id="mine")

    during(shared_hook(HOOK).urgent_conn, GET, recover, call=2)

    asyncio.run(at_work().on_kill())

    assert seen == ["InProgress"]
    assert status(simulator) == "Stopping"
