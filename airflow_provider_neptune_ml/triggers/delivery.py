"""
Whether Airflow has stored the events that an event trigger fired, which nothing tells the trigger.

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
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, cast

_CHECK_SECONDS = 0.02


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


async def stored(
    runner: Runner,
    fired: Mapping[str, object],
    ask: Callable[[], Awaitable[object]],
    on_answer: Callable[[list[str]], object],
) -> list[str]:
    """
    Return which events are certainly stored.

    :param runner: the runner of this process.
    :param fired: events by name, each taken over by the runner.
    :param ask: asks the supervisor something, and returns when it has answered.
    :param on_answer: told which events the supervisor has answered: a shutdown from then on stores them
        first.
    """
    unsent = {id(event) for _, event, *_ in runner.events}
    sent = [name for name, event in fired.items() if id(event) not in unsent]
    if not sent:
        return []
    asked = _unanswered(runner)
    while asked & _unanswered(runner):
        await asyncio.sleep(_CHECK_SECONDS)
    if runner.stop:
        return []
    on_answer(sent)
    await ask()
    return [] if runner.stop else sent


def _unanswered(runner: Runner) -> set[int]:
    """Return the numbers of the messages to the supervisor that it has not answered yet."""
    return set(runner.comms_decoder._pending)
