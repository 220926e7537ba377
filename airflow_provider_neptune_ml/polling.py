"""
When to stop waiting: one decision for every mode, and the loop around it.

Time counts, never attempts: deadlines are points in time (seconds since the epoch), so a wait that is taken
up again by another process ends when it would have ended.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from airflow_provider_neptune_ml.exceptions import (
    NeptuneMLError,
    NeptuneMLFailedError,
    NeptuneMLNotFoundError,
    NeptuneMLTimeoutError,
    NeptuneMLUnreachableError,
)
from airflow_provider_neptune_ml.kinds import Phase, ResourceKind
from airflow_provider_neptune_ml.progress import Listener, Progress
from airflow_provider_neptune_ml.retries import (
    DEFAULT_UNREACHABLE_TIMEOUT_SECONDS,
    Log,
    RetryBudget,
    format_duration,
    jittered,
)
from airflow_provider_neptune_ml.text import https_link, one_line
from airflow_provider_neptune_ml.validation import cut

DEFAULT_POLL_INTERVAL_SECONDS = 60.0
# As long as Airflow lets a sensor wait; a link-prediction training alone takes hours.
DEFAULT_TIMEOUT_SECONDS = 7 * 24 * 3600.0
# Whether a Get can miss a job that was started just now is not documented; an operator retries it that long.
NOT_FOUND_GRACE_SECONDS = 60.0
HEARTBEAT_SECONDS = 600.0
# A wait that a triggerer finds and that is older than this, another triggerer has left.
TAKEN_OVER_AFTER_SECONDS = 60.0
# A triggerer takes hundreds of waits over at once: their first transient errors are logged within this time.
_FIRST_ERROR_SPREAD_SECONDS = 60.0
# Airflow's own time-out of a deferred task logs nothing and cancels nothing: ours comes first by this much.
AIRFLOW_TIMEOUT_MARGIN_SECONDS = 5.0
# A job may have ended just in time, and the last look at it may stand in a queue; shorter than the margin.
_LAST_LOOK_SECONDS = 4.0

Description = Mapping[str, Any]


@dataclass(frozen=True)
class Goal:
    """
    What a wait is for.

    :param good: status words that end the wait with success.
    :param bad: status words that end it with a failure.
    :param gone: whether "not found" ends it with success.
    """

    good: frozenset[str]
    bad: frozenset[str]
    gone: bool = False

    @classmethod
    def completed(cls, kind: ResourceKind, target_statuses: Iterable[str] | None = None) -> Goal:
        """
        Wait until the resource is ready.

        :param target_statuses: terminal words that count as success; default: the kind's status of success.
        :raises ValueError: when a target is not a terminal status of the kind.
        """
        targets = None if target_statuses is None else tuple(validated_targets(kind, target_statuses))
        return _completed(kind, targets)

    @classmethod
    def ended(cls, kind: ResourceKind) -> Goal:
        """Wait until a resource whose cancellation was requested is in a terminal status, or deleted."""
        if not kind.is_job:
            return cls(good=frozenset(), bad=frozenset(), gone=True)
        return cls(
            good=frozenset(word.casefold() for word in kind.statuses.terminal), bad=frozenset(), gone=True
        )


@cache
def _completed(kind: ResourceKind, targets: tuple[str, ...] | None) -> Goal:
    """Return the goal that all waits of a kind with the same targets share."""
    terminal = {word.casefold(): phase for word, phase in kind.statuses.terminal.items()}
    succeeded = (word for word, phase in terminal.items() if phase is Phase.SUCCEEDED)
    good = frozenset(succeeded if targets is None else targets)
    return Goal(good=good, bad=frozenset(terminal) - good)


def validated_targets(kind: ResourceKind, target_statuses: Iterable[str]) -> list[str]:
    """Return the targets in lower case; a ValueError names the first that is no terminal status."""
    terminal = {word.casefold() for word in kind.statuses.terminal}
    if isinstance(target_statuses, str) or not (targets := list(target_statuses)):
        raise ValueError(
            f"target_statuses={cut(target_statuses)} must be a list of one or more terminal statuses"
        )
    for target in targets:
        if not isinstance(target, str) or target.casefold() not in terminal:
            raise ValueError(
                f"target_statuses has {cut(target)}, which is not a terminal status of a {kind.title}:"
                f" choose from {', '.join(kind.statuses.terminal)}"
            )
    return [target.casefold() for target in targets]


@dataclass(frozen=True)
class Wait:
    """
    One wait for one resource, described: for a worker as for the triggerer.

    :param kind: the kind of resource.
    :param resource_id: its id.
    :param started_at: when the wait began, in seconds since the epoch.
    :param deadline: when it ends at the latest, in seconds since the epoch; None: never.
    :param limit: the argument that set the deadline, with its value: ``timeout=3600`` (default: not known).
    :param until_ended: whether any terminal status will do, after the cancellation was requested (default:
        False).
    :param target_statuses: terminal statuses that count as success (default: the kind's status of success).
    :param poll_interval: seconds between two polls (default: 60).
    :param unreachable_timeout: seconds of nothing but transient errors after which the wait fails (default:
        600).
    :param not_found_grace: seconds from the start for which "not found" is retried (default: 0).
    """

    kind: ResourceKind
    resource_id: str
    started_at: float
    deadline: float | None = None
    limit: str = ""
    until_ended: bool = False
    target_statuses: Sequence[str] | None = None
    poll_interval: float = DEFAULT_POLL_INTERVAL_SECONDS
    unreachable_timeout: float = DEFAULT_UNREACHABLE_TIMEOUT_SECONDS
    not_found_grace: float = 0.0

    @property
    def goal(self) -> Goal:
        """What ends the wait."""
        if self.until_ended:
            return Goal.ended(self.kind)
        return Goal.completed(self.kind, self.target_statuses)

    def serialize(self) -> dict[str, Any]:
        """Return the arguments of a trigger, plain JSON unless a template is not."""
        return {**vars(self), "kind": self.kind.name}


class Watch:
    """
    A wait in progress: it decides on every reply, and keeps what it has logged.

    :param wait: the wait.
    :param log: where the progress goes.
    :param on_progress: called with each reply, before it ends the wait; quick, and never raising (default:
        none).
    :param taken_over: whether another process has waited before and logged the status: until that changes,
        this one logs it at a random moment within a heartbeat, not at its first poll (default: False).
    """

    __slots__ = (
        *("spec", "log", "on_progress", "taken_over"),
        *("_goal", "_errors", "_progress", "_logged", "_logged_at", "_unknown"),
    )

    def __init__(
        self,
        wait: Wait,
        *,
        log: Log,
        on_progress: Listener | None = None,
        taken_over: bool = False,
    ) -> None:
        self.spec = wait
        self.log = log
        self.on_progress = on_progress
        self.taken_over = taken_over
        self._goal = wait.goal
        self._errors: RetryBudget | None = None
        self._progress = ""
        self._logged = ""
        self._logged_at = 0.0
        self._unknown: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """How a message about the resource begins."""
        return self.spec.kind.name_of(self.spec.resource_id)

    @property
    def is_retrying(self) -> bool:
        """Whether the last reply was a transient error."""
        return self._errors is not None

    def wait(
        self,
        fetch: Callable[[float | None], Description],
        *,
        sleep: Callable[[float], object],
        now: Callable[[], float],
    ) -> Description:
        """
        Poll until the goal is reached.

        :param fetch: describes the resource within so many seconds (None: no limit), or raises a
            :class:`NeptuneMLError`.
        :param sleep: waits for a number of seconds; what it raises ends the wait.
        :param now: tells the time in seconds since the epoch.
        :return: the description in which the goal was reached; empty where the resource is gone.
        :raises NeptuneMLFailedError: the resource ended otherwise.
        :raises NeptuneMLTimeoutError: the deadline passed.
        :raises NeptuneMLError: the service refused, or was out of reach for too long.
        """
        while (description := self.poll(fetch, now)) is None:
            sleep(self.pause(now()))
        return description

    async def wait_async(
        self,
        fetch: Callable[[], Awaitable[Description]],
        *,
        sleep: Callable[[float], Awaitable[object]],
        now: Callable[[], float],
    ) -> Description:
        """Poll until the goal is reached, as :meth:`wait` does, without holding a thread."""
        while (description := await self.poll_async(fetch, now)) is None:
            await sleep(self.pause(now()))
        return description

    async def poll_async(
        self, fetch: Callable[[], Awaitable[Description]], now: Callable[[], float]
    ) -> Description | None:
        """
        Poll once and decide, as :meth:`poll` does; a request that outlasts the deadline is not waited for.

        On its own, so that no wait holds its last reply.
        """
        outcome: Description | NeptuneMLError
        left = self._left(now())
        # Not by wait_for: before Python 3.12, it can swallow a cancellation.
        answer = asyncio.ensure_future(fetch())
        try:
            await asyncio.wait((answer,), timeout=left)
            if self.spec.deadline is not None and not answer.done():
                outcome = NeptuneMLUnreachableError("No answer before the deadline.", transient=True)
                return self.decide(outcome, max(now(), self.spec.deadline))
            outcome = answer.result()
        except NeptuneMLError as error:
            outcome = error
        finally:
            answer.cancel()
        return self.decide(outcome, now())

    def poll(
        self, fetch: Callable[[float | None], Description], now: Callable[[], float]
    ) -> Description | None:
        """Poll once and decide: a description when the goal is reached, None to go on, or an error."""
        outcome: Description | NeptuneMLError
        try:
            outcome = fetch(self._left(now()))
        except NeptuneMLError as error:
            outcome = error
        return self.decide(outcome, now())

    def _left(self, now: float) -> float | None:
        """Return the seconds within which a request has to be answered."""
        return None if self.spec.deadline is None else max(self.spec.deadline - now, _LAST_LOOK_SECONDS)

    def pause(self, now: float) -> float:
        """Return the seconds until the next poll: with jitter, back-off, and not past the deadline."""
        interval, deadline = self.spec.poll_interval, self.spec.deadline
        seconds = self._errors.pause(interval) if self._errors else jittered(interval)
        return seconds if deadline is None else max(0.0, min(seconds, deadline - now))

    def decide(self, outcome: Description | NeptuneMLError, now: float) -> Description | None:
        """
        Decide on one reply by itself, the time, and what came before.

        :param outcome: a description, or the error that came in its place.
        :param now: the time in seconds since the epoch.
        """
        if isinstance(outcome, NeptuneMLError):
            if isinstance(outcome, NeptuneMLNotFoundError) and self._goal.gone:
                self.log.info("%s no longer exists", self.name)
                return {}
            self._retry(outcome, now)
        elif (description := self._judge(outcome, now)) is not None:
            return description
        if self.spec.deadline is not None and now >= self.spec.deadline:
            last = f" Last error: {outcome}" if isinstance(outcome, NeptuneMLError) else ""
            elapsed = format_duration(now - self.spec.started_at)
            limit = f" ({self.spec.limit})" if self.spec.limit else ""
            status = f"still {self._progress}" if self._progress else "no reply so far"
            raise NeptuneMLTimeoutError(f"{self.name} timed out after {elapsed}{limit}: {status}.{last}")
        return None

    def _judge(self, description: Description, now: float) -> Description | None:
        if self._errors:
            self._errors.end(now)
            self._errors = None
        status = one_line(description.get("status") or "")
        self._report(description, status, now)
        if self.on_progress:
            self.on_progress(Progress(self.spec.kind, description))
        if status.casefold() in self._goal.good:
            return description
        if status.casefold() in self._goal.bad:
            raise NeptuneMLFailedError(self.spec.kind, self.spec.resource_id, description)
        return None

    def _retry(self, error: NeptuneMLError, now: float) -> None:
        """Count a transient error; raise any other, and one that has lasted too long."""
        # No grace is none, even where the clock that told the start is ahead of this machine's.
        is_early = self.spec.not_found_grace > max(0.0, now - self.spec.started_at)
        if not (error.transient or (is_early and isinstance(error, NeptuneMLNotFoundError))):
            raise error
        if self._errors is None:
            quiet_for = random.uniform(0, _FIRST_ERROR_SPREAD_SECONDS) if self._is_quiet else 0.0  # noqa: S311
            self._errors = RetryBudget(self.name, self.spec.unreachable_timeout, self.log, quiet_for)
        self._errors.record(error, now)

    @property
    def _is_quiet(self) -> bool:
        """Whether this is a wait that was taken over, and the first reply is still to come."""
        return self.taken_over and not self._progress

    def _report(self, description: Description, status: str, now: float) -> None:
        """Log a change of the status or stage, and every ten minutes that there was none."""
        if status and not self.spec.kind.knows(status) and status not in self._unknown:
            self._unknown |= {status}
            self.log.warning("%s has the unknown status %r, which counts as non-terminal", self.name, status)
        progress = describe_progress(self.spec.kind, description)
        if self._is_quiet and self.spec.kind.phase_of(status) is Phase.RUNNING:
            self._logged_at = now - random.uniform(0, HEARTBEAT_SECONDS)  # noqa: S311
        elif progress != self._progress:
            self._logged_at = -math.inf
        self._progress = progress
        if now - self._logged_at < HEARTBEAT_SECONDS:
            return
        elapsed = format_duration(now - self.spec.started_at)
        if progress == self._logged:
            self.log.info("%s is still %s (%s)", self.name, progress, elapsed)
        else:
            self.log.info("%s is %s (%s)", self.name, progress, elapsed)
            if url := _log_url(self.spec.kind, description):
                self.log.info("CloudWatch log: %s", url)
        self._logged, self._logged_at = progress, now


def _log_url(kind: ResourceKind, description: Description) -> str:
    current = kind.current_stage(description)
    return https_link(current[1].get("cloudwatchLogUrl")) if current else ""


def describe_progress(kind: ResourceKind, description: Description) -> str:
    """Put a description's status and current stage into a few words."""
    status = one_line(description.get("status") or "without a status")
    current = kind.current_stage(description)
    if not current or len(kind.stages) == 1:
        return status
    stage, part = current
    return f"{status}, stage {stage.title!r} {one_line(part.get('status') or 'without a status')}"
