"""
Whether Airflow has stored the events that an event trigger fired, which no interface of Airflow tells.

Read on Airflow 3.3.0, 3.3.1 and 3.3.2, the first with a store for event triggers:

- The runner appends a fired event to its ``events`` and takes it out as it writes the message to its
  supervisor, about once a second.
- The supervisor handles one message in each round of its loop: it answers, then stores the events that it
  got. So whatever is answered after an event was sent proves that the event is stored,
- but for a supervisor that shuts down or failed: it goes on answering, and stores nothing any more. It
  signals the runner first, whose ``stop`` is set by then.
- A supervisor that shuts down ends its round before it signals. So what it answered before is stored by then,
  unless its database failed at that very moment.
- A runner that stops reads no more answers. What it wrote before is still handled, if it is read in time.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from airflow_provider_neptune_ml.triggers.memory import Memory

# The triggerer sends events on once a second. Each moment in which an answer goes unseen is one in which a
# shutdown makes its event fire again.
_CHECK_SECONDS = 0.005
# Where it can't be seen whether an event is stored, it counts as stored after this time. Of a trigger that is
# removed within this time, as for a Dag that is paused, Airflow may have dropped the event.
_STORED_SECONDS = 5.0
# A triggerer that shuts down handles what it gets as long as its runner lives, but no answer arrives.
_LAST_WRITE_SECONDS = 1.0


class Runner(Protocol):
    """What is needed of Airflow's ``TriggerRunner``."""

    events: deque[tuple[Any, ...]]
    stop: bool
    comms_decoder: Any


def find_runner() -> Runner | None:
    """Return the runner of this process, which handles its signals; None where it is not as it was read."""
    runner = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    is_known = (
        isinstance(getattr(runner, "events", None), deque)
        and hasattr(runner, "stop")
        and hasattr(getattr(runner, "comms_decoder", None), "_pending")
    )
    return cast("Runner", runner) if is_known else None


class Delivery:
    """
    Has events remembered that were fired, each as soon as Airflow has stored it.

    What is remembered later may fire twice if the triggerer dies in between; what is remembered before may
    never fire, which is worse.

    :param memory: what is remembered.
    :param longest_wait: seconds after which an event counts as stored where that can't be seen.
    """

    def __init__(self, memory: Memory, longest_wait: float) -> None:
        self._memory = memory
        self._longest_wait = min(longest_wait, _STORED_SECONDS)
        # Of those that were fired, the ones that a shutdown stores before it reaches the trigger.
        self._answered: set[str] = set()
        self._stored_at: dict[str, float] = {}
        self._in_background: asyncio.Task[None] | None = None

    def add(self, job_id: str, event: object) -> None:
        """Have an event that the triggerer has taken over remembered, while the polls go on."""
        self._memory.fired[job_id] = event
        if self._in_background is None or self._in_background.done():
            self._in_background = asyncio.ensure_future(self._try_to_complete())

    async def complete(self) -> None:
        """Return when all that was fired is stored and remembered."""
        if self._in_background:
            await self._in_background
        await self._complete()

    async def close(self) -> None:
        """
        Finish what is to be remembered, as the triggerer shuts down or the trigger is removed.

        Where that is cancelled, it can be done again.
        """
        if self._in_background:
            self._in_background.cancel()
        if runner := find_runner():
            await (self._shut_down() if runner.stop else self._reopen_latest())

    async def _try_to_complete(self) -> None:
        # What fails here is done again by complete(), and raises there.
        with suppress(Exception):
            await self._complete()

    async def _complete(self) -> None:
        while self._memory.fired:
            stored = await self._stored()
            for job_id in stored:
                del self._memory.fired[job_id]
            self._answered.difference_update(stored)
            now = time.monotonic()
            self._stored_at = {
                job_id: at for job_id, at in self._stored_at.items() if at > now - _STORED_SECONDS
            }
            self._stored_at |= dict.fromkeys(stored, now)
            if stored:
                await self._memory.write()
        await self._memory.write()

    async def _stored(self) -> list[str]:
        """Return which events are certainly stored."""
        fired = dict(self._memory.fired)
        if not (runner := find_runner()):
            await asyncio.sleep(self._longest_wait)
            return list(fired)
        await asyncio.sleep(_CHECK_SECONDS)
        unsent = {id(event) for _, event, *_ in runner.events}
        sent = [job_id for job_id, event in fired.items() if id(event) not in unsent]
        if not sent:
            return []
        if unanswered := list(runner.comms_decoder._pending.values()):
            await asyncio.wait(unanswered)
        if runner.stop:
            return []
        self._answered.update(sent)
        await self._memory.read()
        return [] if runner.stop else sent

    async def _shut_down(self) -> None:
        """Have remembered what the triggerer stores as it shuts down; no answer arrives any more."""
        memory, last = self._memory, None
        if memory.can_write_without_answer:
            for job_id in self._answered & memory.fired.keys():
                del memory.fired[job_id]
            last = asyncio.ensure_future(memory.write())
            # It is on its way then, if there is anything to write.
            await asyncio.sleep(0)
        if memory.is_writing:
            await asyncio.sleep(_LAST_WRITE_SECONDS)
        if last:
            last.cancel()

    async def _reopen_latest(self) -> None:
        """Let those fire again, should the trigger come back, whose events Airflow may have dropped."""
        latest = time.monotonic() - _STORED_SECONDS
        if recent := {job_id for job_id, at in self._stored_at.items() if at > latest}:
            self._memory.reopen(recent)
            await self._memory.write()
