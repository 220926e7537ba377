"""The event trigger, against the simulator over HTTP."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import Any

import pytest

from airflow_provider_neptune_ml.compat import AIRFLOW_V_3_0_PLUS
from airflow_provider_neptune_ml.simulator import Simulator
from airflow_provider_neptune_ml.simulator.faults import Fault
from airflow_provider_neptune_ml.triggers import delivery
from airflow_provider_neptune_ml.triggers.events import NeptuneMLJobEventTrigger
from tests.sdk import Asset
from tests.triggers.watchers import GET, HANGING_SECONDS, LIST, OlderStore, Store, trigger

pytestmark = pytest.mark.usefixtures("connection")
with_watchers = pytest.mark.skipif(not AIRFLOW_V_3_0_PLUS, reason="Airflow 2 has no asset watchers")


class Watching:
    """A trigger that runs, and the payloads of what it fired."""

    def __init__(self, task: NeptuneMLJobEventTrigger) -> None:
        self.fired: list[dict[str, Any]] = []
        self._running = asyncio.ensure_future(self._run(task))

    async def _run(self, task: NeptuneMLJobEventTrigger) -> None:
        async for event in task.run():
            self.fired.append(json.loads(json.dumps(event.payload)))

    @property
    def ids(self) -> list[str]:
        """The ids of the jobs that fired."""
        return [payload["id"] for payload in self.fired]

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait for a condition, as long as the trigger runs."""

        async def check() -> None:
            while not condition():
                assert not self._running.done(), "an event trigger must not end"
                await asyncio.sleep(0.01)

        await asyncio.wait_for(check(), HANGING_SECONDS)

    async def stop(self) -> None:
        """Cancel it, as a triggerer does that goes away."""
        self._running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await self._running


