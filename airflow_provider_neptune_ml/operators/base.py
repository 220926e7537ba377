"""Base of the operators: submit, wait or defer, cancel when killed. The leaves name arguments."""

from __future__ import annotations

import inspect
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, TypeVar

from airflow_provider_neptune_ml import cancellation
from airflow_provider_neptune_ml.base import (
    NeptuneMLTask,
    TemplatedDict,
    TemplatedFlag,
    deadline_of,
    execution_deadline,
    limit_of,
    task_instance_of,
    task_log_of,
)
from airflow_provider_neptune_ml.compat import (
    AIRFLOW_V_3_0_PLUS,
    AirflowException,
    AirflowTaskTimeout,
    conf,
    get_current_context,
)
from airflow_provider_neptune_ml.exceptions import (
    NeptuneMLError,
    NeptuneMLFailedError,
    NeptuneMLKilledError,
    NeptuneMLNotFoundError,
    NeptuneMLTimeoutError,
    full_stop,
    restored_error,
)
from airflow_provider_neptune_ml.lineage import ReportsLineage
from airflow_provider_neptune_ml.logs import DEFAULT_FAILURE_LOG_LINES, Position, TaskLog, seconds_left
from airflow_provider_neptune_ml.operators.kill import Kill
from airflow_provider_neptune_ml.operators.ownership import UnconsumedMarker
from airflow_provider_neptune_ml.operators.submission import Submission
from airflow_provider_neptune_ml.polling import (
    DEFAULT_POLL_INTERVAL_SECONDS,
    DEFAULT_TIMEOUT_SECONDS,
    NOT_FOUND_GRACE_SECONDS,
    Wait,
    Watch,
)
from airflow_provider_neptune_ml.progress import Listener, Listeners
from airflow_provider_neptune_ml.retries import (
    DEFAULT_UNREACHABLE_TIMEOUT_SECONDS,
    RetryBudget,
    retry_transient,
)
from airflow_provider_neptune_ml.task_state import state_at_shutdown
from airflow_provider_neptune_ml.text import one_line
from airflow_provider_neptune_ml.validation import (
    is_set,
    validate_additional_parameters,
    validate_alternatives,
    validate_flag,
    validate_seconds,
    validated,
)
from airflow_provider_neptune_ml.xcoms import DESCRIPTION

if TYPE_CHECKING:
    from airflow_provider_neptune_ml.compat import Context
    from airflow_provider_neptune_ml.triggers.neptune_ml import NeptuneMLJobTrigger

T = TypeVar("T")

# The XCom of a task with update=True that created its endpoint, which another process could not tell.
_CREATED = "created"
# For the one look at what is started without a wait.
_LOOK_SECONDS = 5.0


