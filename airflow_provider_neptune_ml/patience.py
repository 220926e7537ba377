"""Trouble that may pass: how long it is borne, with what pauses, and what is said about it."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from airflow_provider_neptune_ml.exceptions import NeptuneMLError, NeptuneMLUnreachableError

T = TypeVar("T")

# A failover of the cluster takes a minute or two; ten minutes of nothing but trouble are not a hiccup any
# more.
DEFAULT_UNREACHABLE_TIMEOUT_SECONDS = 600.0
LONGEST_PAUSE_SECONDS = 60.0
# However often a service is polled, one in trouble is left alone for a moment.
_SHORTEST_PAUSE_SECONDS = 1.0
# Tasks that started together should not poll together.
_JITTER = 0.25


class Log(Protocol):
    """What is needed of a logger: Airflow 2's is the standard library's, Airflow 3's is structlog's."""

    def info(self, message: str, /, *arguments: Any) -> Any:
        """Log what a reader wants to know."""

    def warning(self, message: str, /, *arguments: Any) -> Any:
        """Log what a reader should look at."""


@dataclass(slots=True)
class Patience:
    """
    One streak of trouble: everything that came back since the last good reply.

    :param subject: what is in trouble, in words.
    :param limit: seconds after which the trouble is raised.
    :param log: where the streak is told, once.
    :param untold: seconds for which nothing is told yet; a shorter streak is not told at all (default: 0).
    """

    subject: str
    limit: float
    log: Log = field(repr=False)
    untold: float = 0.0
    since: float | None = None
    count: int = 0
    _is_told: bool = field(default=False, init=False)

    def bear(self, error: NeptuneMLError, now: float) -> None:
        """
        Take trouble, with one word per streak.

        :raises NeptuneMLUnreachableError: nothing else came back for too long.
        """
        if self.since is None:
            self.since = now
        if not self._is_told and now - self.since >= self.untold:
            self._is_told = True
            self.log.warning("%s: %s Waiting for it to pass.", self.subject, error)
        self.count += 1
        if now - self.since >= self.limit:
            raise NeptuneMLUnreachableError(
                f"{self.subject}: no usable answer for {format_duration(now - self.since)}"
                f" (unreachable_timeout={self.limit:g}), last error: {error}"
            ) from error

    def end(self, now: float) -> None:
        """Tell that the streak is over."""
        if self.since is not None and self._is_told:
            self.log.info("%s answers again after %s", self.subject, format_duration(now - self.since))

    def pause(self, longest: float = LONGEST_PAUSE_SECONDS) -> float:
        """Return the seconds until the next try: doubled each time, from one to the longest, with jitter."""
        doubled = _SHORTEST_PAUSE_SECONDS * 2.0 ** min(self.count - 1, 16)
        return jittered(max(_SHORTEST_PAUSE_SECONDS, min(doubled, longest)))


def patiently(
    call: Callable[[], T], patience: Patience, *, sleep: Callable[[float], object], now: Callable[[], float]
) -> T:
    """
    Call until there is an answer, good or bad.

    :raises NeptuneMLUnreachableError: nothing but trouble came back for too long.
    """
    while True:
        try:
            answer = call()
        except NeptuneMLError as error:
            if not error.transient:
                raise
            patience.bear(error, now())
            sleep(patience.pause())
        else:
            patience.end(now())
            return answer


async def patiently_async(
    call: Callable[[], Awaitable[T]],
    patience: Patience,
    *,
    sleep: Callable[[float], Awaitable[object]],
    now: Callable[[], float],
) -> T:
    """Call until there is an answer, as :func:`patiently` does, without holding a thread."""
    while True:
        try:
            answer = await call()
        except NeptuneMLError as error:
            if not error.transient:
                raise
            patience.bear(error, now())
            await sleep(patience.pause())
        else:
            patience.end(now())
            return answer


def jittered(seconds: float) -> float:
    """Return about as many seconds."""
    return seconds * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311


def format_duration(seconds: float) -> str:
    """Put seconds into words with two units at most, such as ``1 h 5 min``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    units = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    words = [f"{count} {unit}" for count, unit in units if count]
    return " ".join(words[:2]) or "0 s"
