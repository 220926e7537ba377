"""Sensors that start and end in the triggerer: their arguments there, and what takes a worker instead."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_neptune_ml.base import CONNECTION_FIELDS, limit_of
from airflow_provider_neptune_ml.compat import CAN_RUN_WITHOUT_WORKER, has_listeners
from airflow_provider_neptune_ml.polling import AIRFLOW_TIMEOUT_MARGIN_SECONDS, Wait

if TYPE_CHECKING:
    from airflow.triggers.base import StartTriggerArgs

    from airflow_provider_neptune_ml.sensors.neptune_ml import NeptuneMLSensor

TRIGGER_PATH = "airflow_provider_neptune_ml.triggers.neptune_ml.NeptuneMLJobTrigger"
_TOO_OLD = "that needs Airflow 3.3 or newer"


class StartFromTrigger:
    """
    Whether Airflow starts a sensor in the triggerer: if that was asked for, and it can.

    It is found out whenever Airflow reads it, as a cluster policy changes a task after its ``__init__`` and
    before it is serialized. Of a class, which is what mapped tasks have, the answer is no.
    """

    def __get__(self, sensor: NeptuneMLSensor | None, owner: type | None = None) -> bool:
        """Return whether the sensor starts there."""
        return sensor is not None and starts_from_trigger(sensor)

    def __set__(self, sensor: NeptuneMLSensor, value: bool) -> None:
        """Ask for it, or no more."""
        sensor._wants_to_start_from_trigger = value


class EndFromTrigger:
    """
    Whether a sensor may end in the triggerer: if that was asked for, and nobody listens.

    Airflow refuses the whole Dag where this is true and a plugin has a listener, as OpenLineage's has.
    """

    def __get__(self, sensor: NeptuneMLSensor | None, owner: type | None = None) -> bool:
        """Return whether the sensor may end there."""
        return sensor is not None and sensor._wants_to_end_from_trigger and not has_listeners()

    def __set__(self, sensor: NeptuneMLSensor, value: bool) -> None:
        """Ask for it, or no more."""
        sensor._wants_to_end_from_trigger = value


class StartTriggerArguments:
    """How Airflow starts a sensor in the triggerer, found out like that as well; None where it doesn't."""

    def __get__(self, sensor: NeptuneMLSensor | None, owner: type | None = None) -> StartTriggerArgs | None:
        """Return the arguments, as the sensor is now."""
        # Not by the attribute, which a user's class may have set for all its sensors, made ready or not.
        return start_trigger_args(sensor) if sensor is not None and starts_from_trigger(sensor) else None


def starts_from_trigger(sensor: NeptuneMLSensor) -> bool:
    """Tell whether Airflow starts a sensor in the triggerer."""
    return sensor._wants_to_start_from_trigger and not obstacle_to_start(sensor)


def start_trigger_args(sensor: NeptuneMLSensor) -> StartTriggerArgs:
    """Return how Airflow starts a sensor in the triggerer, whose templates are rendered there."""
    from airflow.triggers.base import StartTriggerArgs

    sensor.validate_arguments()
    seconds = sensor.timeout + AIRFLOW_TIMEOUT_MARGIN_SECONDS
    if sensor.execution_timeout:
        seconds = min(seconds, sensor.execution_timeout.total_seconds())
    # When it starts is known there only.
    arguments = trigger_arguments(sensor, sensor.wait(0.0)) | {
        "started_at": None,
        "deadline": None,
        "limit": limit_of(sensor, by_execution_timeout=sensor.execution_timeout_comes_first),
    }
    return StartTriggerArgs(
        trigger_cls=TRIGGER_PATH,
        trigger_kwargs={
            **arguments,
            "resource_id": as_template(sensor.resource_id),
            "airflow_timeout": seconds,
        },
        next_method="execute_complete",
        timeout=timedelta(seconds=seconds),
    )


def trigger_arguments(sensor: NeptuneMLSensor, wait: Wait) -> dict[str, Any]:
    """Return the arguments of the trigger that waits for a sensor."""
    can_end = sensor.end_from_trigger and not obstacle_to_end(sensor)
    # Only a worker fails a task so that it isn't retried, knows of never_fail, and which limit has passed.
    needs_worker = (
        sensor.retries or sensor.never_fail or (sensor.soft_fail and sensor.execution_timeout_comes_first)
    )
    return {
        **wait.serialize(),
        "end_from_trigger": can_end,
        "fail_from_trigger": can_end and not needs_worker,
        "soft_fail": sensor.soft_fail,
        "print_log": sensor.print_log,
        "failure_log_lines": sensor.failure_log_lines,
        "hook_parameters": sensor.hook_parameters,
    }


def obstacle_to_start(sensor: NeptuneMLSensor) -> str | None:
    """Return what keeps a sensor from starting in the triggerer, as far as it is known before rendering."""
    if not CAN_RUN_WITHOUT_WORKER:
        return _TOO_OLD
    id_argument = sensor.kind.id_argument
    # What `__init__` has yet to set is not plain either.
    arguments = {
        field: getattr(sensor, field, ...) for field in (*CONNECTION_FIELDS, "target_statuses", id_argument)
    }
    arguments[id_argument] = as_template(arguments[id_argument]) or arguments[id_argument]
    unknown = next((name for name, value in arguments.items() if not is_plain(value)), None)
    return unknown and f"{unknown} can only be rendered by a worker"


def obstacle_to_end(sensor: NeptuneMLSensor) -> str | None:
    """Return what keeps a sensor from ending in the triggerer: what Airflow leaves out there."""
    if not CAN_RUN_WITHOUT_WORKER:
        return _TOO_OLD
    left_out = {
        "listeners of a plugin": has_listeners(),
        "outlets": sensor.outlets,
        "do_xcom_push=False": not sensor.do_xcom_push,
        "multiple_outputs": sensor.multiple_outputs,
        "on_skipped_callback": sensor.on_skipped_callback,
    }
    return next((name for name, is_set in left_out.items() if is_set), None)


def is_plain(value: Any) -> bool:
    """Tell whether a value, or template, reaches the triggerer as it is: not the output of a task."""
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True


def as_template(value: Any) -> str | None:
    """Return a template that the triggerer renders to what an argument stands for, or None."""
    if isinstance(value, str):
        return value
    if type(value).__name__ == "PlainXComArg":
        return f"{{{{ ti.xcom_pull(task_ids={value.operator.task_id!r}, key={value.key!r}) }}}}"
    return None
