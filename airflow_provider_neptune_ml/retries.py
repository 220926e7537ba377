"""Retries of transient errors: for how long, with what back-off, and what is logged."""

from __future__ import annotations

import math
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from airflow_provider_neptune_ml.exceptions import NeptuneMLError

T = TypeVar("T")

# A failover of the cluster takes a minute or two; ten minutes of transient errors alone are no failover.
DEFAULT_UNREACHABLE_TIMEOUT_SECONDS = 600.0
# A little longer than Neptune's own time limit of a query is by default (neptune_query_timeout):
# https://docs.aws.amazon.com/neptune/latest/userguide/parameters.html
DEFAULT_QUERY_TIMEOUT_SECONDS = 150.0
LONGEST_PAUSE_SECONDS = 60.0
# However short the poll interval is.
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
class RetryBudget:
    """
    A series of transient errors: everything that came back since the last good reply.

    :param subject: what is retried, for messages.
    :param limit: seconds after which the last error is raised.
    :param log: where the series is logged, once.
    :param quiet_for: seconds for which nothing is logged yet; a shorter series is not logged at all (default:
        0).
    """

    subject: str
    limit: float
    log: Log = field(repr=False)
    quiet_for: float = 0.0
    since: float | None = None
    count: int = 0
    _is_logged: bool = field(default=False, init=False)

    def record(self, error: NeptuneMLError, now: float) -> None:
        """
        Count a transient error, and log the first.

        :raises NeptuneMLUnreachableError: the limit has passed.
        """
        if self.since is None:
            self.since = now
        if not self._is_logged and now - self.since >= self.quiet_for:
            self._is_logged = True
            note = "Retrying until there is a reply."
            if math.isfinite(self.limit):
                note = f"Retrying for up to {format_duration(self.limit)} (unreachable_timeout)."
            self.log.warning("%s", error.with_note(note))
        self.count += 1
        if now - self.since >= self.limit:
            duration = f"{format_duration(now - self.since)} (unreachable_timeout={self.limit:g})"
            raise error.lasting(self.subject, duration) from None

    def end(self, now: float) -> None:
        """Log that the series has ended."""
        if self.since is not None and self._is_logged:
            self.log.info("%s: answered again after %s", self.subject, format_duration(now - self.since))

    def pause(self, longest: float = LONGEST_PAUSE_SECONDS) -> float:
        """Return the seconds until the next attempt: exponential back-off with jitter, from one second on."""
        doubled = _SHORTEST_PAUSE_SECONDS * 2.0 ** min(self.count - 1, 16)
        return jittered(max(_SHORTEST_PAUSE_SECONDS, min(doubled, longest)))


def retry_transient(
    call: Callable[[], T], budget: RetryBudget, *, sleep: Callable[[float], object], now: Callable[[], float]
) -> T:
    """
    Call until there is a reply, or an error that is not transient.

    :raises NeptuneMLUnreachableError: there were only transient errors until the budget was spent.
    """
    while True:
        try:
            reply = call()
        except NeptuneMLError as error:
            if not error.transient:
                raise
            budget.record(error, now())
            sleep(budget.pause())
        else:
            budget.end(now())
            return reply


async def retry_transient_async(
    call: Callable[[], Awaitable[T]],
    budget: RetryBudget,
    *,
    sleep: Callable[[float], Awaitable[object]],
    now: Callable[[], float],
) -> T:
    """Call until there is a reply, as :func:`retry_transient` does, without holding a thread."""
    while True:
        try:
            reply = await call()
        except NeptuneMLError as error:
            if not error.transient:
                raise
            budget.record(error, now())
            await sleep(budget.pause())
        else:
            budget.end(now())
            return reply


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
