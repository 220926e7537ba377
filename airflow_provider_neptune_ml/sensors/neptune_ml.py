"""Sensors for Amazon Neptune ML."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_provider_neptune_ml.base import (
    NeptuneMLTask,
    TemplatedList,
    TemplatedText,
    deadline_of,
    execution_deadline,
    task_instance_of,
    task_log_of,
)
from airflow_provider_neptune_ml.compat import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)
from airflow_provider_neptune_ml.exceptions import (
    NeptuneMLError,
    NeptuneMLFailedError,
    NeptuneMLTimeoutError,
    restored_error,
)
from airflow_provider_neptune_ml.kinds import (
    DATA_PROCESSING,
    ENDPOINTS,
    MODEL_TRAINING,
    MODEL_TRANSFORM,
    Phase,
)
from airflow_provider_neptune_ml.lineage import ReportsLineage
from airflow_provider_neptune_ml.logs import DEFAULT_FAILURE_LOG_LINES, FROM_THE_FIRST, TaskLog, seconds_left
from airflow_provider_neptune_ml.polling import Wait, Watch, validated_targets
from airflow_provider_neptune_ml.progress import Listeners
from airflow_provider_neptune_ml.retries import DEFAULT_UNREACHABLE_TIMEOUT_SECONDS
from airflow_provider_neptune_ml.sensors.from_trigger import (
    EndFromTrigger,
    StartFromTrigger,
    StartTriggerArguments,
    obstacle_to_end,
    obstacle_to_start,
    trigger_arguments,
)
from airflow_provider_neptune_ml.sensors.log_position import earlier_position, remember_position
from airflow_provider_neptune_ml.validation import is_templated, validate_flag, validate_seconds, validated

if TYPE_CHECKING:
    from typing_extensions import Self

    from airflow_provider_neptune_ml.compat import Context

# What poking raises, by the status of the trigger's event.
_ERRORS: dict[str, type[Exception]] = {"failed": AirflowFailException, "timeout": AirflowSensorTimeout}

_STARTED_BY_AIRFLOW = "Airflow starts mapped tasks on one, and dag.test() every task"
# Part of the time by which a wait may outlast its deadline.
_FIRST_LOOK_SECONDS = 4.0
# Airflow takes any text for true.
_AIRFLOWS_FLAGS = {"soft_fail", "never_fail", "silent_fail", "exponential_backoff"}


class NeptuneMLSensor(ReportsLineage, NeptuneMLTask, BaseSensorOperator):
    """
    Base of the sensors.

    A resource in another terminal status than a target fails the sensor without a retry, as the status can't
    change any more; ``soft_fail`` skips it instead, also at a time-out. The outcome is the same wherever the
    wait runs:

    - ``mode="poke"`` holds a worker slot, ``mode="reschedule"`` takes one for each poke;
    - ``deferrable=True`` waits in the triggerer, and takes a worker to begin and to end: one for both if the
      resource is in a terminal status already;
    - ``start_from_trigger=True`` and ``end_from_trigger=True`` begin and end there too: no worker at all, on
      Airflow 3.3 or newer. A sensor that can't (older Airflow, mapped, ``outlets``, ``do_xcom_push=False``,
      ``multiple_outputs``, ``on_skipped_callback``, ``retries`` after a failure, listeners of a plugin, an
      argument that only a worker can render) falls back to a worker, and logs why.

    An ``execution_timeout`` that has passed fails the sensor with AirflowTaskTimeout: it is retried, and
    never skipped. With ``mode="reschedule"`` it is the time for one poke, as Airflow has it.

    ``silent_fail``, ``exponential_backoff`` and ``max_wait`` of Airflow's sensors work in a worker only, not
    with ``deferrable=True``.

    :param target_statuses: Terminal statuses that count as success (default: the kind's status of success).
        All of them: wait for any terminal status. (templated)
    :param unreachable_timeout: Time in seconds, or a timedelta, of transient errors alone (throttling, 5xx,
        no connection) after which the sensor fails (default: 600).
    :param print_log: Whether the CloudWatch events of the stage at work are printed in the task's log, each
        cut to 1,000 characters (default: False). Needs ``logs:FilterLogEvents``.
    :param failure_log_lines: How many of the last lines of the failed stage's CloudWatch log are printed when
        the sensor fails with it; 0: none (default: 50). Needs ``logs:FilterLogEvents``.
    :param deferrable: Whether to wait in the triggerer (default: ``[operators] default_deferrable``).
    :param start_from_trigger: Whether to begin there (default: False).
    :param end_from_trigger: Whether to end there (default: False).
    :param poke_interval: Time in seconds, or a timedelta, between two pokes; more than 0 (default: 60).
    :param timeout: Time in seconds, or a timedelta, after which the sensor fails (default: ``[sensors]
        default_timeout``, 7 days).
    :return: The last description of the resource: ``status``, ``id``, and what is known of each stage.
    """

    template_fields: Sequence[str] = (*NeptuneMLTask.template_fields, "target_statuses")
    start_from_trigger = StartFromTrigger()
    end_from_trigger = EndFromTrigger()
    start_trigger_args = StartTriggerArguments()
    _wants_to_start_from_trigger = False
    _wants_to_end_from_trigger = False
    _obstacle: str | None = None
    _watch: Watch | None = None
    _stage_log: TaskLog | None = None
    _found_ended: dict[str, Any] | None = None

    def __init__(
        self,
        *,
        target_statuses: TemplatedList | None = None,
        unreachable_timeout: float | timedelta = DEFAULT_UNREACHABLE_TIMEOUT_SECONDS,
        print_log: bool = False,
        failure_log_lines: int = DEFAULT_FAILURE_LOG_LINES,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        start_from_trigger: bool = False,
        end_from_trigger: bool = False,
        **kwargs: Any,
    ) -> None:
        for name in _AIRFLOWS_FLAGS & kwargs.keys():
            kwargs[name] = validate_flag(name, kwargs[name])
        for name in ("poke_interval", "timeout"):
            if kwargs.get(name) is not None:
                validate_seconds(name, kwargs[name], zero=name != "poke_interval")
        super().__init__(**kwargs)
        self.target_statuses: Any = target_statuses
        self.unreachable_timeout = validate_seconds("unreachable_timeout", unreachable_timeout)
        self.print_log = validated("print_log", print_log)
        self.failure_log_lines = validated("failure_log_lines", failure_log_lines)
        self.deferrable = validate_flag("deferrable", deferrable)
        self.end_from_trigger = validate_flag("end_from_trigger", end_from_trigger)
        self._wants_to_start_from_trigger = validate_flag("start_from_trigger", start_from_trigger)

    def prepare_for_execution(self) -> Self:
        """Return the copy that a worker executes, which knows why it was not started in the triggerer."""
        task: Self = super().prepare_for_execution()
        # Once the templates are rendered, what only a worker can render can't be told from the rest.
        task._obstacle = obstacle_to_start(self)
        return task

    def validate_arguments(self, *, rendered: bool = False) -> None:
        """Check what is known of the arguments."""
        super().validate_arguments(rendered=rendered)
        # A cluster policy may have changed them since.
        self.poke_interval = validate_seconds("poke_interval", self.poke_interval, zero=False)
        self.timeout = validate_seconds("timeout", self.timeout)
        self.unreachable_timeout = validate_seconds("unreachable_timeout", self.unreachable_timeout)

    def validate_together(self, arguments: Mapping[str, Any], *, rendered: bool) -> None:  # noqa: ARG002
        """Check the targets, which differ from kind to kind."""
        targets = arguments["target_statuses"]
        if targets is not None and not is_templated(targets) and not any(map(is_templated, targets)):
            validated_targets(self.kind, targets)

    def execute(self, context: Context) -> Any:
        """Wait until the resource is in a target status."""
        self.validate_arguments(rendered=True)
        if self._wants_to_start_from_trigger:
            self.log.info(
                "Started on a worker, not from the trigger: %s",
                self._obstacle or obstacle_to_start(self) or _STARTED_BY_AIRFLOW,
            )
        waits_in_triggerer = (
            self.deferrable or self._wants_to_start_from_trigger or self._wants_to_end_from_trigger
        )
        # Airflow can fail a task whose trigger ends before Airflow has seen the end of its worker.
        if waits_in_triggerer and not self._has_ended():
            self._defer(context)
        if "ti" not in context:
            # Airflow's own method asks it when a rescheduled sensor began.
            context = {**context, "ti": task_instance_of(context)}
        with self._with_reason_of_skip():
            return super().execute(context)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume the sensor when its trigger has fired."""
        with self._with_reason_of_skip():
            try:
                return super().resume_execution(next_method, next_kwargs, context)
            except AirflowException as error:
                failure = error.__cause__ if isinstance(error, AirflowSkipException) else error
                if isinstance(failure, AirflowSensorTimeout) and self.execution_timeout_comes_first:
                    raise AirflowTaskTimeout(str(failure)) from None
                # Airflow 2 forgets never_fail here.
                if self.never_fail and failure is error:
                    raise AirflowSkipException from error
                raise

    def execute_complete(self, context: Context, event: Mapping[str, Any] | None = None) -> Any:
        """Return the description, or raise what poking would have raised."""
        event = event or {
            "status": "error",
            "message": f"The trigger of {self.resource_id!r} ended without an event.",
        }
        self.last_description = event.get("description") or {}
        if event["status"] == "unresolved":
            self.log.info(
                "Falling back to a worker: an argument can't be rendered in the triggerer (%s)",
                event["message"],
            )
            # It may be wrong as well.
            self.validate_arguments(rendered=True)
            self._defer(context)
        if self._wants_to_end_from_trigger and (obstacle := obstacle_to_end(self)):
            self.log.info("Completed on a worker, not from the trigger: %s", obstacle)
        if event["status"] == "success":
            return self._finish(context, event["description"])
        if event["status"] == "failed":
            self.xcoms.finish(task_instance_of(context), event["description"])
            if not event.get("log_is_printed"):
                log = task_log_of(self, event["resource_id"], is_failure=True)
                self._print_rest(log, context, event["description"], failed=True)
        if event["status"] in _ERRORS:
            raise _ERRORS[event["status"]](event["message"])
        raise restored_error(event["message"], event.get("error"))

    def poke(self, context: Context) -> PokeReturnValue:
        """Poll once. Transient errors are retried here: a rescheduled sensor does not know since when."""
        log = self._stage_log = self._stage_log or self._new_log(context)
        watch = self._watch = self._watch or self._new_watch(context, log)
        try:
            while (description := watch.poll(self._describe, time.time)) is None:
                if not watch.is_retrying:
                    if self.reschedule and self.print_log:
                        self._print_rest(log, context, self.last_description)
                        remember_position(context, log.position)
                    return PokeReturnValue(is_done=False)
                time.sleep(watch.pause(time.time()))
        except NeptuneMLTimeoutError as error:
            raise AirflowSensorTimeout(str(error)) from None
        except NeptuneMLFailedError as error:
            self._print_rest(log, context, error.description, failed=True)
            self.xcoms.finish(task_instance_of(context), error.description)
            raise AirflowFailException(str(error)) from None
        self._print_rest(log, context, description)
        return PokeReturnValue(is_done=True, xcom_value=self._finish(context, description))

    def _finish(self, context: Context, description: Mapping[str, Any]) -> dict[str, Any]:
        """Return the task's result once the wait is over."""
        self.xcoms.finish(task_instance_of(context), description)
        return dict(description)

    def _new_log(self, context: Context) -> TaskLog:
        remembers = self.reschedule and self.print_log
        start = earlier_position(context) if remembers else FROM_THE_FIRST
        return task_log_of(self, self.resource_id, start)

    def _print_rest(
        self, log: TaskLog, context: Context, description: Mapping[str, Any], *, failed: bool = False
    ) -> None:
        """Print what is left of the log, before Airflow gives the task up."""
        deadline = min(self._first_poke(context) + self.timeout, execution_deadline(self, context))
        log.settle(description, failed=failed, seconds=seconds_left(deadline, time.time()))

    def _get_next_poke_interval(
        self, started_at: datetime | float, run_duration: Callable[[], float], poke_count: int
    ) -> float:
        """Return the seconds until the next poke: as in the triggerer, jittered and not past the deadline."""
        if self.exponential_backoff or self._watch is None:
            return super()._get_next_poke_interval(started_at, run_duration, poke_count)
        return self._watch.pause(time.time())

    def _new_watch(self, context: Context, log: TaskLog) -> Watch:
        started_at = self._first_poke(context)
        listeners = Listeners(self.log, *self.listeners(context), log.follow)
        return Watch(self.wait(started_at), log=self.log, on_progress=listeners)

    def wait(self, started_at: float, latest: float = math.inf) -> Wait:
        """Describe the wait, from when until when at the latest (both in seconds since the epoch)."""
        return Wait(
            self.kind,
            self.resource_id,
            started_at,
            *deadline_of(self, started_at, latest),
            target_statuses=self.target_statuses,
            poll_interval=self.poke_interval,
            unreachable_timeout=self.unreachable_timeout,
        )

    def _first_poke(self, context: Context) -> float:
        """Return when the wait began (epoch seconds): a rescheduled one began in another process."""
        ti = task_instance_of(context)
        # Airflow 2 sets start_date to that of the first reschedule, Airflow 3 has a method for it.
        ask = getattr(ti, "get_first_reschedule_date", None) if self.reschedule else None
        started: datetime | str | None = (ask and ask(context)) or ti.start_date
        if isinstance(started, str):  # as dag.test() of Airflow 3.0 has it
            started = datetime.fromisoformat(started.replace("Z", "+00:00"))
        return started.timestamp() if started else time.time()

    def _describe(self, left: float | None) -> dict[str, Any]:
        found, self._found_ended = self._found_ended, None
        self.last_description = found or self.hook.describe(self.kind, self.resource_id, seconds=left)
        return self.last_description

    def _has_ended(self) -> bool:
        """Tell whether the resource is in a terminal status, and keep the description for the first poke."""
        try:
            found = self.hook.describe(self.kind, self.resource_id, seconds=_FIRST_LOOK_SECONDS)
        except NeptuneMLError:  # the wait in the triggerer meets it too, and knows what to do
            return False
        if self.kind.phase_of(found.get("status")) is Phase.RUNNING:
            return False
        self._found_ended = found
        return True

    def _defer(self, context: Context) -> NoReturn:
        from airflow_provider_neptune_ml.triggers.neptune_ml import NeptuneMLJobTrigger

        started_at = self._first_poke(context)
        wait = self.wait(started_at, execution_deadline(self, context))
        self.defer(
            trigger=NeptuneMLJobTrigger(**trigger_arguments(self, wait)),
            method_name="execute_complete",
        )

    @property
    def execution_timeout_comes_first(self) -> bool:
        """Whether ``execution_timeout`` passes before ``timeout``."""
        allowed = self.execution_timeout
        return allowed is not None and allowed.total_seconds() < self.timeout

    @contextmanager
    def _with_reason_of_skip(self) -> Iterator[None]:
        """Skip only for a failed job or a time-out, in every mode, and say what failed."""
        try:
            yield
        except AirflowSkipException as skip:
            cause = skip.__cause__
            is_error = isinstance(cause, NeptuneMLError) and not self.never_fail
            if cause and (is_error or isinstance(cause, AirflowTaskTimeout)):
                raise cause from None
            raise AirflowSkipException(str(cause or skip)) from cause


class NeptuneMLDataProcessingJobSensor(NeptuneMLSensor):
    """
    Wait until a Neptune ML data processing job has completed.

    .. seealso::
        - https://docs.aws.amazon.com/neptune/latest/userguide/machine-learning-api-dataprocessing.html
        - https://docs.aws.amazon.com/neptune/latest/data-api/API_GetMLDataProcessingJob.html

    :param job_id: The id of the job. (templated)
    :raises ValueError: when an argument breaks its rule; nothing is sent.
    :raises AirflowFailException: when the job ended otherwise; not retried.
    :raises AirflowSensorTimeout: when ``timeout`` has passed; not retried.
    :raises AirflowTaskTimeout: when ``execution_timeout`` has passed; retried.
    :raises NeptuneMLError: when the service refuses, or was out of reach for too long.
    """

    kind = DATA_PROCESSING
    template_fields: Sequence[str] = (*NeptuneMLSensor.template_fields, "job_id")

    def __init__(self, *, job_id: TemplatedText, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job_id = job_id
        self.validate_arguments()


class NeptuneMLModelTrainingJobSensor(NeptuneMLSensor):
    """
    Wait until a Neptune ML model training job has completed.

    .. seealso::
        - https://docs.aws.amazon.com/neptune/latest/userguide/machine-learning-api-modeltraining.html
        - https://docs.aws.amazon.com/neptune/latest/data-api/API_GetMLModelTrainingJob.html

    :param job_id: The id of the job. (templated)
    :raises ValueError: when an argument breaks its rule; nothing is sent.
    :raises AirflowFailException: when the job ended otherwise; not retried.
    :raises AirflowSensorTimeout: when ``timeout`` has passed; not retried.
    :raises AirflowTaskTimeout: when ``execution_timeout`` has passed; retried.
    :raises NeptuneMLError: when the service refuses, or was out of reach for too long.
    """

    kind = MODEL_TRAINING
    template_fields: Sequence[str] = (*NeptuneMLSensor.template_fields, "job_id")

    def __init__(self, *, job_id: TemplatedText, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job_id = job_id
        self.validate_arguments()


class NeptuneMLModelTransformJobSensor(NeptuneMLSensor):
    """
    Wait until a Neptune ML model transform job has completed.

    .. seealso::
        - https://docs.aws.amazon.com/neptune/latest/userguide/machine-learning-api-modeltransform.html
        - https://docs.aws.amazon.com/neptune/latest/data-api/API_GetMLModelTransformJob.html

    :param job_id: The id of the job. (templated)
    :raises ValueError: when an argument breaks its rule; nothing is sent.
    :raises AirflowFailException: when the job ended otherwise; not retried.
    :raises AirflowSensorTimeout: when ``timeout`` has passed; not retried.
    :raises AirflowTaskTimeout: when ``execution_timeout`` has passed; retried.
    :raises NeptuneMLError: when the service refuses, or was out of reach for too long.
    """

    kind = MODEL_TRANSFORM
    template_fields: Sequence[str] = (*NeptuneMLSensor.template_fields, "job_id")

    def __init__(self, *, job_id: TemplatedText, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job_id = job_id
        self.validate_arguments()


class NeptuneMLEndpointSensor(NeptuneMLSensor):
    """
    Wait until a Neptune ML inference endpoint is in service.

    Its name in SageMaker, which queries need, is in XCom ``endpoint_name`` then.

    .. seealso::
        - https://docs.aws.amazon.com/neptune/latest/userguide/machine-learning-api-endpoints.html
        - https://docs.aws.amazon.com/neptune/latest/data-api/API_GetMLEndpoint.html

    :param endpoint_id: The id of the endpoint in Neptune, not its name in SageMaker. (templated)
    :raises ValueError: when an argument breaks its rule; nothing is sent.
    :raises AirflowFailException: when the endpoint failed; not retried.
    :raises AirflowSensorTimeout: when ``timeout`` has passed; not retried.
    :raises AirflowTaskTimeout: when ``execution_timeout`` has passed; retried.
    :raises NeptuneMLError: when the service refuses, or was out of reach for too long.
    """

    kind = ENDPOINTS
    template_fields: Sequence[str] = (*NeptuneMLSensor.template_fields, "endpoint_id")

    def __init__(self, *, endpoint_id: TemplatedText, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.endpoint_id = endpoint_id
        self.validate_arguments()
