"""What a kill cancels: one object owns it, as Airflow's signal handler may run between any two lines."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_neptune_ml import cancellation
from airflow_provider_neptune_ml.exceptions import NeptuneMLKilledError, full_stop

if TYPE_CHECKING:
    from airflow_provider_neptune_ml.hooks.neptune_ml import NeptuneMLHook
    from airflow_provider_neptune_ml.kinds import ResourceKind
    from airflow_provider_neptune_ml.retries import Log

# How soon a sleeping task notices that it was killed.
_CHECK_SECONDS = 0.5


class Target(NamedTuple):
    """
    The resource that a kill cancels; replaced as a whole.

    :param resource_id: its id; None while there is none that is the task's to cancel.
    :param may_appear: whether the request that creates it may still be under way.
    :param others: ids of which one may be running in its place. A kill has no time for them.
    """

    resource_id: str | None = None
    may_appear: bool = False
    others: tuple[str, ...] = ()


class Kill:
    """
    A kill of one task: what it cancels, whether it has come, and what became of it.

    :param kind: the kind of resource.
    :param hook: returns the task's hook.
    :param log: the task's.
    """

    def __init__(self, kind: ResourceKind, hook: Callable[[], NeptuneMLHook], log: Log) -> None:
        self._kind = kind
        self._hook = hook
        self._log = log
        self.target = Target()
        # The id for which a cancellation was accepted. Not a part of the target: a signal between reading and
        # replacing that would be lost.
        self._acknowledged_id: str | None = None
        # What became of the resource, in words. None: the task was not killed.
        self._outcome: str | None = None

    def aim(self, resource_id: str | None, *, may_appear: bool = False, others: tuple[str, ...] = ()) -> None:
        """Have a kill cancel a resource; None or empty: none."""
        self.target = Target(resource_id or None, may_appear, others)

    def appeared(self) -> None:
        """Note that the service has shown the target: a kill need not wait for it any more."""
        if self.target.may_appear:
            self.target = Target(self.target.resource_id)

    def acknowledge(self, resource_id: str) -> None:
        """Note that the cancellation of a resource was accepted."""
        self._acknowledged_id = resource_id

    def receive(self, outcome: str = "") -> None:
        """Note that the task was killed, and what became of its resource."""
        self._outcome = outcome or self._outcome or ""

    @property
    def is_acknowledged(self) -> bool:
        """Whether the cancellation of the target was accepted."""
        return self._acknowledged_id is not None and self._acknowledged_id == self.target.resource_id

    @property
    def is_received(self) -> bool:
        """Whether the task was killed."""
        return self._outcome is not None

    @property
    def is_pending(self) -> bool:
        """Whether a kill came before there was what it has to cancel."""
        return self.is_received and self.target.resource_id != self._acknowledged_id

    def cancel(self, *, clean: bool = False, seconds: float | None = None, spent: float = 0.0) -> None:
        """
        Cancel the target within the time that a kill leaves, unless that was accepted before.

        :param clean: whether its artifacts in S3 are deleted too.
        :param seconds: the budget (default: the hook's).
        :param spent: what of it is spent already, in seconds.
        """
        resource_id, may_appear, others = self.target
        if resource_id is None or resource_id == self._acknowledged_id:
            return
        outcome = cancellation.cancel_now(
            self._hook(),
            self._kind,
            resource_id,
            clean=clean,
            may_appear=may_appear,
            seconds=seconds,
            spent=spent,
        )
        if outcome.accepted:
            self.acknowledge(resource_id)
        words = full_stop(f"{self._kind.name_of(resource_id)}: {outcome.words}")
        if others and not outcome.accepted:
            words += f" Instead of it, one of these may be running: {', '.join(map(repr, others))}."
        self.receive(words)
        # Not here: the signal may have come in the middle of a line of the log, with its lock held.
        line = threading.Thread(target=self._log.warning, args=("Killed. %s", self._outcome), daemon=True)
        line.start()
        line.join(_CHECK_SECONDS)

    def sleep(self, seconds: float) -> None:
        """
        Sleep, and wake up for a kill: Airflow 3's signal handler returns and leaves the rest to the task.

        :raises NeptuneMLKilledError: the task was killed.
        """
        until = time.monotonic() + seconds
        while not self.is_received and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _CHECK_SECONDS))
        self.raise_if_received()

    def raise_if_received(self) -> None:
        """
        Keep a task that was killed from going on.

        :raises NeptuneMLKilledError: the task was killed.
        """
        if self.is_received:
            raise NeptuneMLKilledError(f"The task was killed. {self._outcome}".rstrip())
