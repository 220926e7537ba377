"""Sensors for Amazon Neptune ML."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    PokeReturnValue,
)

from airflow_provider_neptune_ml.base import NeptuneMLTask
from airflow_provider_neptune_ml.exceptions import NeptuneMLError, NeptuneMLFailedError, NeptuneMLTimeoutError
from airflow_provider_neptune_ml.kinds import MODEL_TRAINING
from airflow_provider_neptune_ml.polling import (
    DEFAULT_UNREACHABLE_TIMEOUT_SECONDS,
    Goal,
    Watch,
    validated_targets,
)
from airflow_provider_neptune_ml.validation import is_templated, validate_seconds

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class NeptuneMLSensor(NeptuneMLTask, BaseSensorOperator):
    """
    Base of the sensors: the wait of :class:`~airflow_provider_neptune_ml.polling.Watch`, driven by Airflow's
    pokes.

    A resource that ended otherwise than wished fails the sensor without a retry, as it can't change any more;
    ``soft_fail`` skips it instead.

    :param target_statuses: Terminal statuses that count as success (default: the kind's one good end). All of
        them: wait for the end, whatever it is. (templated)
    :param unreachable_timeout: Time in seconds, or a timedelta, of nothing but trouble (throttling, 5xx, no
        connection) after which the sensor fails (default: 600).
    :param poke_interval: Time in seconds between two pokes (default: 60).
    :param timeout: Time in seconds, or a timedelta, after which the sensor fails (default: ``[sensors]
        default_timeout``, 7 days).
    :return: The last description of the resource: ``status``, ``id``, and what is known of each stage.
    """

    template_fields: Sequence[str] = (*NeptuneMLTask.template_fields, "target_statuses")

    def __init__(
        self,
        *,
        target_statuses: Sequence[str] | None = None,
        unreachable_timeout: float | timedelta = DEFAULT_UNREACHABLE_TIMEOUT_SECONDS,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.target_statuses = target_statuses
        self.unreachable_timeout = validate_seconds("unreachable_timeout", unreachable_timeout)
        self._watch: Watch | None = None

    def validate_arguments(self) -> None:
        """Check what is known of the arguments."""
        super().validate_arguments()
        targets = self.target_statuses
        if targets is not None and not is_templated(targets) and not any(map(is_templated, targets)):
            validated_targets(self.kind, targets)

    def execute(self, context: Context) -> Any:
        """Poke until the resource is where it should be; what ends the sensor otherwise says what and why."""
        self.validate_arguments()
        try:
            return super().execute(context)
        except AirflowSkipException as skip:
            # Airflow skips with "soft_fail is set to True"; the reader wants to know what failed.
            raise AirflowSkipException(str(skip.__cause__ or skip)) from skip.__cause__

    def poke(self, context: Context) -> PokeReturnValue:
        """Ask once. Trouble is waited out here: a rescheduled sensor forgets how long it has lasted."""
        watch = self._watch = self._watch or self._new_watch(context)
        try:
            while (description := watch.poll(self._describe, time.time)) is None:
                if not watch.in_trouble:
                    return PokeReturnValue(is_done=False)
                time.sleep(watch.pause(time.time()))
        except NeptuneMLTimeoutError as error:
            raise AirflowSensorTimeout(str(error)) from None
        except NeptuneMLFailedError as error:
            raise AirflowFailException(str(error)) from None
        except NeptuneMLError as error:
            if self.soft_fail:
                raise AirflowFailException(str(error)) from error
            raise
        return PokeReturnValue(is_done=True, xcom_value=dict(description))

    def _new_watch(self, context: Context) -> Watch:
        started_at = self._first_poke(context)
        return Watch(
            self.kind,
            self.resource_id,
            Goal.completed(self.kind, self.target_statuses),
            started_at=started_at,
            deadline=started_at + self.timeout,
            poll_interval=self.poke_interval,
            unreachable_timeout=self.unreachable_timeout,
            log=self.log,
        )

    def _first_poke(self, context: Context) -> float:
        """Return when the wait began (epoch seconds): a rescheduled one began in another process."""
        ti = context["ti"]
        # Airflow 2 sets start_date to that of the first reschedule, Airflow 3 wants to be asked.
        ask = getattr(ti, "get_first_reschedule_date", None) if self.reschedule else None
        started: datetime | None = (ask and ask(context)) or ti.start_date
        return started.timestamp() if started else time.time()

    def _describe(self) -> dict[str, Any]:
        return self.hook.describe(self.kind, self.resource_id)


class NeptuneMLModelTrainingJobSensor(NeptuneMLSensor):
    """
    Wait until a Neptune ML model training job has completed.

    .. seealso::
        - https://docs.aws.amazon.com/neptune/latest/userguide/machine-learning-api-modeltraining.html
        - https://docs.aws.amazon.com/neptune/latest/data-api/API_GetMLModelTrainingJob.html

    :param job_id: The id of the job. (templated)
    :raises ValueError: when an argument breaks its rule; nothing is sent.
    :raises AirflowFailException: when the job ended otherwise; not retried.
    :raises AirflowSensorTimeout: when the time is over; not retried.
    :raises NeptuneMLError: when the service refuses, or was out of reach for too long.
    """

    kind = MODEL_TRAINING
    template_fields: Sequence[str] = (*NeptuneMLSensor.template_fields, "job_id")

    def __init__(self, *, job_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job_id = job_id
        self.validate_arguments()
