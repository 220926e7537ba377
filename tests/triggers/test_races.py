"""A kill that reaches a trigger late, or one whose task went on, run by Airflow's own triggerer."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.jobs import triggerer_job_runner

from airflow_provider_neptune_ml.compat import AIRFLOW_V_3_0_PLUS, XCom
from airflow_provider_neptune_ml.hooks.neptune_ml import shared_hook
from airflow_provider_neptune_ml.simulator import Fault, Simulator
from airflow_provider_neptune_ml.triggers import neptune_ml as triggers
from airflow_provider_neptune_ml.triggers.neptune_ml import NeptuneMLJobTrigger
from tests.conftest import ONCE, PATIENCE_SECONDS
from tests.operators.test_neptune_ml import CANCEL, GET
from tests.operators.test_races import during
from tests.triggers.test_neptune_ml import trigger

pytestmark = pytest.mark.usefixtures("connection", "airflow_database")

KEY = {"dag_id": "nightly", "task_id": "train", "run_id": "manual__1", "map_index": -1}
TRIGGER_ID = 1
HOOK = {"config": ONCE}
LeftAs = Callable[..., None]


@pytest.fixture(autouse=True)
def _no_hurry_in_the_triggerer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill is not over because this machine stood still."""
    monkeypatch.setattr(triggers, "_KILL_SECONDS", PATIENCE_SECONDS)


@pytest.fixture
def left_as(monkeypatch: pytest.MonkeyPatch) -> Iterator[LeftAs]:
    """Say in which state Airflow has the task of the trigger, and its XComs."""
    if AIRFLOW_V_3_0_PLUS:
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

        def answer(state: str | None, **xcoms: str) -> None:
            # What the triggerer's supervisor answers: without one, nothing does.
            states = {KEY["run_id"]: {KEY["task_id"]: state}}
            monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", staticmethod(lambda **_: states))
            monkeypatch.setattr(XCom, "get_one", staticmethod(lambda **asked: xcoms.get(asked["key"])))

        yield answer
        return
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session

    run = {"dag_id": KEY["dag_id"], "run_id": KEY["run_id"]}

    def store(state: str | None, **xcoms: str) -> None:
        row = {**KEY, "state": state, "try_number": 1, "pool": "default_pool"}
        with create_session() as session:
            session.execute(DagRun.__table__.insert().values(**run, run_type="manual"))
            session.execute(TaskInstance.__table__.insert().values(**row))
        for key, value in xcoms.items():
            XCom.set(key=key, value=value, **KEY)

    yield store
    with create_session() as session:
        session.query(DagRun).filter_by(**run).delete()


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
    await asyncio.wait_for(reached(), PATIENCE_SECONDS)
    runner.to_cancel.append(TRIGGER_ID)
    await runner.cancel_triggers()
    act()
    with pytest.raises(asyncio.CancelledError):
        await running


def status(simulator: Simulator) -> Any:
    """Return the status of the job."""
    return simulator.describe("modeltraining", "mine")["status"]


# Late


def test_kill_while_a_late_trigger_is_in_trouble(simulator: Simulator, left_as: LeftAs) -> None:
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
        assert killed_by_now.wait(PATIENCE_SECONDS)

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


@pytest.mark.parametrize(
    ("state", "xcoms", "left"),
    [
        # It goes on: here, with another triggerer, in a worker, in a retry, or is done with the job.
        ("running", {"job_id": "mine"}, "InProgress"),
        ("up_for_retry", {"job_id": "mine"}, "InProgress"),
        ("success", {"job_id": "mine", "return_value": "mine"}, "InProgress"),
        # A user marked or cleared it.
        ("success", {"job_id": "mine"}, "Stopping"),
        ("failed", {"job_id": "mine"}, "Stopping"),
        (None, {"job_id": "mine"}, "Stopping"),
        ("scheduled", {}, "Stopping"),
        ("queued", {}, "Stopping"),
        ("running", {"job_id": "other"}, "Stopping"),
        ("running", {}, "Stopping"),
    ],
)
def test_kill_by_a_late_triggerer(
    simulator: Simulator, left_as: LeftAs, state: str | None, xcoms: dict[str, str], left: str
) -> None:
    """A triggerer that is cut off for a while stops what a user ended, and not what went on elsewhere."""
    left_as(state, **xcoms)
    simulator.seed("modeltraining", "mine", status="InProgress")

    asyncio.run(at_work().on_kill())

    assert status(simulator) == left


def test_endpoint_of_a_task_that_went_on(simulator: Simulator, left_as: LeftAs) -> None:
    """So it does not delete an endpoint that its task succeeded with, or is about to."""
    simulator.seed("endpoints", "mine", status="InService")

    left_as("running", endpoint_id="mine")
    asyncio.run(at_work(kind="endpoints").on_kill())

    assert simulator.describe("endpoints", "mine")["status"] == "InService"
