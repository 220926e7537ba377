"""When an event counts as delivered, with the triggerer's own runner; the test is the supervisor."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from airflow_provider_neptune_ml.simulator import Simulator
from airflow_provider_neptune_ml.simulator.faults import Fault
from airflow_provider_neptune_ml.triggers import delivery
from airflow_provider_neptune_ml.triggers.delivery import find_runner
from airflow_provider_neptune_ml.triggers.events import NeptuneMLJobEventTrigger
from tests.triggers.watchers import GET, HANGING_SECONDS, LIST, Store, trigger

context = pytest.importorskip("airflow.sdk.execution_time.context")
if not hasattr(context, "AssetStateStoreAccessors"):
    pytest.skip("Airflow 3.3 is the first with state of assets", allow_module_level=True)
triggerer_job_runner = pytest.importorskip("airflow.jobs.triggerer_job_runner")
TriggerRunner, TriggerCommsDecoder = (
    triggerer_job_runner.TriggerRunner,
    triggerer_job_runner.TriggerCommsDecoder,
)

ID = 1

pytestmark = pytest.mark.usefixtures("connection")


class Supervisor(Store):
    """The store of an asset, which answers when the test lets it."""

    def __init__(self) -> None:
        super().__init__()
        self.answers_reads = asyncio.Event()
        self.answers_writes = asyncio.Event()
        self.answers_reads.set()
        self.answers_writes.set()
        self.reads: list[asyncio.Task[Any]] = []

    @property
    def asked(self) -> int:
        """How many reads have been asked for."""
        return len(self.reads)

    async def aget(self, key: str, default: Any = None) -> Any:
        """Return a value."""
        self.reads.append(asyncio.ensure_future(self.answers_reads.wait()))
        await self.reads[-1]
        return await super().aget(key, default)

    async def aset(self, key: str, value: Any) -> None:
        """Keep a value, and answer."""
        await super().aset(key, value)
        await self.answers_writes.wait()


@pytest.fixture
def runner() -> Iterator[Any]:
    """The runner of triggers, which handles the signals of this process as in a triggerer."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    runner = TriggerRunner()
    runner.comms_decoder = TriggerCommsDecoder(socket=None, async_reader=None, async_writer=None)
    for number in handlers:
        signal.signal(number, runner._handle_signal)
    yield runner
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def _nothing_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "_STORED_SECONDS", 3600.0)


async def until(condition: Callable[[], Any]) -> None:
    """Wait for a condition."""

    async def check() -> None:
        while not condition():
            await asyncio.sleep(0.01)

    await asyncio.wait_for(check(), HANGING_SECONDS)


@asynccontextmanager
async def running(runner: Any, task: NeptuneMLJobEventTrigger) -> AsyncIterator[asyncio.Task[None]]:
    """Have the runner run a trigger; at the end, it is cancelled and cleaned up."""
    runner.triggers[ID] = {"name": "watch", "events": 0, "is_watcher": True}
    runner.triggers[ID]["task"] = asyncio.ensure_future(runner.run_trigger(ID, task))
    yield runner.triggers[ID]["task"]
    runner.triggers[ID]["task"].cancel()
    with pytest.raises(asyncio.CancelledError):
        await runner.triggers[ID]["task"]


def sent(runner: Any) -> list[str]:
    """Take the events out, as the runner does when it sends them; return the ids of their jobs."""
    return [event.payload["id"] for _, event, _ in runner.process_trigger_events([]).events or ()]


def shut_down(runner: Any) -> None:
    """Signal the runner, as its supervisor does."""
    signal.raise_signal(signal.SIGTERM)
    assert runner.stop


def closings() -> list[asyncio.Task[Any]]:
    """Return the tasks that finish what is to be remembered."""
    return [task for task in asyncio.all_tasks() if "Delivery.close" in str(task.get_coro())]


async def sent_and_asked(runner: Any, store: Supervisor) -> list[str]:
    """Send the events, whose answer is seen: the supervisor is asked for more, and doesn't answer that."""
    store.answers_reads.clear()
    asked = store.asked
    jobs = sent(runner)
    await until(lambda: store.asked > asked)
    return jobs


async def fired(simulator: Simulator, runner: Any, job_id: str = "nightly-1") -> None:
    """Let the watch begin, then a job complete and fire."""
    simulator.seed("modeltraining", job_id, status="InProgress")
    await until(lambda: len(simulator.calls(GET)) > 1)
    simulator.finish("modeltraining", job_id)
    await until(lambda: runner.events)


