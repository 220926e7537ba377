"""The trigger: one wait, in the triggerer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_neptune_ml.exceptions import NeptuneMLError, NeptuneMLTimeoutError
from airflow_provider_neptune_ml.kinds import find_kind
from airflow_provider_neptune_ml.polling import (
    DEFAULT_POLL_INTERVAL_SECONDS,
    DEFAULT_UNREACHABLE_TIMEOUT_SECONDS,
    Goal,
    Watch,
)

if TYPE_CHECKING:
    from airflow_provider_neptune_ml.hooks.neptune_ml import NeptuneMLHook

T = TypeVar("T")

# A poll is a few milliseconds of work and as long a wait; few threads serve many triggers, and a cluster that
# answers slowly must not fill the triggerer with threads.
_POOL = ThreadPoolExecutor(max_workers=8, thread_name_prefix="neptune-ml")


class NeptuneMLJobTrigger(BaseTrigger):
    """
    Wait for a job or endpoint.

    Both ends of the wait are points in time, so a restarted triggerer takes it up where it was. Only a kill
    by a user (Airflow 3.3 or newer) and a passed deadline stop the job: a restart, a redistribution or a
    deploy never does.

    :param kind: The name of the kind of resource.
    :param resource_id: Its id.
    :param until_ended: Whether to wait for its end, whatever it is, after it was asked to stop (default:
        False).
    :param target_statuses: Terminal statuses that count as success (default: the kind's one good end).
    :param started_at: When the wait began, in seconds since the epoch (default: now).
    :param deadline: When it ends at the latest, in seconds since the epoch (default: never).
    :param poll_interval: Time in seconds between two polls (default: 60).
    :param unreachable_timeout: Time in seconds of nothing but trouble after which the wait fails (default:
        600).
    :param not_found_grace: Time in seconds from the start for which "not found" is forgiven (default: 0).
    :param cancel_on_kill: Whether the job is asked to stop when a user ends the task (default: False).
    :param cancel_on_timeout: Whether the job is asked to stop at the deadline (default: False).
    :param hook_parameters: The arguments of the hook.
    """

    def __init__(
        self,
        *,
        kind: str,
        resource_id: str,
        until_ended: bool = False,
        target_statuses: list[str] | None = None,
        started_at: float | None = None,
        deadline: float | None = None,
        poll_interval: float = DEFAULT_POLL_INTERVAL_SECONDS,
        unreachable_timeout: float = DEFAULT_UNREACHABLE_TIMEOUT_SECONDS,
        not_found_grace: float = 0.0,
        cancel_on_kill: bool = False,
        cancel_on_timeout: bool = False,
        hook_parameters: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kind = kind
        self.resource_id = resource_id
        self.until_ended = until_ended
        self.target_statuses = target_statuses
        self.started_at = time.time() if started_at is None else started_at
        self.deadline = deadline
        self.poll_interval = poll_interval
        self.unreachable_timeout = unreachable_timeout
        self.not_found_grace = not_found_grace
        self.cancel_on_kill = cancel_on_kill
        self.cancel_on_timeout = cancel_on_timeout
        self.hook_parameters = hook_parameters or {}

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the path of the class and its arguments, all plain JSON."""
        fields = (
            "kind",
            "resource_id",
            "until_ended",
            "target_statuses",
            "started_at",
            "deadline",
            "poll_interval",
            "unreachable_timeout",
            "not_found_grace",
            "cancel_on_kill",
            "cancel_on_timeout",
            "hook_parameters",
        )
        path = f"{type(self).__module__}.{type(self).__qualname__}"
        return path, {field: getattr(self, field) for field in fields}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll until the wait is over, and say how it ended."""
        kind = find_kind(self.kind)
        watch = Watch(
            kind,
            self.resource_id,
            Goal.ended(kind) if self.until_ended else Goal.completed(kind, self.target_statuses),
            started_at=self.started_at,
            deadline=self.deadline,
            poll_interval=self.poll_interval,
            unreachable_timeout=self.unreachable_timeout,
            not_found_grace=self.not_found_grace,
            log=self.log,
        )
        try:
            description = await watch.wait_async(
                lambda: self._in_thread(lambda: self.hook.describe(kind, self.resource_id)),
                sleep=asyncio.sleep,
                now=time.time,
            )
        except NeptuneMLTimeoutError as error:
            stopped = f" {await self._stop()}" if self.cancel_on_timeout else ""
            yield self._event("timeout", message=f"{error}{stopped}")
        except NeptuneMLError as error:
            yield self._event("error", message=str(error))
        else:
            yield self._event("success", description=dict(description))

    async def on_kill(self) -> None:
        """Ask the job to stop: called by Airflow 3.3 and newer when a user ends the deferred task."""
        if self.cancel_on_kill:
            self.log.warning("Killed: %s", await self._stop())

    @cached_property
    def hook(self) -> NeptuneMLHook:
        """The hook; built in a thread, as the connection look-up and boto3 block."""
        from airflow_provider_neptune_ml.hooks.neptune_ml import NeptuneMLHook

        return NeptuneMLHook(**self.hook_parameters)

    async def _stop(self) -> str:
        kind = find_kind(self.kind)
        outcome = await self._in_thread(lambda: self.hook.stop_now(kind, self.resource_id))
        return f"{kind.title.capitalize()} {self.resource_id!r}: {outcome}"

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(_POOL, call)

    def _event(self, status: str, **payload: Any) -> TriggerEvent:
        return TriggerEvent({"status": status, "kind": self.kind, "resource_id": self.resource_id, **payload})