class NeptuneMLOperator(NeptuneMLTask):
    """
    Base of the operators: a request, and the wait for its effect.

    :param wait_for_completion: Whether to wait (default: True).
    :param poll_interval: Time in seconds between two polls (default: 60).
    :param timeout: Time in seconds, or a timedelta, after which the wait fails (default: 7 days).
    :param unreachable_timeout: Time in seconds, or a timedelta, of transient errors alone (throttling, 5xx,
        no connection) after which the wait fails (default: 600).
    :param deferrable: Whether to wait in the triggerer, without a worker (default: ``[operators]
        default_deferrable``).
    """

    until_ended: ClassVar[bool] = False
    not_found_grace: ClassVar[float] = 0.0
    cancel_on_kill: bool = False
    cancel_on_timeout: bool | None = None
    update: TemplatedFlag = False
    print_log: bool = False
    failure_log_lines: int = 0
    _has_deferred = False

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
        self.wait_for_completion = validate_flag("wait_for_completion", wait_for_completion)
        self.poll_interval = validate_seconds("poll_interval", poll_interval, zero=False)
        self.timeout = validate_seconds("timeout", timeout)
        self.unreachable_timeout = validate_seconds("unreachable_timeout", unreachable_timeout)
        self.deferrable = validate_flag("deferrable", deferrable)

    @property
    def kill(self) -> Kill:
        """A kill of this task. Built at run time: Airflow copies operators before."""
        # The first one stays, also if a signal asks for it while it is built.
        known: Kill | None = vars(self).get("_kill")
        return known or vars(self).setdefault("_kill", Kill(self.kind, lambda: self.hook, self.log))

    def execute_complete(self, context: Context, event: Mapping[str, Any] | None = None) -> str | None:
        """Resume the task when the trigger has fired."""
        if not event:
            raise NeptuneMLError(f"The trigger of the {self.kind.title} ended without an event.")
        self.last_description = event.get("description") or {}
        if event["status"] == "failed":
            failure = NeptuneMLFailedError(self.kind, event["resource_id"], event["description"])
            self.xcoms.finish(task_instance_of(context), failure.description)
            if not event.get("log_is_printed"):
                log = task_log_of(self, failure.resource_id, is_failure=True)
                self._print_rest(log, context, failure.description, failed=True)
            raise failure
        if event["status"] != "success":
            if event["status"] == "timeout":
                raise NeptuneMLTimeoutError(event["message"])
            raise restored_error(event["message"], event.get("error"))
        return self._finish(context, event["resource_id"], event["description"])

    def _finish(self, context: Context, resource_id: str, description: Mapping[str, Any]) -> str:
        """Return the task's result once the wait is over."""
        self.show(context, description)
        return resource_id

    def _await(self, context: Context, resource_id: str) -> str | None:
        """Wait for the effect of the request, here or in the triggerer."""
        started_at = time.time()
        self.kill.raise_if_received()
        if self.deferrable:
            self._defer(context, resource_id, started_at)
        log = self._log_of(resource_id, started_at)
        watch = Watch(
            self._wait(resource_id, started_at),
            log=self.log,
            on_progress=Listeners(self.log, *self.listeners(context), log.follow),
        )
        try:
            description = watch.wait(
                lambda left: self._describe(resource_id, left), sleep=self.kill.sleep, now=time.time
            )
        except NeptuneMLFailedError as error:
            self._print_rest(log, context, error.description, failed=True)
            self.xcoms.finish(task_instance_of(context), error.description)
            raise
        except BaseException:
            log.close()
            raise
        self._print_rest(log, context, description)
        return self._finish(context, resource_id, description)

    def _log_of(self, resource_id: str, started_at: float = 0.0) -> TaskLog:
        """Return what prints the log of a resource; of one that is updated, from now on."""
        is_update = is_set(self.update)
        return task_log_of(self, resource_id, Position(int(started_at * 1000) if is_update else 0))

    def _print_rest(
        self, log: TaskLog, context: Context, description: Mapping[str, Any], *, failed: bool = False
    ) -> None:
        """Print what is left of the log, before Airflow gives the task up."""
        seconds = seconds_left(execution_deadline(self, context), time.time())
        log.settle(description, failed=failed, seconds=seconds, check=self.kill.raise_if_received)

    def listeners(self, context: Context) -> tuple[Listener, ...]:
        """Return what hears of each reply while this task waits in a worker."""
        return (lambda _: self.kill.appeared(), *super().listeners(context))

    def _defer(self, context: Context, resource_id: str, started_at: float) -> NoReturn:
        trigger = self._trigger(context, resource_id, started_at)
        self._has_deferred = True
        self.defer(trigger=trigger, method_name="execute_complete")

    def _trigger(self, context: Context, resource_id: str, started_at: float) -> NeptuneMLJobTrigger:
        from airflow_provider_neptune_ml.triggers.neptune_ml import NeptuneMLJobTrigger

        wait = self._wait(resource_id, started_at, execution_deadline(self, context))
        return NeptuneMLJobTrigger(
            **wait.serialize(),
            cancel_on_kill=self.cancel_on_kill and self._is_ours,
            cancel_on_timeout=self.cancel_on_timeout and self._is_ours,
            print_log=self.print_log,
            log_start=started_at if is_set(self.update) else 0.0,
            hook_parameters=self.hook_parameters,
        )

    def _wait(self, resource_id: str, started_at: float, latest: float = math.inf) -> Wait:
        return Wait(
            self.kind,
            resource_id,
            started_at,
            *deadline_of(self, started_at, latest),
            until_ended=self.until_ended,
            poll_interval=self.poll_interval,
            unreachable_timeout=self.unreachable_timeout,
            not_found_grace=self.not_found_grace,
        )

    @property
    def _is_ours(self) -> bool:
        """Whether there is something that is this task's to cancel."""
        return self.kill.target.resource_id is not None

    def _describe(self, resource_id: str, left: float | None) -> dict[str, Any]:
        try:
            self.last_description = self.hook.describe(self.kind, resource_id, seconds=left)
            return self.last_description
        finally:
            self.kill.raise_if_received()

    def retry(self, call: Callable[[], T], subject: str) -> T:
        """Make a request; transient errors are retried for ``unreachable_timeout``."""
        budget = RetryBudget(subject, self.unreachable_timeout, self.log)
        return retry_transient(call, budget, sleep=self.kill.sleep, now=time.time)

    def cancel_if_killed(self) -> None:
        """
        Cancel what a kill came too early for.

        :raises NeptuneMLKilledError: the task was killed.
        """
        if self.kill.is_pending:
            self.on_kill()
        self.kill.raise_if_received()


