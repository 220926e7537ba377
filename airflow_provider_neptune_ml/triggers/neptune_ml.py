"""The trigger: one wait, in the triggerer."""

from __future__ import annotations

import asyncio
import inspect
import random
import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import (
    BaseTrigger,
    TaskFailedEvent,
    TaskSkippedEvent,
    TaskSuccessEvent,
    TriggerEvent,
)

from airflow_provider_neptune_ml import cancellation
from airflow_provider_neptune_ml.exceptions import (
    NeptuneMLError,
    NeptuneMLFailedError,
    NeptuneMLTimeoutError,
    error_state,
)
from airflow_provider_neptune_ml.kinds import ALL_KINDS, ResourceKind, find_kind
from airflow_provider_neptune_ml.logs import (
    DEFAULT_FAILURE_LOG_LINES,
    FROM_THE_FIRST,
    Position,
    Source,
    TaskLog,
    seconds_left,
    taken_over_at,
)
from airflow_provider_neptune_ml.polling import (
    AIRFLOW_TIMEOUT_MARGIN_SECONDS,
    DEFAULT_POLL_INTERVAL_SECONDS,
    TAKEN_OVER_AFTER_SECONDS,
    Description,
    Wait,
    Watch,
)
from airflow_provider_neptune_ml.progress import Listeners
from airflow_provider_neptune_ml.retries import (
    DEFAULT_UNREACHABLE_TIMEOUT_SECONDS,
    RetryBudget,
    retry_transient_async,
)
from airflow_provider_neptune_ml.text import one_line
from airflow_provider_neptune_ml.triggers.coroutines import promptly, undisturbed
from airflow_provider_neptune_ml.triggers.rendering import Unknown, known_in_triggerer
from airflow_provider_neptune_ml.triggers.threads import LOGS, in_thread, purpose_of, with_hook
from airflow_provider_neptune_ml.triggers.user_action import (
    AIRFLOW_CALLS_ON_KILL,
    CancelReason,
    cancel_reason_of,
    is_to_be_cancelled,
)
from airflow_provider_neptune_ml.triggers.xcoms import TriggerXComs
from airflow_provider_neptune_ml.validation import is_id
from airflow_provider_neptune_ml.xcoms import xcoms_of

if TYPE_CHECKING:
    from datetime import datetime

# The first poll comes within a tenth of the poll interval, and a few seconds.
_FIRST_POLL_SHARE = 0.1
_FIRST_POLL_SECONDS = 5.0
_LOOK_AGAIN_SECONDS = 2.0
# Before the second poll, however early its jitter has it.
_FIRST_LOG_SHARE = 0.5


