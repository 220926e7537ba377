"""The triggerer's threads: few, shared by waits with the same settings alone, never the event loop's."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_neptune_ml.hooks.neptune_ml import shared_hook
from airflow_provider_neptune_ml.simulator import Simulator
from airflow_provider_neptune_ml.triggers import threads
from airflow_provider_neptune_ml.triggers.neptune_ml import NeptuneMLJobTrigger
from airflow_provider_neptune_ml.triggers.threads import NAME, Threads, with_hook
from tests.contexts import KEY
from tests.task_states import LeftAs

pytestmark = pytest.mark.usefixtures("connection")

THREADS = 8
ALL_THREADS = 64
TIMEOUT_SECONDS = 30.0


@contextmanager
def silent(parameters: dict[str, Any]) -> Iterator[None]:
    """Have all threads of some settings wait for a cluster that does not answer; in an event loop."""
    answer, asked = threading.Event(), threading.Semaphore(0)

    def ask(_: object) -> None:
        asked.release()
        assert answer.wait(TIMEOUT_SECONDS)

    waits = [asyncio.ensure_future(with_hook(parameters, ask)) for _ in range(2 * THREADS)]
    try:
        yield
        for _ in range(THREADS):
            assert asked.acquire(timeout=TIMEOUT_SECONDS)
    finally:
        answer.set()
        for wait in waits:
            wait.cancel()


def test_silent_cluster_holds_up_no_other() -> None:
    """Waits on one cluster go on while all threads of another one wait for an answer."""

    async def main() -> str:
        with silent({"neptune_ml_conn_id": "silent"}):
            return await asyncio.wait_for(with_hook({}, lambda _: "answered"), TIMEOUT_SECONDS / 2)

    assert asyncio.run(main()) == "answered"


def test_kill_does_not_queue_behind_polls(simulator: Simulator, left_as: LeftAs) -> None:
    """A kill is sent while all threads for polls of the same cluster are busy."""
    left_as("failed", job_id="mine")
    simulator.seed("modeltraining", "mine", status="InProgress")
    trigger: Any = NeptuneMLJobTrigger(kind="modeltraining", resource_id="mine", cancel_on_kill=True)
    trigger.task_instance = SimpleNamespace(**KEY, try_number=1)
    trigger.trigger_id = 1

    async def main() -> int:
        with silent(trigger.hook_parameters):
            # Not by wait_for: a kill is not cancelled by it, and would be waited for.
            await asyncio.wait((asyncio.ensure_future(trigger.on_kill()),), timeout=TIMEOUT_SECONDS / 2)
            return len(simulator.calls("CancelMLModelTrainingJob"))

    assert asyncio.run(main()) == 1


def test_threads_that_can_not_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that had too many threads for a moment has its calls answered afterwards."""
    pool = Threads(limit=2, limit_of_one=1)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_more)
        with pytest.raises(RuntimeError, match="start new thread"):
            pool.submit("one", lambda: "lost")

    assert pool.submit("one", lambda: "answered").result(TIMEOUT_SECONDS) == "answered"


def no_more(_: threading.Thread) -> None:
    """Refuse to start a thread, as Python does where the machine does."""
    raise RuntimeError("can't start new thread")


def most_at_once(settings: Sequence[Mapping[str, Any]], expected: int) -> int:
    """Return how many calls, each with its settings, were under way at the same time."""
    together, lock = threading.Barrier(expected), threading.Lock()
    now, most = 0, 0

    def ask(_: object) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        together.wait(TIMEOUT_SECONDS)
        with lock:
            now -= 1

    async def main() -> None:
        await asyncio.gather(*(with_hook(each, ask) for each in settings))

    asyncio.run(main())
    return most


def test_polls_share_few_threads() -> None:
    """However many waits ask a slow cluster at once, eight threads do it, at the same time, and then end."""
    assert most_at_once([{}] * 5 * THREADS, THREADS) == THREADS
    for thread in threading.enumerate():
        if thread.name == NAME:
            thread.join(TIMEOUT_SECONDS)
            assert not thread.is_alive()


def test_two_threads_for_a_cluster_that_answers_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as polls end soon, no third thread takes Python's lock from the event loop."""
    monkeypatch.setattr(threads, "_SLOW_SECONDS", 3600.0)
    pool, both, asking = Threads(at_once=2), threading.Barrier(2), set()

    def ask() -> None:
        asking.add(threading.get_ident())
        both.wait(TIMEOUT_SECONDS)

    for answer in [pool.submit("one", ask) for _ in range(40)]:
        answer.result(TIMEOUT_SECONDS)
    assert len(asking) == 2


def test_room_for_what_may_be_left_out() -> None:
    """What may wait for the next poll is not handed over behind many calls; other clusters have room."""
    pool, answer = Threads(limit_of_one=1), threading.Event()
    calls = [pool.submit("one", partial(answer.wait, TIMEOUT_SECONDS)) for _ in range(30)]

    assert (pool.has_room("one"), pool.has_room("another")) == (False, True)
    answer.set()
    assert all(call.result(TIMEOUT_SECONDS) for call in calls)
    assert pool.has_room("one")


def test_threads_of_many_settings() -> None:
    """However many settings there are, the threads are limited in all, and each setting has its turn."""
    settings = [{"region_name": f"region-{number % 128}"} for number in range(256)]

    assert most_at_once(settings, ALL_THREADS) == ALL_THREADS


def test_waits_share_a_client_outside_of_the_event_loop(simulator: Simulator) -> None:
    """All polls of all waits with the same settings go through one client, in threads of their own."""
    ids = [f"job-{number}" for number in range(5)]
    for id_ in ids:
        simulator.seed("modeltraining", id_, status="InProgress")
    # As Airflow's database gives them: equal, and not the same.
    settings = json.dumps({"aws_conn_id": "aws_default", "neptune_ml_conn_id": "neptune_ml_default"})
    threads: list[int] = []
    shared_hook(json.loads(settings)).conn.meta.events.register(
        "before-send.neptunedata", lambda **_: threads.append(threading.get_ident())
    )

    async def wait(id_: str) -> object:
        trigger = NeptuneMLJobTrigger(
            kind="modeltraining", resource_id=id_, poll_interval=0.01, hook_parameters=json.loads(settings)
        )
        return await anext(aiter(trigger.run()))

    async def main() -> None:
        waits = [asyncio.ensure_future(wait(id_)) for id_ in ids]
        while len(threads) < 3 * len(ids):
            await asyncio.sleep(0.01)
        for id_ in ids:
            simulator.finish("modeltraining", id_)
        await asyncio.wait_for(asyncio.gather(*waits), TIMEOUT_SECONDS)

    asyncio.run(asyncio.wait_for(main(), TIMEOUT_SECONDS))
    assert len(threads) == len(simulator.calls("GetMLModelTrainingJob"))
    assert threading.get_ident() not in threads
