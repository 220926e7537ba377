"""The machinery of the operators: submit, wait or defer, clean up when killed. The leaves name things."""

from __future__ import annotations

import inspect
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, TypeVar

from airflow_provider_neptune_ml.base import NeptuneMLTask, execution_deadline
from airflow_provider_neptune_ml.compat import (
    AIRFLOW_V_3_0_PLUS,
    AirflowException,
    AirflowFailException,
    AirflowTaskTimeout,
    conf,
    get_current_context,
)
from airflow_provider_neptune_ml.exceptions import (
    NeptuneMLError,
    NeptuneMLFailedError,
    NeptuneMLKilledError,
    NeptuneMLNotFoundError,
    NeptuneMLServiceError,
    NeptuneMLTimeoutError,
    NeptuneMLUnreachableError,
    full_stop,
)
from airflow_provider_neptune_ml.kinds import Phase
from airflow_provider_neptune_ml.operators.ownership import Taken, Unused, first_try, ids_of
from airflow_provider_neptune_ml.patience import DEFAULT_UNREACHABLE_TIMEOUT_SECONDS, Patience, patiently
from airflow_provider_neptune_ml.polling import (
    ASKED_TO_STOP,
    DEFAULT_POLL_INTERVAL_SECONDS,
    DEFAULT_TIMEOUT_SECONDS,
    NOT_FOUND_GRACE_SECONDS,
    Goal,
    Watch,
    late_stop_in_words,
)
from airflow_provider_neptune_ml.task_state import is_shutdown
from airflow_provider_neptune_ml.validation import (
    is_set,
    validate,
    validate_additional_parameters,
    validate_alternatives,
    validate_seconds,
)

if TYPE_CHECKING:
    from airflow_provider_neptune_ml.compat import Context
    from airflow_provider_neptune_ml.triggers.neptune_ml import NeptuneMLJobTrigger

T = TypeVar("T")

# How long a stop insists where nothing kills the process for good: Airflow 2 gives a killed task a minute.
UNHURRIED_STOP_SECONDS = 30.0
# How long a kill asks Airflow whether a user is behind it. The rest of its budget is for the request.
_STATE_SECONDS = 1.5
# How soon a sleeping task notices that it was killed.
_KILL_CHECK_SECONDS = 0.5


