"""An event loop that sees the polls of the waits it runs, whoever wrote them."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from contextvars import Context

T = TypeVar("T")

_TIMEOUT_SECONDS = 300.0
# Our side's pauses differ by 25 % from what was asked for; no other timer here is near a poll interval.
_LEAST, _MOST = 0.7, 1.3


class PollLoop(asyncio.SelectorEventLoop):
    """
    Take every timer of about a poll interval for the end of a poll.

    That is the one thing that both sides have in common and that needs no look into either.

    :param interval: the poll interval of all waits, in seconds.
    :param hold: hold each wait after its poll, until :meth:`release` (default: False).
    :param keep_time: note for each poll how late its end was (default: False).
    """

    def __init__(self, interval: float, *, hold: bool = False, keep_time: bool = False) -> None:
        super().__init__()
        self.interval = interval
        self.polls = 0
        self.lateness: list[float] = []
        self._hold = hold
        self._keep_time = keep_time
        self._held: list[tuple[asyncio.TimerHandle, Callable[..., object], tuple[Any, ...]]] = []
        self._due: dict[int, float] = {}
        self._wanted: tuple[int, asyncio.Future[None]] | None = None

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Set a timer."""
        handle = super().call_later(delay, callback, *args, context=context)
        if _LEAST * self.interval <= delay <= _MOST * self.interval:
            self.polls += 1
            if self._hold:
                self._held.append((handle, callback, args))
            if self._keep_time:
                self._note_time(delay)
            if self._wanted and self.polls >= self._wanted[0] and not self._wanted[1].done():
                self._wanted[1].set_result(None)
        return handle

    def run(self, probe: Coroutine[Any, Any, T]) -> T:
        """Run a probe to its end, and close the loop."""
        asyncio.set_event_loop(self)
        try:
            return self.run_until_complete(probe)
        finally:
            self.run_until_complete(self.shutdown_asyncgens())
            self.close()

    def release(self, within: float) -> None:
        """Let all waits that are held poll again, each at some moment within that many seconds."""
        held, self._held = self._held, []
        for handle, callback, args in held:
            handle.cancel()
            self.call_later(random.uniform(0, within), callback, *args)  # noqa: S311

    async def until_polls(self, count: int) -> None:
        """Return when there were that many polls in all."""
        if self.polls < count:
            self._wanted = (count, self.create_future())
            # A poll that failed is tried again after another time and so isn't seen: don't wait for ever.
            await asyncio.wait_for(self._wanted[1], _TIMEOUT_SECONDS)

    def _note_time(self, delay: float) -> None:
        wait, now = id(asyncio.current_task(self)), self.time()
        if wait in self._due:
            self.lateness.append(now - self._due[wait])
        self._due[wait] = now + delay


def p99(values: Sequence[float]) -> float:
    """Return the value that 99 of 100 do not exceed."""
    return sorted(values)[int(0.99 * (len(values) - 1))]