def test_finds_the_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runner is found as Airflow itself sets it up, and nowhere else."""
    found = []

    async def arun(self: Any) -> None:
        self.comms_decoder = TriggerCommsDecoder(socket=None, async_reader=None, async_writer=None)
        found.append((find_runner(), self))

    monkeypatch.setattr(TriggerRunner, "arun", arun)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    assert find_runner() is None
    try:
        TriggerRunner().run()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)

    [(runner, expected)] = found
    assert runner is expected


def test_remembered_once_stored(simulator: Simulator, runner: Any) -> None:
    """An event is remembered once the supervisor answers something after it was sent, and not before."""

    async def watch() -> None:
        store = Supervisor()
        async with running(runner, trigger(store)):
            await fired(simulator, runner)
            assert await sent_and_asked(runner, store) == ["nightly-1"]
            assert store.ended == []
            store.answers_reads.set()
            await until(lambda: store.ended == ["nightly-1"])

    asyncio.run(watch())


@pytest.mark.parametrize("is_sent", [False, True])
def test_shutdown_before_stored(simulator: Simulator, runner: Any, is_sent: bool) -> None:
    """What a triggerer that shuts down has not sent, or nobody answered, fires again after it."""

    async def watch() -> list[str]:
        store = Supervisor()
        async with running(runner, trigger(store)):
            await fired(simulator, runner)
            asked = store.asked
            answer = asyncio.get_running_loop().create_future()
            runner.comms_decoder._pending[1] = answer
            if is_sent:
                sent(runner)
                await until(lambda: answer._callbacks)
            shut_down(runner)
            answer.set_result(None)
            await asyncio.sleep(0)
            runner.comms_decoder._pending.clear()
        assert store.asked == asked
        assert (store.ended, json.loads(next(iter(store.values.values())))["going"]) == ([], ["nightly-1"])
        runner.stop = False
        runner.events.clear()
        async with running(runner, trigger(store)):
            await until(lambda: runner.events)
            return sent(runner)

    assert asyncio.run(watch()) == ["nightly-1"]


def test_shutdown_after_stored(simulator: Simulator, runner: Any) -> None:
    """What was stored before the triggerer was told to shut down does not fire again, without any delay."""

    async def watch() -> list[str]:
        store = Supervisor()
        async with running(runner, trigger(store)):
            await fired(simulator, runner)
            sent(runner)
            await until(lambda: store.ended)
            shut_down(runner)
        assert store.ended == ["nightly-1"]
        runner.stop = False
        asked = len(simulator.calls(LIST))
        async with running(runner, trigger(store)):
            await until(lambda: len(simulator.calls(LIST)) > asked + 2)
            return sent(runner)

    assert asyncio.run(watch()) == []


def test_shutdown_as_it_stores(simulator: Simulator, runner: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the supervisor has answered when it is told to shut down, it stores first: it is remembered."""
    monkeypatch.setattr(delivery, "_LAST_WRITE_SECONDS", 0.05)

    async def watch() -> None:
        store = Supervisor()
        async with running(runner, trigger(store)):
            await fired(simulator, runner)
            store.answers_writes.clear()
            await sent_and_asked(runner, store)
            assert store.ended == []
            shut_down(runner)
        assert store.ended == ["nightly-1"]

    asyncio.run(watch())


def test_shutdown_cancels_all(simulator: Simulator, runner: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As asyncio ends, it cancels what finishes the memory of a trigger that has ended just before."""
    monkeypatch.setattr(delivery, "_LAST_WRITE_SECONDS", 0.05)

    async def watch() -> None:
        store = Supervisor()
        async with running(runner, trigger(store)):
            await fired(simulator, runner)
            await sent_and_asked(runner, store)
            shut_down(runner)
            # The end of the runner's reader: what waits for an answer is cancelled, and with it the trigger.
            store.reads[-1].cancel()
            while not closings():
                await asyncio.sleep(0)
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
        assert store.ended == ["nightly-1"]

    asyncio.run(watch())


def test_slow_look(simulator: Simulator, runner: Any) -> None:
    """An event is remembered while the same look still waits for another job's description."""
    store = Supervisor()
    task = trigger(store, poll_interval=3600)
    store.values[task._key] = json.dumps({"ended": [], "going": ["nightly-1", "nightly-2"]})
    for job_id in ("nightly-1", "nightly-2"):
        simulator.seed("modeltraining", job_id, status="Completed")
    simulator.add_fault(Fault("slow", operation=GET, id="nightly-2", seconds=5))

    async def watch() -> None:
        async with running(runner, task):
            await until(lambda: runner.events)
            assert sent(runner) == ["nightly-1"]
            await until(lambda: store.ended)
            assert store.ended == ["nightly-1"]

    asyncio.run(watch())


def test_last_write(simulator: Simulator, runner: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A runner does not end before its supervisor had time to read what it wrote last."""
    monkeypatch.setattr(delivery, "_LAST_WRITE_SECONDS", 3600.0)

    async def watch() -> None:
        store = Supervisor()
        async with running(runner, trigger(store)) as task:
            await fired(simulator, runner)
            sent(runner)
            written = store.written
            store.answers_writes.clear()
            await until(lambda: store.written > written)
            shut_down(runner)
            task.cancel()
            await until(closings)
            task.cancel()
            await asyncio.sleep(0)
            assert not task.done()
            monkeypatch.setattr(delivery, "_LAST_WRITE_SECONDS", 0.0)
            closings()[0].cancel()

    asyncio.run(watch())


def test_removed(simulator: Simulator, runner: Any) -> None:
    """A job that fired as its watch was removed may be lost by Airflow: it fires when the watch is back."""

    async def watch() -> list[str]:
        store = Supervisor()
        async with running(runner, trigger(store)):
            await fired(simulator, runner)
            sent(runner)
            await until(lambda: store.ended)
        async with running(runner, trigger(store)):
            await until(lambda: runner.events)
            return sent(runner)

    assert asyncio.run(watch()) == ["nightly-1"]