class NeptuneMLJobTrigger(BaseTrigger):
    """
    Wait for a job or endpoint.

    Deadlines are points in time, so a restarted triggerer resumes a wait where it was. Only a user's kill and
    a passed deadline cancel the job: a restart, a redistribution or a deploy never does.

    The trigger fires one event, a dict with ``status``: ``success``, ``failed`` (the job ended otherwise),
    ``timeout``, ``error``, or ``unresolved`` (a templated id could not be rendered here).

    :param kind: The name of the kind of resource.
    :param resource_id: Its id.
    :param until_ended: Whether any terminal status will do, after the cancellation was requested (default:
        False).
    :param target_statuses: Terminal statuses that count as success (default: the kind's status of success).
    :param started_at: When the wait began, in seconds since the epoch (default: now).
    :param deadline: When it ends at the latest, in seconds since the epoch (default: shortly before Airflow's
        own time-out of the deferred task, if it has one).
    :param limit: The argument that set the deadline, with its value: ``timeout=3600`` (default: not known).
    :param airflow_timeout: Airflow's own time-out in seconds (default: none). Of a task that begins here, it
        tells a restarted triggerer when that was.
    :param poll_interval: Time in seconds between two polls (default: 60).
    :param unreachable_timeout: Time in seconds of transient errors alone after which the wait fails
        (default: 600).
    :param not_found_grace: Time in seconds from the start for which "not found" is retried (default: 0).
    :param cancel_on_kill: Whether the job is cancelled when a user ends the task (default: False).
    :param cancel_on_timeout: Whether the job is cancelled at the deadline; None: it is not this task's to
        cancel (default: None).
    :param end_from_trigger: Whether the task succeeds from here, without a worker (default: False).
    :param fail_from_trigger: Whether it fails from here too (default: False).
    :param soft_fail: Whether a task that would fail from here is skipped instead (default: False).
    :param print_log: Whether the CloudWatch events of the stage at work are printed (default: False).
    :param failure_log_lines: How many of the last lines of the failed stage's log are printed where the task
        fails from here; 0: none (default: 50).
    :param log_start: From when on events are printed, in seconds since the epoch (default: the first).
    :param hook_parameters: The arguments of the hook.
    """

    # Set by Airflow: when it times the deferred task out.
    timeout_after: datetime | None = None

    def __init__(
        self,
        *,
        kind: str,
        resource_id: str,
        until_ended: bool = False,
        target_statuses: list[str] | None = None,
        started_at: float | None = None,
        deadline: float | None = None,
        limit: str = "",
        airflow_timeout: float | None = None,
        poll_interval: float = DEFAULT_POLL_INTERVAL_SECONDS,
        unreachable_timeout: float = DEFAULT_UNREACHABLE_TIMEOUT_SECONDS,
        not_found_grace: float = 0.0,
        cancel_on_kill: bool = False,
        cancel_on_timeout: bool | None = None,
        end_from_trigger: bool = False,
        fail_from_trigger: bool = False,
        soft_fail: bool = False,
        print_log: bool = False,
        failure_log_lines: int = DEFAULT_FAILURE_LOG_LINES,
        log_start: float = 0.0,
        hook_parameters: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kind = kind
        self.resource_id = resource_id
        self.until_ended = until_ended
        self.target_statuses = target_statuses
        self.started_at = started_at
        self.deadline = deadline
        self.limit = limit
        self.airflow_timeout = airflow_timeout
        self.poll_interval = poll_interval
        self.unreachable_timeout = unreachable_timeout
        self.not_found_grace = not_found_grace
        self.cancel_on_kill = cancel_on_kill
        self.cancel_on_timeout = cancel_on_timeout
        self.end_from_trigger = end_from_trigger
        self.fail_from_trigger = fail_from_trigger
        self.soft_fail = soft_fail
        self.print_log = print_log
        self.failure_log_lines = failure_log_lines
        self.log_start = log_start
        self.hook_parameters = hook_parameters or {}
        self._unresolved = ""
        self._ends_at: float | None = None
        self._is_cancelled = False

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the path of the class and its arguments, all plain JSON."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {
            field: getattr(self, field) for field in _FIELDS
        }

    def render_template_fields(self, context: Any, jinja_env: Any = None) -> None:
        """
        Render the templates of a task that starts here.

        What can't be rendered here, or not safely, is left to a worker: see :func:`known_in_triggerer`.
        """
        try:
            known = known_in_triggerer(context)
            strict = (jinja_env or self.get_template_env()).overlay(undefined=Unknown)
            for field in _TEMPLATED:
                setattr(self, field, self.render_template(getattr(self, field), known, strict))
        except Exception as error:  # a template may raise anything
            self._unresolved = f"{type(error).__name__}: {one_line(error)}"

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll until the wait ends, and fire an event that says how."""
        # Airflow sets the task instance after it has built the trigger.
        self._xcoms = TriggerXComs(self.task_instance, self.log)
        try:
            watch, log = self._watch()
        except ValueError as error:
            yield self._event("unresolved", message=self._unresolved or str(error))
            return
        self._ends_at = watch.spec.deadline
        try:
            event = await self._end_of(watch, log)
        except asyncio.CancelledError:
            if not AIRFLOW_CALLS_ON_KILL:
                await self.on_kill()
            raise
        finally:
            log.close()
            self._xcoms.cancel()
        yield event

    async def _end_of(self, watch: Watch, log: TaskLog) -> TriggerEvent:
        try:
            # Waits that a triggerer takes over together should not all poll at once.
            first = min(_FIRST_POLL_SHARE * self.poll_interval, _FIRST_POLL_SECONDS)
            await asyncio.sleep(random.uniform(0, first))  # noqa: S311
            description = await watch.wait_async(self._describe, sleep=asyncio.sleep, now=time.time)
        except NeptuneMLTimeoutError as error:
            if self.cancel_on_timeout is not None:
                error.add_sentence(await promptly(self._cancel_late()))
            await self._xcoms.finish()
            return await self._failure("timeout", str(error), is_cancelled=self._is_cancelled)
        except NeptuneMLFailedError as error:
            await self._print_rest(log, error.description, failed=True)
            return await self._failure(
                "failed",
                str(error),
                description=dict(error.description),
                log_is_printed=log.is_complete,
            )
        except NeptuneMLError as error:
            return await self._failure("error", str(error), error=error_state(error))
        await self._print_rest(log, description)
        event = self._event("success", description=dict(description))
        if self.end_from_trigger:
            xcoms = {**xcoms_of(watch.spec.kind, description), "return_value": dict(description)}
            return _ending(TaskSuccessEvent(xcoms=await self._xcoms.push_last(xcoms)), event)
        return event

    async def on_kill(self) -> None:
        """
        Cancel the job if a user ended the deferred task.

        Airflow 3.3 and newer call it then, but also when another triggerer has taken the wait over, and at
        the task's own time-out, at which ``cancel_on_timeout`` decides.
        """
        if self.cancel_on_kill and (self.cancel_on_timeout or not self._is_late()):
            await undisturbed(self._cancel_for_user())

    async def _cancel_for_user(self) -> None:
        kind = self._row
        name, until = kind.name_of(self.resource_id), time.monotonic() + cancellation.BUDGETS.trigger
        while (reason := await self._cancel_reason()) is not CancelReason.CONTINUES:
            found = await self._describe_now()
            is_meant = is_to_be_cancelled(reason, kind, found, may_appear=self._may_appear())
            if is_meant is not None or time.monotonic() >= until - cancellation.BUDGETS.trigger_request:
                break
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
        else:
            self.log.info("%s: not cancelled, its task continues in another process", name)
            return
        if is_meant:
            outcome = await with_hook(
                self.hook_parameters,
                lambda hook: cancellation.cancel_now(
                    hook,
                    kind,
                    self.resource_id,
                    may_appear=self._may_appear(),
                    seconds=max(until - time.monotonic(), cancellation.BUDGETS.trigger_request),
                ),
                urgent=True,
            )
            self.log.warning("Killed. %s: %s", name, outcome.words)
            return
        state = found if isinstance(found, NeptuneMLError) else found.get("status")
        if is_meant is None:
            # A deletion can't be undone, nor can hours of training.
            self.log.warning(
                "%s not cancelled (%s): whether a user ended its task, or the task continues in another"
                " process, is not known. If no task uses it, cancel it with %s.",
                *(name, state, kind.stop_operation),
            )
        else:
            self.log.info("%s: nothing to cancel (%s)", name, state)

    @property
    def _row(self) -> ResourceKind:
        return find_kind(self.kind, ALL_KINDS)

    def _is_late(self) -> bool:
        return self._ends_at is not None and time.time() >= self._ends_at

    def _may_appear(self) -> bool:
        return self.started_at is not None and time.time() < self.started_at + self.not_found_grace

    async def _cancel_reason(self) -> CancelReason:
        id_key = self._row.id_argument
        try:
            return await in_thread(
                lambda: cancel_reason_of(self.task_instance, self.trigger_id, id_key, self.resource_id)
            )
        except Exception as error:  # whatever Airflow's database or API raises as it goes away
            self.log.warning("%r: the state of its task can't be read: %s", self.resource_id, one_line(error))
            # Before Airflow 3.3, this is a triggerer that shuts down far more often than a user.
            return CancelReason.UNKNOWN if AIRFLOW_CALLS_ON_KILL else CancelReason.CONTINUES

    async def _describe_now(self) -> Description | NeptuneMLError:
        """Describe the resource within the time that a kill has."""
        try:
            return await with_hook(
                self.hook_parameters,
                lambda hook: hook.describe(self.kind, self.resource_id, urgent=True),
                urgent=True,
            )
        except NeptuneMLError as error:
            return error

    def _watch(self) -> tuple[Watch, TaskLog]:
        if self._unresolved or not is_id(self.resource_id):
            raise ValueError(f"the id is rendered as {self.resource_id!r}")
        kind = self._row
        started_at, deadline = self.started_at, self.deadline
        if self.timeout_after is not None:
            airflows = self.timeout_after.timestamp()
            latest = airflows - AIRFLOW_TIMEOUT_MARGIN_SECONDS
            deadline = latest if deadline is None else min(deadline, latest)
            if started_at is None and self.airflow_timeout is not None:
                started_at = airflows - self.airflow_timeout
        wait = Wait(
            kind,
            self.resource_id,
            time.time() if started_at is None else started_at,
            deadline,
            self.limit,
            until_ended=self.until_ended,
            target_statuses=self.target_statuses,
            poll_interval=self.poll_interval,
            unreachable_timeout=self.unreachable_timeout,
            not_found_grace=self.not_found_grace,
        )
        taken_over = started_at is not None and time.time() > started_at + TAKEN_OVER_AFTER_SECONDS
        log = self._log_of(kind, taken_over_at(time.time()) if taken_over else FROM_THE_FIRST)
        listeners = Listeners(self.log, self._xcoms, log.follow)
        return Watch(wait, log=self.log, on_progress=listeners, taken_over=taken_over), log

    def _log_of(self, kind: ResourceKind, start: Position) -> TaskLog:
        return TaskLog(
            kind,
            self.resource_id,
            log=self.log,
            submit=lambda run: asyncio.ensure_future(self._read_log(run)),
            print_log=self.print_log,
            failure_log_lines=self.failure_log_lines if self.fail_from_trigger else 0,
            start=max(start, Position(int(self.log_start * 1000))),
            # Not at the first poll: a triggerer may have begun a thousand waits by then.
            delay=_FIRST_LOG_SHARE * self.poll_interval,
            has_room=lambda: LOGS.has_room(purpose_of(self.hook_parameters)),
        )

    async def _read_log(self, run: Callable[[Source], None]) -> None:
        try:
            await with_hook(self.hook_parameters, lambda hook: run(hook.logs), threads=LOGS)
        except Exception as error:  # whatever it is: no log fails a task
            self.log.warning("%r: CloudWatch log not read: %s", self.resource_id, one_line(error))

    async def _print_rest(self, log: TaskLog, description: Description, *, failed: bool = False) -> None:
        """Print what is left of the log, before Airflow times the task out."""
        seconds = seconds_left(self._ends_at, time.time())
        reading: Any = log.finish(description, failed=failed, seconds=seconds)
        if reading is not None:
            await asyncio.wait((reading,), timeout=seconds)
        log.close(reading)

    async def _describe(self) -> Description:
        return await with_hook(self.hook_parameters, lambda hook: hook.describe(self.kind, self.resource_id))

    async def _cancel_late(self) -> str:
        kind = self._row
        budget = RetryBudget(kind.name_of(self.resource_id), self.unreachable_timeout, self.log)

        async def request() -> bool:
            self._is_cancelled = await retry_transient_async(
                lambda: with_hook(self.hook_parameters, lambda hook: hook.stop(kind, self.resource_id)),
                budget,
                sleep=asyncio.sleep,
                now=time.time,
            )
            return self._is_cancelled

        return await cancellation.cancel_late_async(kind, request if self.cancel_on_timeout else None)

    def _event(self, status: str, **payload: Any) -> TriggerEvent:
        return TriggerEvent({"status": status, "kind": self.kind, "resource_id": self.resource_id, **payload})

    async def _failure(self, status: str, message: str, **payload: Any) -> TriggerEvent:
        event = self._event(status, message=message, **payload)
        if not self.fail_from_trigger:
            return event
        for line in message.split("\n"):
            self.log.error("%s", line)
        # A service that can't be reached is no outcome: as in every other mode, it is not skipped.
        is_skipped = self.soft_fail and status != "error"
        xcoms = await self._xcoms.push_last(xcoms_of(self._row, payload.get("description", {})))
        return _ending((TaskSkippedEvent if is_skipped else TaskFailedEvent)(xcoms=xcoms), event)


def _ending(end: TriggerEvent, event: TriggerEvent) -> TriggerEvent:
    """Return an event that ends the task here; `dag.test()` resumes it nevertheless, with the payload."""
    end.payload = event.payload
    return end


_FIELDS = tuple(inspect.signature(NeptuneMLJobTrigger).parameters)
_TEMPLATED = ("resource_id", "target_statuses", "hook_parameters")