class NeptuneMLStartOperator(ReportsLineage, NeptuneMLOperator):
    """
    Base of the operators that start a job or create an endpoint.

    **What is guaranteed.** The id is chosen before the request is sent, so no job exists whose id is not
    known. Without an id of your own it is made of the Dag, run, task, map index and try; a retry looks for
    the jobs of the tries before it, and waits for one that is still running instead of starting another. One
    that has completed meanwhile is adopted where Airflow's task state store proves that no try has used it
    (Airflow 3.3 or newer). A job that failed, or is being cancelled, is never adopted. When the task is
    killed or times out, the job is cancelled.

    :param durable: Whether a retry adopts the job of an earlier try (default: True).
    :param cancel_on_kill: Whether the job is cancelled when the task is killed (default: True).
    :param cancel_on_timeout: Whether the job is cancelled when ``timeout`` or ``execution_timeout`` has
        passed, or the wait for it fails and no retry follows (default: True).
    :param print_log: Whether the CloudWatch events of the stage at work are printed in the task's log, each
        cut to 1,000 characters (default: False). Needs ``logs:FilterLogEvents``.
    :param failure_log_lines: How many of the last lines of the failed stage's CloudWatch log are printed when
        the job has failed; 0: none (default: 50). Needs ``logs:FilterLogEvents``.
    :param additional_parameters: Members of the request that the HTTP API takes and boto3 doesn't know yet,
        by their name in the API, such as ``{"modelName": "custom"}`` (default: none). (templated)
    :return: The id.
    """

    submission_class: ClassVar[type[Submission]] = Submission
    request_parameters: ClassVar[Sequence[str]] = ()
    # Ways to say what a start builds on: one of them is given, wholly.
    alternatives: ClassVar[Sequence[Sequence[str]]] = ()
    template_fields: Sequence[str] = (*NeptuneMLTask.template_fields, "additional_parameters")
    not_found_grace = NOT_FOUND_GRACE_SECONDS
    makes_resource = True

    def __init__(
        self,
        *,
        durable: bool = True,
        cancel_on_kill: bool = True,
        cancel_on_timeout: bool = True,
        print_log: bool = False,
        failure_log_lines: int = DEFAULT_FAILURE_LOG_LINES,
        additional_parameters: TemplatedDict | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.durable = validate_flag("durable", durable)
        self.cancel_on_kill = validate_flag("cancel_on_kill", cancel_on_kill)
        self.cancel_on_timeout = validate_flag("cancel_on_timeout", cancel_on_timeout)
        self.print_log = validated("print_log", print_log)
        self.failure_log_lines = validated("failure_log_lines", failure_log_lines)
        self.additional_parameters: Any = additional_parameters

    @property
    def required_fields(self) -> Sequence[str]:
        """The arguments without a default."""
        return _required_by(type(self))

    def validate_together(self, arguments: Mapping[str, Any], *, rendered: bool) -> None:
        """Check that each member is given once, and one of the alternatives."""
        validate_additional_parameters(arguments["additional_parameters"], ("id", *self.request_parameters))
        validate_alternatives(arguments, self.alternatives, rendered=rendered)
        if is_set(self.update) and arguments[self.kind.id_argument] is None:
            raise ValueError(
                f"{self.kind.id_argument}=None must be the id of the {self.kind.title} if update=True"
            )

    def execute(self, context: Context) -> str | None:
        """Start the job, or adopt the one of an earlier try, and wait for it."""
        with self._cancel_on_error(context):
            submission = self.submission_class(self, context)
            submission.claim_earlier()
            self.validate_arguments(rendered=True)
            submission.check()
            # Before anything is started: what a kill or the wait needs must not turn out to be missing after.
            self.retry(lambda: (self.hook.start_conn, self.hook.urgent_conn), "Connection to Neptune ML")
            if self.deferrable:
                self._trigger(context, "", 0.0)
            submitted = submission.submit()
            self.cancel_if_killed()
            resource_id = submitted.resource_id
            self.last_description = {"id": resource_id, **submitted.description}
            self.push(context, self.kind.id_argument, resource_id)
            self.push(context, _CREATED, is_set(self.update) and self._is_ours)
            self.show(context, submitted.description)
            if not self.wait_for_completion:
                self._describe_once(context, resource_id)
                return self._consume(context, resource_id)
            try:
                return self._await(context, resource_id)
            except NeptuneMLTimeoutError as error:
                error.add_sentence(self._cancel_late())
                raise

    def _describe_once(self, context: Context, resource_id: str) -> None:
        """Push the description of what no wait is going to describe."""
        try:
            description = self._describe(resource_id, _LOOK_SECONDS)
        except NeptuneMLKilledError:
            raise
        except NeptuneMLError as error:
            self.log.info("No description pushed to XCom: %s", error)
            return
        self.push(context, DESCRIPTION, description)
        self.show(context, description)

    @contextmanager
    def _cancel_on_error(self, context: Context) -> Iterator[None]:
        """Release or cancel what may be running if the task fails, for whatever reason."""
        try:
            yield
        except (NeptuneMLKilledError, NeptuneMLFailedError, NeptuneMLTimeoutError):
            raise  # the job was cancelled, or ended by itself
        except NeptuneMLError as error:
            self._release_or_cancel(context, error)
            raise
        except Exception as cause:
            if not self._is_ours:
                raise
            name = self.kind.name_of(str(self.kill.target.resource_id))
            # Such as an XCom backend's.
            failure = NeptuneMLError(
                f"{name}: its task failed: {type(cause).__name__}: {full_stop(one_line(cause))}"
            )
            self._release_or_cancel(context, failure)
            raise failure from cause

    def resume_execution(
        self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context
    ) -> str | None:
        """Resume the task after its wait, or cancel its job where Airflow has ended the wait by itself."""
        with self._cancel_on_error(context):
            # Airflow may fail to answer what else tells it.
            event = (next_kwargs or {}).get("event") or {}
            self._aim(event.get("resource_id"), is_ours=not is_set(self.update))
            resource_id = self._resume(context)
            self.cancel_if_killed()
            if next_method != "__fail__":
                result: str | None = super().resume_execution(next_method, next_kwargs, context)
                return result
            with suppress(AirflowException):  # it logs the cause
                super().resume_execution(next_method, next_kwargs, context)
            raise self._interruption(resource_id, next_kwargs or {})

    def _interruption(self, resource_id: str | None, details: Mapping[str, Any]) -> NeptuneMLError:
        """Return the error for a wait that Airflow has ended; a job that timed out is cancelled."""
        cause = str(details.get("error", ""))
        name = self.kind.name_of(str(resource_id))
        if "timeout" in cause.casefold():
            limit = limit_of(self, by_execution_timeout=self.execution_timeout is not None)
            late = self._cancel_late() if resource_id else ""
            return NeptuneMLTimeoutError(f"{name} timed out ({limit}). {late}".rstrip())
        lines = [str(line).strip() for line in details.get("traceback") or ()]
        last = f" ({lines[-1]})" if lines else ""
        error = NeptuneMLError(f"{name}: the wait was interrupted: {full_stop(one_line(cause + last))}")
        if "airflow_provider_neptune_ml" in last:
            error.add_sentence("The triggerer needs airflow-provider-neptune-ml installed, in this version.")
        return error

    def _resume(self, context: Context) -> str | None:
        """Return the id of what the task has started in another process, and have a kill cancel that."""
        ti = task_instance_of(context)

        def pull(key: str) -> Any:
            return ti.xcom_pull(task_ids=ti.task_id, key=key, map_indexes=ti.map_index)

        resource_id: str | None = pull(self.kind.id_argument) or None
        # What is updated may have served before.
        self._aim(resource_id, is_ours=not is_set(self.update) or pull(_CREATED) is True)
        return resource_id

    def _aim(self, resource_id: str | None, *, is_ours: bool) -> None:
        """Have a kill cancel what the task has started."""
        self.kill.aim(resource_id if is_ours else None)

    def on_kill(self) -> None:
        """Cancel the job; called from a signal handler, and when ``execution_timeout`` has passed."""
        self.kill.receive()
        timed_out = isinstance(sys.exc_info()[1], AirflowTaskTimeout)
        if timed_out and not (self._is_ours or self.xcoms.pushed):
            # Airflow 2 calls it before it resumes a task that timed out; one that began here knows its job.
            self._resume(get_current_context())
        if not (self._is_ours and (self.cancel_on_timeout if timed_out else self.cancel_on_kill)):
            return
        began = time.monotonic()
        if not timed_out and self._is_left_by_shutdown():
            name = f"{self.kind.title} {self.kill.target.resource_id!r}"
            self.kill.receive(f"Worker shut down (SIGTERM): {name} keeps running, and the retry adopts it.")
            return
        # Airflow 3 resumes the task after SIGTERM, and sends SIGKILL 5 s later. After a time-out, and
        # on Airflow 2, there is time, and a request that may still be under way has no other chance.
        seconds = cancellation.BUDGETS.unhurried if timed_out or not AIRFLOW_V_3_0_PLUS else None
        self.kill.cancel(seconds=seconds, spent=time.monotonic() - began)

    def _is_left_by_shutdown(self) -> bool:
        """Tell whether the worker is shut down, and a retry or a trigger goes on with the wait."""
        try:
            context = get_current_context()
        except (AirflowException, RuntimeError):  # outside of Airflow, as in a unit test
            return False
        if not (self._has_deferred or self._retry_follows(context, NeptuneMLKilledError("Killed."))):
            return False
        # The store answers the latest try alone.
        marker, resource_id = UnconsumedMarker(context), self.kill.target.resource_id
        state = state_at_shutdown(
            context["ti"], lambda: marker.read()[0] == resource_id, cancellation.BUDGETS.kill_question
        )
        return state == "deferred" if self._has_deferred else state == "running"

    def _retry_follows(self, context: Context, error: NeptuneMLError) -> bool:
        """Tell whether a retry adopts the job after a try that fails with an error."""
        ti = task_instance_of(context)
        if not self.durable or ti.try_number > (ti.max_tries or 0):
            return False
        if not self.submission_class.can_adopt(context):
            return False
        # From Airflow 3.3 on.
        policy: Any = getattr(self, "retry_policy", None)
        if policy is None:
            return True
        try:
            decision = policy.evaluate(
                exception=error, try_number=ti.try_number, max_tries=ti.max_tries, context=context
            )
        except Exception:  # Airflow goes by the number of tries then
            return True
        return bool(decision.action.name != "FAIL")

    def _finish(self, context: Context, resource_id: str, description: Mapping[str, Any]) -> str:
        self.xcoms.finish(task_instance_of(context), description)
        # What tasks downstream need is there, or the task fails.
        self.push(context, DESCRIPTION, dict(description))
        for key, name in self.kind.names_in(description).items():
            self.push(context, key, name)
        return self._consume(context, resource_id)

    def _consume(self, context: Context, resource_id: str) -> str:
        """Succeed with a job, which no retry adopts then; not with one that a kill has just cancelled."""
        self.kill.raise_if_received()
        UnconsumedMarker(context).delete()
        # From here on nothing is a kill's to cancel: Airflow sends SIGTERM to a task that has succeeded, too,
        # where its callbacks take long.
        ours = self.kill.target.resource_id
        self.kill.aim(None)
        if self.kill.is_received:
            self.kill.aim(ours)
            self.cancel_if_killed()
        return resource_id

    def _release_or_cancel(self, context: Context, error: NeptuneMLError) -> None:
        """
        Release a job to a retry, or cancel it where none follows; the error of the task says which.

        :raises NeptuneMLKilledError: the task was killed.
        """
        resource_id, may_appear, others = self.kill.target
        if resource_id is None:
            return
        # The start may have arrived after the kill has looked, and no retry follows a kill.
        self.cancel_if_killed()
        if self._retry_follows(context, error):
            error.add_sentence(f"The {self.kind.noun} may be running: the retry adopts it.")
        elif not self.cancel_on_timeout:
            error.add_sentence(cancellation.cancel_late(self.kind, None))
        else:
            words = self._cancel_now(resource_id, may_appear=may_appear)
            error.add_sentence(full_stop(f"No retry follows: {words}"))
            for other in others:
                error.add_sentence(full_stop(f"{self.kind.name_of(other)}: {self._cancel_now(other)}"))

    def _cancel_now(self, resource_id: str, *, may_appear: bool = False) -> str:
        """Cancel what no retry adopts, and say what came of it."""
        seconds = cancellation.BUDGETS.unhurried
        return cancellation.cancel_now(
            self.hook, self.kind, resource_id, may_appear=may_appear, seconds=seconds
        ).words

    def push(self, context: Context, key: str, value: Any) -> None:
        """Push what is not in XCom yet; nothing is there at first."""
        self.xcoms.push(task_instance_of(context), key, value)

    def _cancel_late(self) -> str:
        """Cancel a job that timed out, if ``cancel_on_timeout``, and say what came of it."""
        resource_id = self.kill.target.resource_id
        if resource_id is None or not self.cancel_on_timeout:
            return cancellation.cancel_late(self.kind, None)

        def stop() -> bool:
            if is_accepted := self.hook.stop(self.kind, resource_id):
                self.kill.acknowledge(resource_id)
            return is_accepted

        return cancellation.cancel_late(self.kind, lambda: self.retry(stop, self.kind.name_of(resource_id)))


@cache
def _required_by(cls: type[NeptuneMLStartOperator]) -> list[str]:
    """
    Return the members of the request that have no default; once a class, as every parse of a Dag file asks.

    Other arguments are those of a subclass, which is not done with its ``__init__``.
    """
    inits = [vars(each)["__init__"] for each in cls.__mro__ if "__init__" in vars(each)]
    signatures = [inspect.signature(init).parameters for init in inits]
    return [
        name
        for name in cls.request_parameters
        if any(name in known and known[name].default is inspect.Parameter.empty for known in signatures)
    ]


class NeptuneMLStopOperator(NeptuneMLOperator):
    """
    Base of the operators that cancel a job or delete an endpoint.

    :param clean: Whether its artifacts in S3 are deleted too (default: False).
    :param ignore_missing: Whether the task succeeds for an id that does not exist, or an empty one (default:
        False). For a teardown whose setup may not have started anything.
    :return: The id.
    """

    until_ended = True

    def __init__(self, *, clean: bool = False, ignore_missing: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.clean = validate_flag("clean", clean)
        self.ignore_missing = validate_flag("ignore_missing", ignore_missing)

    def validate_arguments(self, *, rendered: bool = False) -> None:
        """Check what is known of the arguments."""
        if not self._has_nothing_to_cancel():
            super().validate_arguments(rendered=rendered)

    def execute(self, context: Context) -> str | None:
        """Request the cancellation or deletion, and wait until it is done."""
        self.validate_arguments(rendered=True)
        if self._has_nothing_to_cancel():
            self.log.info("Nothing to cancel: %s is empty", self.kind.id_argument)
            return None
        # First: from here on, a kill sends the request by itself.
        resource_id = self.resource_id
        self.kill.aim(resource_id)
        self.cancel_if_killed()
        self.retry(lambda: self.hook.urgent_conn, "Connection to Neptune ML")
        # After a deletion that was carried out, another try gets "not found".
        may_be_done = task_instance_of(context).try_number > 1

        def stop() -> bool:
            nonlocal may_be_done
            try:
                return self.hook.stop(self.kind, resource_id, clean=self.clean)
            except NeptuneMLError as error:
                may_be_done = may_be_done or (error.transient and error.ambiguous)
                raise

        try:
            accepted = self.retry(stop, self.kind.name_of(resource_id))
        except NeptuneMLNotFoundError as error:
            if not (self.ignore_missing or (may_be_done and self.kind.statuses.stopped is None)):
                raise
            self.log.info("Nothing to cancel: %s", error)
            return resource_id
        self.kill.acknowledge(resource_id)
        self.kill.raise_if_received()
        name = self.kind.name_of(resource_id)
        if not accepted:
            self.log.info("%s is already in a terminal status; nothing to cancel", name)
            return resource_id
        self.log.info("%s: %s requested", name, self.kind.cancellation)
        return self._await(context, resource_id) if self.wait_for_completion else resource_id

    def on_kill(self) -> None:
        """Send the request once more unless it was acknowledged."""
        self.kill.receive()
        self.kill.cancel(clean=self.clean)

    def _has_nothing_to_cancel(self) -> bool:
        return self.ignore_missing and self.resource_id in (None, "", "None")