class Log:
    """What was logged, by level. Airflow logs to the standard output from 3.2 on, by ``logging`` before."""

    def __init__(self, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
        self._capsys = capsys
        self._caplog = caplog
        self._text = ""

    def lines(self, level: str) -> list[str]:
        """Return the lines of a level."""
        self._text += self._capsys.readouterr().out
        ours = [line for line in self._text.splitlines() if "[airflow_provider_neptune_ml" in line]
        printed = [line for line in ours if f"[{level}" in line]
        return printed or [
            record.getMessage()
            for record in self._caplog.records
            if record.levelname == level.upper() and "neptune_ml" in record.name
        ]


@pytest.fixture
def log(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Log:
    """What the trigger logs."""
    return Log(capsys, caplog)


@asynccontextmanager
async def watching(task: NeptuneMLJobEventTrigger) -> AsyncIterator[Watching]:
    """Run a trigger as long as the context lasts."""
    running = Watching(task)
    yield running
    await running.stop()


@with_watchers
def test_fires_once_per_job(simulator: Simulator) -> None:
    """Each job that completes fires once, with its description; running, failed and other jobs don't."""
    for job_id in ("nightly-1", "nightly-2", "nightly-3", "weekly-1"):
        simulator.seed("modeltraining", job_id, status="InProgress")

    async def watch() -> list[dict[str, Any]]:
        async with watching(trigger()) as running:
            await running.until(lambda: len(simulator.calls(GET)) > 3)
            simulator.fail("modeltraining", "nightly-3")
            simulator.finish("modeltraining", "weekly-1")
            simulator.finish("modeltraining", "nightly-1")
            await running.until(lambda: "nightly-1" in running.ids)
            simulator.finish("modeltraining", "nightly-2")
            await running.until(lambda: "nightly-2" in running.ids)
            return running.fired

    first, second = asyncio.run(watch())

    assert (first["kind"], first["id"], first["status"]) == ("modeltraining", "nightly-1", "Completed")
    assert first["description"]["processingJob"]["outputLocation"].startswith("s3://")
    assert second["id"] == "nightly-2"
    assert all(call.id != "weekly-1" for call in simulator.calls(GET))


@with_watchers
def test_new_jobs_are_found(simulator: Simulator) -> None:
    """A job that is started and ends between two looks fires; what ended before the watch doesn't."""
    simulator.seed("modeltraining", "nightly-old", status="Completed")

    async def watch() -> list[str]:
        async with watching(trigger()) as running:
            await running.until(lambda: len(simulator.calls(LIST)) > 2)
            simulator.seed("modeltraining", "nightly-new", status="Completed")
            await running.until(lambda: running.fired)
            return running.ids

    assert asyncio.run(watch()) == ["nightly-new"]


@with_watchers
def test_exact_id(simulator: Simulator, log: Log) -> None:
    """An exact id is awaited even before the job exists, and needs no permission to list."""

    async def watch() -> list[str]:
        async with watching(trigger(job_id="mine", kind="modeltransform")) as running:
            await running.until(lambda: len(simulator.calls("GetMLModelTransformJob")) > 2)
            simulator.seed("modeltransform", "mine", status="InProgress")
            asked = len(simulator.calls("GetMLModelTransformJob"))
            await running.until(lambda: len(simulator.calls("GetMLModelTransformJob")) > asked + 1)
            simulator.finish("modeltransform", "mine")
            await running.until(lambda: running.fired)
            return running.ids

    assert asyncio.run(watch()) == ["mine"]
    assert not simulator.calls("ListMLModelTransformJobs")
    assert not log.lines("error")


@with_watchers
def test_target_statuses(simulator: Simulator) -> None:
    """A bad end can be what is watched for."""
    simulator.seed("modeltraining", "nightly-1", status="InProgress")
    simulator.seed("modeltraining", "nightly-2", status="InProgress")

    async def watch() -> list[dict[str, Any]]:
        async with watching(trigger(target_statuses=["Failed", "Stopped"])) as running:
            await running.until(lambda: len(simulator.calls(GET)) > 2)
            simulator.finish("modeltraining", "nightly-1")
            simulator.fail("modeltraining", "nightly-2", reason="AlgorithmError: no")
            await running.until(lambda: running.fired)
            return running.fired

    [event] = asyncio.run(watch())

    assert (event["id"], event["status"]) == ("nightly-2", "Failed")
    assert "AlgorithmError: no" in json.dumps(event["description"])


@with_watchers
@pytest.mark.parametrize("kind_of_store", [Store, OlderStore])
def test_restart(simulator: Simulator, kind_of_store: type[OlderStore]) -> None:
    """After a restart with a store nothing fires again, and what ended meanwhile fires, listed or not."""
    simulator.seed("modeltraining", "nightly-old", status="Completed")
    for job_id in ("nightly-1", "nightly-2"):
        simulator.seed("modeltraining", job_id, status="InProgress")
    store = kind_of_store()

    async def watch() -> tuple[list[str], list[str]]:
        async with watching(trigger(store)) as first:
            await first.until(lambda: len(simulator.calls(GET)) > 3)
            simulator.finish("modeltraining", "nightly-1")
            await first.until(lambda: "nightly-1" in store.ended)
        simulator.finish("modeltraining", "nightly-2")
        # So many that the older ones are in no list any more.
        for number in range(1024):
            simulator.seed("modeltraining", f"weekly-{number}")
        simulator.seed("modeltraining", "nightly-3", status="Completed")
        asked = len(simulator.journal)
        async with watching(trigger(store, poll_interval=0.02)) as second:
            await second.until(lambda: len(second.fired) > 1)
        assert {call.id for call in simulator.journal[asked:]} == {None, "nightly-2", "nightly-3"}
        return first.ids, sorted(second.ids)

    assert asyncio.run(watch()) == (["nightly-1"], ["nightly-2", "nightly-3"])


@with_watchers
def test_fires_again_if_never_handed_on(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A triggerer that dies right after a job fired, before Airflow has the event, fires it again."""
    monkeypatch.setattr(delivery, "_STORED_SECONDS", 3600.0)
    simulator.seed("modeltraining", "nightly-1", status="InProgress")
    store = Store()

    async def watch() -> tuple[list[str], list[str]]:
        async with watching(trigger(store)) as first:
            await first.until(lambda: store.values)
        simulator.finish("modeltraining", "nightly-1")
        async with watching(trigger(store, poll_interval=3600)) as second:
            await second.until(lambda: second.fired)
        async with watching(trigger(store)) as third:
            await third.until(lambda: third.fired)
        return second.ids, third.ids

    assert asyncio.run(watch()) == (["nightly-1"], ["nightly-1"])


@with_watchers
def test_restart_without_store(simulator: Simulator) -> None:
    """Without a store, a restart begins a new watch: no job fires twice, none that ended meanwhile at all."""
    simulator.seed("modeltraining", "nightly-1", status="InProgress")

    async def watch() -> tuple[list[str], list[str]]:
        async with watching(trigger()) as first:
            await first.until(lambda: len(simulator.calls(GET)) > 2)
            simulator.finish("modeltraining", "nightly-1")
            await first.until(lambda: first.fired)
        asked = len(simulator.calls(LIST))
        async with watching(trigger()) as second:
            await second.until(lambda: len(simulator.calls(LIST)) > asked + 1)
            simulator.seed("modeltraining", "nightly-2", status="Completed")
            await second.until(lambda: second.fired)
        return first.ids, second.ids

    assert asyncio.run(watch()) == (["nightly-1"], ["nightly-2"])


@with_watchers
def test_unreadable_store(simulator: Simulator, log: Log) -> None:
    """A store that can't be read is asked again: to begin a new watch would lose jobs."""
    simulator.seed("modeltraining", "nightly-1", status="InProgress")
    store = Store()

    async def watch() -> list[str]:
        async with watching(trigger(store)) as first:
            await first.until(lambda: store.values)
        simulator.finish("modeltraining", "nightly-1")
        store.broken = 2
        async with watching(trigger(store)) as second:
            await second.until(lambda: second.fired)
        return second.ids

    assert asyncio.run(watch()) == ["nightly-1"]
    [error] = log.lines("error")
    assert "API_SERVER_ERROR" in error


@with_watchers
@pytest.mark.parametrize("operation", [GET, LIST])
def test_transient_errors_are_retried(simulator: Simulator, log: Log, operation: str) -> None:
    """Throttling ends no watch, loses no job and is logged once."""
    simulator.seed("modeltraining", "nightly-1", status="InProgress")

    async def watch() -> list[str]:
        async with watching(trigger()) as running:
            await running.until(lambda: len(simulator.calls(GET)) > 1)
            simulator.add_fault(Fault("too_many_requests", operation=operation, times=2))
            await running.until(lambda: not simulator.faults)
            simulator.finish("modeltraining", "nightly-1")
            await running.until(lambda: running.fired)
            return running.ids

    assert asyncio.run(watch()) == ["nightly-1"]
    [warning] = log.lines("warning")
    assert "TooManyRequestsException" in warning


@with_watchers
@pytest.mark.parametrize("operation", [GET, LIST])
def test_refusal_is_visible(simulator: Simulator, log: Log, operation: str) -> None:
    """A missing permission is one error in the log, with its name; the watch goes on once it is given."""
    simulator.seed("modeltraining", "nightly-1", status="InProgress")

    async def watch() -> list[str]:
        async with watching(trigger()) as running:
            await running.until(lambda: len(simulator.calls(GET)) > 1)
            simulator.add_fault(Fault("access_denied", operation=operation, times=3))
            await running.until(lambda: not simulator.faults)
            simulator.finish("modeltraining", "nightly-1")
            await running.until(lambda: running.fired)
            return running.ids

    assert asyncio.run(watch()) == ["nightly-1"]
    [error] = log.lines("error")
    assert "Watcher of model training jobs 'nightly-*'" in error
    assert f"neptune-db:{operation}" in error


@with_watchers
def test_transient_errors_do_not_begin_the_watch_anew(simulator: Simulator) -> None:
    """A job seen to have ended before the watch began is not polled again after a transient error."""
    for number in range(3):
        simulator.seed("modeltraining", f"nightly-{number}", status="Completed")
    simulator.add_fault(Fault("internal_failure", operation=GET, skip=2))

    async def watch() -> list[str]:
        async with watching(trigger()) as running:
            await running.until(lambda: len(simulator.calls(LIST)) > 3)
            return running.ids

    assert asyncio.run(watch()) == []
    # Two, the one with the error, and that one again.
    assert len(simulator.calls(GET)) == 4


@with_watchers
def test_one_bad_job(simulator: Simulator) -> None:
    """A job that can't be described does not stand in the way of the others."""
    for job_id in ("nightly-1", "nightly-2"):
        simulator.seed("modeltraining", job_id, status="InProgress")

    async def watch() -> list[str]:
        async with watching(trigger()) as running:
            await running.until(lambda: len(simulator.calls(GET)) > 3)
            for fault in ("access_denied", "internal_failure"):
                for job_id, done in (("nightly-1", "nightly-2"), ("nightly-2", "nightly-1")):
                    simulator.clear_faults()
                    simulator.add_fault(Fault(fault, id=job_id, times=None))
                    new = f"{done}-{fault.replace('_', '-')}"
                    simulator.seed("modeltraining", new, status="Completed")
                    await running.until(lambda new=new: new in running.ids)  # type: ignore[misc]
            return running.ids

    assert len(asyncio.run(watch())) == 4


@with_watchers
def test_memory_is_bounded(simulator: Simulator) -> None:
    """Of very many jobs that have ended, those are remembered that would fire again."""
    simulator.seed("modeltraining", "nightly-z", status="Completed")
    store = Store()
    ended = [*(f"nightly-{number}" for number in range(1300)), "nightly-z"]
    store.values["neptune_ml_default:modeltraining:nightly-*"] = json.dumps({"ended": ended, "going": []})

    async def watch() -> list[str]:
        async with watching(trigger(store)) as running:
            await running.until(lambda: len(store.ended) < len(ended))
            asked = len(simulator.calls(LIST))
            await running.until(lambda: len(simulator.calls(LIST)) > asked + 1)
            return running.ids

    assert asyncio.run(watch()) == []
    assert store.written == 1
    assert len(store.ended) == 1200
    assert "nightly-z" in store.ended


@with_watchers
def test_several_assets(simulator: Simulator, log: Log) -> None:
    """A trigger that several assets share has no store: it says so and watches all the same."""
    context = pytest.importorskip("airflow.sdk.execution_time.context")
    if not hasattr(context, "AssetStateStoreAccessors"):
        pytest.skip("Airflow 3.3 is the first with state of assets")
    store = context.AssetStateStoreAccessors(inlets=[Asset("one"), Asset("other")])
    simulator.seed("modeltraining", "nightly-1", status="InProgress")

    async def watch() -> list[str]:
        async with watching(trigger(store)) as running:
            await running.until(lambda: len(simulator.calls(GET)) > 1)
            simulator.finish("modeltraining", "nightly-1")
            await running.until(lambda: running.fired)
            return running.ids

    assert asyncio.run(watch()) == ["nightly-1"]
    [warning] = log.lines("warning")
    assert "jobs that fired are not remembered" in warning


@with_watchers
def test_missing_connection(log: Log) -> None:
    """A connection that is not there is an error in the log, and no end of the watch."""

    async def watch() -> None:
        async with watching(trigger(neptune_ml_conn_id="nowhere")) as running:
            await running.until(lambda: any("'nowhere'" in line for line in log.lines("error")))

    asyncio.run(watch())


@with_watchers
def test_full_list(simulator: Simulator, log: Log) -> None:
    """A list that has no room for more jobs is told once: some may be missing in it."""
    for number in range(1024):
        simulator.seed("modeltraining", f"weekly-{number}", status="Completed")

    async def watch() -> None:
        async with watching(trigger()) as running:
            await running.until(lambda: len(simulator.calls(LIST)) > 2)

    asyncio.run(watch())

    [warning] = log.lines("warning")
    assert "lists at most 1024 jobs" in warning


@with_watchers
@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ({"job_id": "no good"}, r"job_id='no good' must be 1-48 letters"),
        ({"job_id": "{{ ds }}"}, r"job_id='\{\{ ds \}\}' must be"),
        ({"job_id": ""}, r"job_id='' must be"),
        ({"kind": "endpoints"}, r"kind='endpoints' must be a kind of job: dataprocessing, modeltraining"),
        ({"kind": "training"}, r"kind='training' must be"),
        ({"target_statuses": "Completed"}, r"target_statuses='Completed' must be a list"),
        ({"target_statuses": ["Done"]}, r"target_statuses has 'Done'"),
        ({"poll_interval": 0}, r"poll_interval=0 must be more than 0"),
        ({"poll_interval": "often"}, r"poll_interval='often' must be a number of seconds"),
        ({"botocore_config": {"a": object()}}, r"botocore_config=.* must be a dict"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], rule: str) -> None:
    """A mistake is told when the Dag is parsed, with the argument, the value and the rule."""
    with pytest.raises(ValueError, match=rule):
        NeptuneMLJobEventTrigger(**{"job_id": "mine", **arguments})


@with_watchers
def test_is_the_same_after_the_database() -> None:
    """The Dag processor finds the trigger unchanged in the database: else each parse would restart it."""
    from airflow.models.trigger import Trigger
    from airflow.sdk import AssetWatcher
    from airflow.triggers.base import BaseEventTrigger

    modules = ("airflow.serialization.encoders", "airflow.serialization.serialized_objects")
    encoders = vars(importlib.import_module(next(filter(find_spec, modules))))
    # Airflow 3.0 and 3.1 have it for themselves.
    encode_trigger = encoders.get("encode_trigger") or encoders["_encode_trigger"]
    task = NeptuneMLJobEventTrigger(
        job_id="nightly-*",
        target_statuses=["Completed", "Failed"],
        verify=False,
        botocore_config={"read_timeout": 5, "retries": {"mode": "standard"}},
    )
    parsed = encode_trigger(AssetWatcher(name="nightly", trigger=task).trigger)
    row = Trigger(classpath=parsed["classpath"], kwargs=parsed["kwargs"])

    assert BaseEventTrigger.hash(row.classpath, row.kwargs) == BaseEventTrigger.hash(**parsed)
    assert NeptuneMLJobEventTrigger(**row.kwargs).serialize() == task.serialize()


@pytest.mark.skipif(AIRFLOW_V_3_0_PLUS, reason="this Airflow has watchers")
def test_needs_airflow_3() -> None:
    """On Airflow 2 the module can be imported, and the trigger says what it needs."""
    with pytest.raises(RuntimeError, match=r"needs Airflow 3\.0 or newer"):
        NeptuneMLJobEventTrigger(job_id="mine")
    assert "airflow_provider_neptune_ml.triggers.events" in sys.modules


@with_watchers
def test_restart_while_retrying_right_after_the_beginning(simulator: Simulator) -> None:
    """A watch that has begun goes on in the next triggerer, though its first look never came to an end."""
    store = Store()
    simulator.seed("modeltraining", "nightly-1", status="InProgress")
    simulator.add_fault(Fault("internal_failure", operation=LIST, skip=1, times=None))

    async def watch() -> list[str]:
        async with watching(trigger(store)) as running:
            await running.until(lambda: len(simulator.calls(LIST)) > 2)
        simulator.clear_faults()
        simulator.finish("modeltraining", "nightly-1")
        looks = len(simulator.calls(LIST))
        async with watching(trigger(store)) as running:
            await running.until(lambda: running.fired or len(simulator.calls(LIST)) > looks + 4)
            return running.ids

    assert asyncio.run(watch()) == ["nightly-1"]