class NeptuneMLOperator(NeptuneMLTask):
    """
    Base of the operators: a request, and the wait for its effect.

    :param wait_for_completion: Whether to wait (default: True).
    :param poll_interval: Time in seconds between two polls (default: 60).
    :param timeout: Time in seconds, or a timedelta, after which the wait fails (default: 7 days).
    :param unreachable_timeout: Time in seconds, or a timedelta, of nothing but trouble (throttling, 5xx, no
        connection) after which the wait fails (default: 600).
    :param deferrable: Whether to wait in the triggerer, without a worker (default: ``[operators]
        default_deferrable``).
    """

    until_ended: ClassVar[bool] = False
    not_found_grace: ClassVar[float] = 0.0
    cancel_on_kill: bool = False
    cancel_on_timeout: bool | None = None

    def __init__(
        self,
        *,
        wait_for_completion: bool = True,
        poll_interval: float | timedelta = DEFAULT_POLL_INTERVAL_SECONDS,
        timeout: float | timedelta = DEFAULT_TIMEOUT_SECONDS,
        unreachable_timeout: float | timedelta = DEFAULT_UNREACHABLE_TIMEOUT_SECONDS,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.wait_for_completion = wait_for_completion
        self.poll_interval = validate_seconds("poll_interval", poll_interval, zero=False)
        self.timeout = validate_seconds("timeout", timeout)
        self.unreachable_timeout = validate_seconds("unreachable_timeout", unreachable_timeout)
        self.deferrable = deferrable
        self._killed = False
        self._outcome_of_kill = ""
        # What a kill has to stop, and what a request to do so was accepted for.
        self._active_id: str | None = None
        self._asked_id: str | None = None

    def execute_complete(self, context: Context, event: Mapping[str, Any] | None = None) -> str | None:
        """Take up the task when the trigger is done with the wait."""
        if not event:
            raise NeptuneMLError(f"The trigger of the {self.kind.title} ended without a word.")
        if event["status"] == "failed":
            raise NeptuneMLFailedError(self.kind, event["resource_id"], event["description"])
        if event["status"] != "success":
            if event["status"] == "timeout":
                raise NeptuneMLTimeoutError(event["message"])
            raise NeptuneMLError(
                f"{event['message']} {self._give_up(context, event['resource_id'])}".rstrip()
            )
        return self._finish(context, event["resource_id"], event["description"])

    def _give_up(self, context: Context, resource_id: str) -> str:  # noqa: ARG002
        """Say what becomes of the resource when the wait for it can't go on."""
        return ""

    def _finish(self, context: Context, resource_id: str, description: Mapping[str, Any]) -> str:  # noqa: ARG002
        """Return the task's result once the wait is over."""
        return resource_id

    def _await(self, context: Context, resource_id: str) -> str | None:
        """Wait for the effect of the request, here or in the triggerer."""
        started_at = time.time()
        self._raise_if_killed()
        if self.deferrable:
            self._defer(context, resource_id, started_at)
        watch = Watch(
            self.kind,
            resource_id,
            Goal.ended(self.kind) if self.until_ended else Goal.completed(self.kind),
            started_at=started_at,
            deadline=started_at + self.timeout,
            poll_interval=self.poll_interval,
            unreachable_timeout=self.unreachable_timeout,
            not_found_grace=self.not_found_grace,
            log=self.log,
        )
        description = watch.wait(lambda: self._describe(resource_id), sleep=self._sleep, now=time.time)
        return self._finish(context, resource_id, description)

    def _defer(self, context: Context, resource_id: str, started_at: float) -> NoReturn:
        self.defer(trigger=self._trigger(context, resource_id, started_at), method_name="execute_complete")

    def _trigger(self, context: Context, resource_id: str, started_at: float) -> NeptuneMLJobTrigger:
        from airflow_provider_neptune_ml.triggers.neptune_ml import NeptuneMLJobTrigger

        return NeptuneMLJobTrigger(
            kind=self.kind.name,
            resource_id=resource_id,
            until_ended=self.until_ended,
            started_at=started_at,
            deadline=min(started_at + self.timeout, execution_deadline(self, context)),
            poll_interval=self.poll_interval,
            unreachable_timeout=self.unreachable_timeout,
            not_found_grace=self.not_found_grace,
            cancel_on_kill=self.cancel_on_kill,
            cancel_on_timeout=self.cancel_on_timeout,
            hook_parameters=self.hook_parameters,
        )

    def _describe(self, resource_id: str) -> dict[str, Any]:
        try:
            return self.hook.describe(self.kind, resource_id)
        finally:
            self._raise_if_killed()

    def _sleep(self, seconds: float) -> None:
        """Sleep, but wake up for a kill: Airflow's signal handler returns and leaves the rest to us."""
        until = time.monotonic() + seconds
        while not self._killed and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _KILL_CHECK_SECONDS))
        self._raise_if_killed()

    def _patiently(self, call: Callable[[], T], what: str) -> T:
        """Make a request until it is answered, good or bad; trouble that may pass is waited out."""
        patience = Patience(what, self.unreachable_timeout, self.log)
        return patiently(call, patience, sleep=self._sleep, now=time.time)

    def _raise_if_killed(self) -> None:
        if self._killed:
            raise NeptuneMLKilledError(f"The task was killed. {self._outcome_of_kill}".rstrip())

    def _stop_if_killed(self) -> None:
        """Stop what a kill came too early to find."""
        if self._killed and self._asked_id != self._active_id:
            self.on_kill()
        self._raise_if_killed()

    def _stop_for_kill(self, **how: Any) -> None:
        """Ask the resource to stop within the time that a dying task has, and keep what came of it."""
        resource_id = str(self._active_id)
        outcome = self.hook.stop_now(self.kind, resource_id, **how)
        if outcome == ASKED_TO_STOP:
            self._asked_id = resource_id
        self._outcome_of_kill = full_stop(f"{self.kind.title.capitalize()} {resource_id!r}: {outcome}")
        # Not here: the signal may have come in the middle of a line of the log, with its lock held.
        words = threading.Thread(
            target=self.log.warning, args=("Killed. %s", self._outcome_of_kill), daemon=True
        )
        words.start()
        words.join(_KILL_CHECK_SECONDS)


