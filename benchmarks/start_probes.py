"""What is measured while waits start, inside a process of its own; all numbers in seconds and bytes."""

from __future__ import annotations

import asyncio
import gc
import statistics
import time

import psutil

from benchmarks import waits
from benchmarks.isolation import Figures
from benchmarks.loop import PollLoop, p99

_FAR = 3600.0  # a poll interval that does not come round
_WARM_UP_WAITS = 20
_HEARTBEAT_SECONDS = 0.005
# Our waits spread their first poll over this long.
_FIRST_ROUND_SECONDS = 5.0


def memory(side: str, ids: list[str]) -> Figures:
    """Measure the bytes that one more wait costs, in a process that has some already."""
    loop = PollLoop(_FAR)

    async def probe() -> Figures:
        path, rows = waits.serialized(side, ids, _FAR)
        tasks = await waits.start(side, path, rows[:_WARM_UP_WAITS])
        await loop.until_polls(len(tasks))
        before = await _own_bytes()
        tasks += await waits.start(side, path, rows[_WARM_UP_WAITS:])
        await loop.until_polls(len(tasks))
        after = await _own_bytes()
        await waits.stop(tasks)
        return {"bytes_per_wait": (after - before) / (len(rows) - _WARM_UP_WAITS)}

    return loop.run(probe())


def take_up(side: str, ids: list[str], rounds: int) -> Figures:
    """
    Measure the CPU seconds of starting all waits, and those of one round of their polls.

    All waits poll once and are held; then they are let go for another poll each, some times over. These later
    rounds are as crowded as the first, our side's within a few seconds, and differ from it in nothing but the
    taking up: a poll that has to wake up an idle process costs more than one in a row of them.
    """
    loop = PollLoop(_FAR, hold=True)
    waits.import_all(side)

    async def probe() -> Figures:
        path, rows = waits.serialized(side, ids, _FAR)
        # The imports make a full collection due, which a triggerer had long before.
        gc.collect()
        began = time.process_time()
        tasks = await waits.start(side, path, rows)
        await loop.until_polls(len(rows))
        first = time.process_time() - began
        later = []
        for number in range(rounds):
            began = time.process_time()
            loop.release(_FIRST_ROUND_SECONDS)
            await loop.until_polls((number + 2) * len(rows))
            later.append(time.process_time() - began)
        await waits.stop(tasks)
        polls = statistics.median(later)
        return {"take_up_seconds": first - polls, "polls_seconds": polls}

    return loop.run(probe())


def lag(side: str, ids: list[str], interval: float = _FAR, longer: float = 0.0) -> Figures:
    """
    Measure how late the loop wakes up a heartbeat while all waits start, and while nothing happens.

    The waits start until all have polled, or so many seconds longer.
    """
    loop = PollLoop(interval)

    async def probe() -> Figures:
        path, rows = waits.serialized(side, ids, interval)
        lags: list[float] = []
        heartbeat = asyncio.create_task(_beat(lags))
        await asyncio.sleep(2)
        idle, lags[:] = list(lags), []
        pauses = _full_collections()
        began = time.monotonic()
        tasks = await waits.start(side, path, rows)
        await loop.until_polls(len(rows))
        seconds = time.monotonic() - began
        await asyncio.sleep(longer + 2 * _HEARTBEAT_SECONDS)
        heartbeat.cancel()
        await waits.stop(tasks)
        return {
            "max": max(lags),
            "p99": p99(lags),
            "idle_max": max(idle),
            "idle_p99": p99(idle),
            "seconds": seconds,
            "full_collection": max(pauses, default=0.0),
        }

    return loop.run(probe())


async def _own_bytes() -> float:
    await asyncio.sleep(1)
    gc.collect()
    return float(psutil.Process().memory_full_info().uss)


async def _beat(lags: list[float]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _HEARTBEAT_SECONDS
        await asyncio.sleep(_HEARTBEAT_SECONDS)
        lags.append(loop.time() - due)


def _full_collections() -> list[float]:
    """Return a list to which the seconds of each full garbage collection from now on are added."""
    began, pauses = 0.0, []

    def note(phase: str, info: dict[str, int]) -> None:
        nonlocal began
        if info["generation"] == 2:
            if phase == "start":
                began = time.monotonic()
            else:
                pauses.append(time.monotonic() - began)

    gc.callbacks.append(note)
    return pauses