class NeptuneMLStartOperator(NeptuneMLOperator):
    """
    Base of the operators that start a job or create an endpoint.

    **What is guaranteed.** The id is chosen before the request is sent, so there is no moment in which a job
    exists that nobody knows. Without an id of your own it is made of the Dag, run, task, map index and try; a
    retry looks for the jobs of the tries before it, and waits for one that is still running instead of
    starting another. One that has completed meanwhile is taken over where Airflow's task state store proves
    that no try has used it (Airflow 3.3 or newer). A job that failed, or is being stopped, never is. When the
    task is killed, or its time is over, the job is asked to stop.

    :param durable: Whether a retry takes over the job of an earlier try (default: True).
    :param cancel_on_kill: Whether the job is asked to stop when the task is killed (default: True).
    :param cancel_on_timeout: Whether the job is asked to stop when ``timeout`` or ``execution_timeout`` is
        over, or the wait for it can't go on and no retry follows (default: True).
    :param additional_parameters: Members of the request that the HTTP API takes and boto3 doesn't know yet,
        by their name in the API, such as ``{"modelName": "custom"}`` (default: none). (templated)
    :return: The id.
    """

    request_parameters: ClassVar[Sequence[str]] = ()
    # Ways to say what a start builds on: one of them is given, wholly.
    alternatives: ClassVar[Sequence[Sequence[str]]] = ()
    template_fields: Sequence[str] = (*NeptuneMLTask.template_fields, "additional_parameters")
    not_found_grace = NOT_FOUND_GRACE_SECONDS
    update: bool | str = False

    def __init__(
        self,
        *,
        durable: bool = True,
        cancel_on_kill: bool = True,
        cancel_on_timeout: bool = True,
        additional_parameters: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.durable = durable
        self.cancel_on_kill = cancel_on_kill
        self.cancel_on_timeout = cancel_on_timeout
        self.additional_parameters = additional_parameters
        self._starting = False
        self._unused_id: str | None = None
        self._pushed: dict[str, Any] = {}
        self._known: Mapping[str, Any] = {}

    def validate_arguments(self) -> None:
        """Check what is known of the arguments."""
        for name in self.request_parameters:
            # A first run has nothing before it, which a template can only say with a text.
            if name.startswith("previous_") and getattr(self, name) in ("", "None"):
                setattr(self, name, None)
        for name in _required_by(type(self)):
            if getattr(self, name) is None:
                raise ValueError(f"{name}=None must be given")
        names = (self.kind.id_argument, *self.request_parameters, "additional_parameters", "botocore_config")
        arguments = {name: getattr(self, name) for name in names}
        validate(arguments)
        validate_additional_parameters(self.additional_parameters, ("id", *self.request_parameters))
        validate_alternatives(arguments, self.alternatives)
        if is_set(self.update) and self.resource_id is None:
            raise ValueError(
                f"{self.kind.id_argument}=None must be the id of the {self.kind.title} if update=True"
            )

    def execute(self, context: Context) -> str | None:
        """Start the job, or find the one that an earlier try started, and wait for it."""
        self._unused_id = Unused(context).noted()
        # XComs are cleared for each try: a teardown finds an earlier job even if this try comes to nothing.
        self._claim(context, self._unused_id or self._expected_id(context))
        self.validate_arguments()
        # Before anything is started: what a kill or the wait needs must not turn out to be missing after it.
        self._patiently(lambda: (self.hook.start_conn, self.hook.urgent_conn), "The clients")
        if self.deferrable:
            self._trigger(context, "", 0.0)
        resource_id = self._find_earlier(context) or self._start(context)
        self._stop_if_killed()
        with self._answering_for(context, resource_id):
            self._announce(context, resource_id)
            self._push(context, "description", dict(self._known))
        if not self.wait_for_completion:
            return self._use(context, resource_id)
        try:
            return self._await(context, resource_id)
        except NeptuneMLTimeoutError as error:
            error.add(self._cancel_late(resource_id))
            raise
        except (NeptuneMLServiceError, NeptuneMLUnreachableError) as error:
            error.add(self._give_up(context, resource_id))
            raise

    def resume_execution(
        self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context
    ) -> str | None:
        """Take up the task after its wait, or see to its job where Airflow gave the wait up by itself."""
        self._resume(context)
        self._stop_if_killed()
        if next_method != "__fail__":
            result: str | None = super().resume_execution(next_method, next_kwargs, context)
            return result
        with suppress(AirflowException):  # it logs what there is to say
            super().resume_execution(next_method, next_kwargs, context)
        error = str((next_kwargs or {}).get("error", ""))
        name = f"{self.kind.title.capitalize()} {self._active_id!r}"
        if "timeout" in error.casefold():
            late = self._cancel_late(self._active_id) if self._active_id else ""
            raise NeptuneMLTimeoutError(f"{name}: its time (execution_timeout) is over. {late}".rstrip())
        raise NeptuneMLError(
            f"The wait for {name} broke off: {error}. {self._give_up(context, self._active_id)}"
        )

    def _resume(self, context: Context) -> None:
        """Remember what the task has started: another process did."""
        ti = context["ti"]
        key = self.kind.id_argument
        self._active_id = ti.xcom_pull(task_ids=ti.task_id, key=key, map_indexes=ti.map_index) or None
        if is_set(self.update):
            # It may have served before.
            self.cancel_on_kill = self.cancel_on_timeout = False

    def on_kill(self) -> None:
        """Ask the job to stop; called from a signal handler, and when ``execution_timeout`` is over."""
        self._killed = True
        timed_out = isinstance(sys.exc_info()[1], AirflowTaskTimeout)
        if timed_out and self._active_id is None:
            # Airflow 2 asks before it resumes a task whose time is over.
            self._resume(get_current_context())
        if self._active_id is None or not (self.cancel_on_timeout if timed_out else self.cancel_on_kill):
            return
        began = time.monotonic()
        if not timed_out and self._is_left_to_retry():
            self._outcome_of_kill = (
                f"The worker is shut down: {self.kind.title} {self._active_id!r} goes on for the retry."
            )
            return
        # Airflow 3 goes on with the task after a kill, and kills it for good 5 s later. After a time-out, and
        # on Airflow 2, there is time, and a request that may still be under way has no other chance.
        seconds = UNHURRIED_STOP_SECONDS if timed_out or not AIRFLOW_V_3_0_PLUS else None
        self._stop_for_kill(may_appear=self._starting, seconds=seconds, spent=time.monotonic() - began)

    def _is_left_to_retry(self) -> bool:
        """Tell whether the signal is a worker's shutdown, after which a retry takes the job over."""
        try:
            ti = get_current_context()["ti"]
        except (AirflowException, RuntimeError):  # outside of Airflow, as in a unit test
            return False
        return self._retry_follows(ti) and is_shutdown(ti, _STATE_SECONDS)

    def _retry_follows(self, ti: Any) -> bool:
        return self.durable and ti.try_number <= (ti.max_tries or 0)

    def _finish(self, context: Context, resource_id: str, description: Mapping[str, Any]) -> str:
        with self._answering_for(context, resource_id):
            self._push(context, "description", dict(description))
        return self._use(context, resource_id)

    def _use(self, context: Context, resource_id: str) -> str:
        """Succeed with a job, which no retry takes over then; not with one that a kill has just stopped."""
        self._raise_if_killed()
        with self._answering_for(context, resource_id):
            Unused(context).forget()
        self._raise_if_killed()
        return resource_id

    @contextmanager
    def _answering_for(self, context: Context, resource_id: str) -> Iterator[None]:
        """See to the job if anything else than the service fails, such as an XCom backend."""
        try:
            yield
        except Exception as error:
            raise NeptuneMLError(
                f"There is {self.kind.title} {resource_id!r}, but the task can't go on:"
                f" {type(error).__name__}: {full_stop(str(error))} {self._give_up(context, resource_id)}"
            ) from error

    def _describe(self, resource_id: str) -> dict[str, Any]:
        description = super()._describe(resource_id)
        self._starting = False
        return description

    def _give_up(self, context: Context, resource_id: str | None, *, may_appear: bool = False) -> str:
        """Leave a job to a retry; where none follows, ask it to stop."""
        ti = context["ti"]
        if resource_id is None:
            return ""
        if self._retry_follows(ti):
            return f"The {self.kind.noun} may go on: a retry takes it over."
        if not self.cancel_on_timeout:
            return late_stop_in_words(None)
        outcome = self.hook.stop_now(
            self.kind, resource_id, may_appear=may_appear, seconds=UNHURRIED_STOP_SECONDS
        )
        return full_stop(f"No retry follows: {outcome}")

    def _expected_id(self, context: Context) -> str:
        """Return the id that the try before most likely used; empty where there was none."""
        ti = context["ti"]
        if not self.durable or ti.try_number <= first_try(ti, self.retries):
            return ""
        if self.resource_id:
            return self.resource_id if Unused(context).may_be(self.resource_id) else ""
        return next(ids_of(ti, ti.try_number - 1))

    def _claim(self, context: Context, resource_id: str) -> None:
        """Have a kill stop what may be this task's, and a teardown find it, however this try ends."""
        # What is updated may have served before.
        self._active_id = None if is_set(self.update) else resource_id or None
        self._announce(context, resource_id)

    def _announce(self, context: Context, resource_id: str) -> None:
        """Have the id in XCom before a job may exist."""
        self._push(context, self.kind.id_argument, resource_id)

    def _push(self, context: Context, key: str, value: Any) -> None:
        """Push what is not in XCom yet; nothing is there at first."""
        if value != self._pushed.get(key, type(value)()):
            context["ti"].xcom_push(key=key, value=value)
            self._pushed[key] = value

    def _find_earlier(self, context: Context) -> str | None:
        """Return the id of a job that an earlier try of this task started and that can be taken over."""
        ti = context["ti"]
        if not self.durable or self.resource_id:
            return None
        for attempt in range(ti.try_number - 1, first_try(ti, self.retries) - 1, -1):
            latest = None
            for candidate in ids_of(ti, attempt):
                # A kill while it is looked for has to stop it, unless there is one to stop already.
                if latest is None or self.kind.is_over(latest[1]) or self.kind.is_stopping(latest[1]):
                    self._claim(context, candidate)
                if (description := self._look_up(candidate)) is None:
                    break
                latest = candidate, description
                self._claim(context, candidate)
            if latest:
                return self._adopt(*latest, is_named_by_us=True, may_serve=True)
        return None

    def _start(self, context: Context) -> str:
        """Send the start request under the first id that is free."""
        ti = context["ti"]
        if self.resource_id:
            may_be_ours = self._expected_id(context) == self.resource_id
            existing = self._look_up(self.resource_id)
            if existing is not None and is_set(self.update):
                return self._update(context, self.resource_id, existing, may_be_ours=may_be_ours)
            self.update = False
            return self._start_own(context, self.resource_id, existing, may_be_ours=may_be_ours)
        for candidate in ids_of(ti, ti.try_number):
            self._active_id = candidate
            existing = self._look_up(candidate)
            if existing is None:
                # Whoever may take the id from now on is this task.
                self._send(context, candidate)
                return candidate
            if self.durable and self._adopt(candidate, existing, is_named_by_us=True):
                return candidate
        raise AssertionError("the ids of a try never end")

    def _start_own(
        self, context: Context, resource_id: str, existing: Mapping[str, Any] | None, *, may_be_ours: bool
    ) -> str:
        """Send the start request under an id of the user's own, which doesn't tell whose the job is."""
        if existing is None:
            taken = self._send(context, resource_id)
            if taken is None:
                return resource_id
            existing = taken.description
            if taken.certainly_ours:
                self._known = existing
                return resource_id
        elif may_be_ours and self._adopt(resource_id, existing):
            return resource_id
        self._raise_if_killed()
        self._claim(context, "")
        update = ", or say update=True to change it" if "update" in self.request_parameters else ""
        # Not retried: the retry would take the job for its own.
        raise AirflowFailException(
            f"{self.kind.title.capitalize()} {resource_id!r} exists already"
            f" ({existing.get('status')}). Leave {self.kind.id_argument} out, and each try gets one that its"
            f" retries find; or give one that no {self.kind.noun} has had{update}."
        )

    def _update(
        self, context: Context, resource_id: str, existing: Mapping[str, Any], *, may_be_ours: bool
    ) -> str:
        """Change what there is, or wait for the change that an earlier try has sent."""
        may_be_ours = may_be_ours and self.kind.is_under_way(existing)
        if not (may_be_ours and self.kind.is_being_made(existing)):
            # What was there before this task is not this task's to stop.
            self.cancel_on_kill = self.cancel_on_timeout = False
        taken = None if may_be_ours else self._send(context, resource_id)
        if taken and not (taken.certainly_ours and self.kind.is_under_way(taken.description)):
            raise taken.refusal
        if may_be_ours or taken:
            self._known = taken.description if taken else existing
        self._active_id = resource_id
        return resource_id

    def _send(self, context: Context, candidate: str) -> Taken | None:
        """Send the start request, again if need be; return what has the id if it is taken by now."""
        request = {name: getattr(self, name) for name in self.request_parameters}
        doubtful = False

        def start() -> None:
            nonlocal doubtful
            self._raise_if_killed()
            try:
                self._known = self.hook.start(
                    self.kind, id=candidate, additional_parameters=self.additional_parameters, **request
                )
            except NeptuneMLError as error:
                doubtful = doubtful or (error.transient and error.doubtful)
                raise

        Unused(context).remember(candidate)
        self._claim(context, candidate)
        self._starting = True
        try:
            try:
                self._patiently(start, f"Starting {self.kind.title} {candidate!r}")
            except NeptuneMLServiceError as refusal:
                self._starting = doubtful
                self._stop_if_killed()
                return Taken(self._look_behind(refusal, candidate), refusal, certainly_ours=doubtful)
        except NeptuneMLKilledError:
            raise
        except NeptuneMLError as error:
            if doubtful:
                error.add(f"It may have been started. {self._give_up(context, candidate, may_appear=True)}")
            elif candidate != self._unused_id:
                Unused(context).forget()
            raise
        self._stop_if_killed()
        self.log.info("Started %s %r", self.kind.title, candidate)
        return None

    def _look_behind(self, refusal: NeptuneMLServiceError, candidate: str) -> Mapping[str, Any]:
        """Return the job that has the id, if that is why the start was refused; else raise the refusal."""
        if refusal.http_status == 403:
            raise refusal
        try:
            description = self._look_up(candidate)
        except NeptuneMLError as error:
            raise NeptuneMLError(
                f"{refusal} Whether the id is taken could not be found out: {error}"
            ) from refusal
        if description is None:
            # "Invalid ID provided." is about another id then.
            ids = [name for name in self.request_parameters if name.endswith("_id") and getattr(self, name)]
            if ids:
                refusal.add(f"It was given {', '.join(f'{name}={getattr(self, name)!r}' for name in ids)}.")
            raise refusal
        return description

    def _look_up(self, candidate: str) -> Mapping[str, Any] | None:
        """Return the description of a job, None if there is none."""
        try:
            return self._patiently(
                lambda: self.hook.describe(self.kind, candidate),
                f"Looking for {self.kind.title} {candidate!r}",
            )
        except NeptuneMLNotFoundError:
            return None

    def _adopt(
        self,
        candidate: str,
        description: Mapping[str, Any],
        *,
        is_named_by_us: bool = False,
        may_serve: bool = False,
    ) -> str | None:
        """
        Take a job over if it is still of use; whose it is has been found out.

        :param is_named_by_us: whether nobody else can have changed it since: whatever it is doing, it is what
            this task was to start.
        :param may_serve: whether an endpoint that is in service is what this task was to create.
        """
        status = description.get("status")
        unused = candidate == self._unused_id or (may_serve and not self.kind.is_over(description))
        succeeded = self.kind.phase_of(status) is Phase.SUCCEEDED
        going = self.kind.is_under_way if is_named_by_us else self.kind.is_being_made
        if not (going(description) or (succeeded and unused)):
            self._active_id = None
            return None
        self._active_id, self._known = candidate, description
        self.log.info("Taking over %s %r of an earlier try (%s)", self.kind.title, candidate, status)
        return candidate

    def _cancel_late(self, resource_id: str) -> str:
        """Ask a job whose time is over to stop, if wished, and put what came of it into words."""
        if not self.cancel_on_timeout:
            return late_stop_in_words(None)
        try:
            taken = self._patiently(
                lambda: self.hook.stop(self.kind, resource_id), f"Stopping {self.kind.title} {resource_id!r}"
            )
        except NeptuneMLError as error:
            return late_stop_in_words(error)
        return late_stop_in_words(taken)


@cache
def _required_by(leaf: type[NeptuneMLStartOperator]) -> list[str]:
    """Return the arguments without a default; once a class, as every parse of a Dag file asks."""
    parameters = inspect.signature(leaf.__init__).parameters.values()
    return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]


class NeptuneMLStopOperator(NeptuneMLOperator):
    """
    Base of the operators that cancel a job or delete an endpoint.

    :param clean: Whether its artifacts in S3 are deleted too (default: False).
    :param ignore_missing: Whether an id that does not exist, or an empty one, is fine (default: False). For a
        teardown whose setup may not have come as far as to start anything.
    :return: The id.
    """

    until_ended = True

    def __init__(self, *, clean: bool = False, ignore_missing: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.clean = clean
        self.ignore_missing = ignore_missing

    def validate_arguments(self) -> None:
        """Check what is known of the arguments."""
        if not self._has_nothing_to_stop():
            super().validate_arguments()

    def execute(self, context: Context) -> str | None:
        """Ask the resource to stop, and wait until it has ended."""
        self.validate_arguments()
        if self._has_nothing_to_stop():
            self.log.info("Nothing to stop: %s is empty", self.kind.id_argument)
            return None
        # First: a kill from here on sends the request by itself.
        resource_id = self._active_id = self.resource_id
        self._stop_if_killed()
        self._patiently(lambda: self.hook.urgent_conn, "The client")
        # A deletion that worked leaves nothing that would tell so to whoever asks again.
        may_be_done = context["ti"].try_number > 1

        def stop() -> bool:
            nonlocal may_be_done
            try:
                return self.hook.stop(self.kind, resource_id, clean=self.clean)
            except NeptuneMLError as error:
                may_be_done = may_be_done or (error.transient and error.doubtful)
                raise

        try:
            taken = self._patiently(stop, f"Stopping {self.kind.title} {resource_id!r}")
        except NeptuneMLNotFoundError as error:
            if not (self.ignore_missing or (may_be_done and self.kind.statuses.stopped is None)):
                raise
            self.log.info("Nothing to stop: %s", error)
            return resource_id
        self._asked_id = resource_id
        self._raise_if_killed()
        if not taken:
            self.log.info("%s %r had ended before", self.kind.title.capitalize(), resource_id)
            return resource_id
        self.log.info("Asked %s %r to stop", self.kind.title, resource_id)
        return self._await(context, resource_id) if self.wait_for_completion else resource_id

    def on_kill(self) -> None:
        """Send the request once more unless it was acknowledged: the resource should not outlive the kill."""
        self._killed = True
        if self._active_id in (None, self._asked_id):
            return
        self._stop_for_kill(clean=self.clean)

    def _has_nothing_to_stop(self) -> bool:
        return self.ignore_missing and self.resource_id in (None, "", "None")
