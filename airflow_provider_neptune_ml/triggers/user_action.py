"""
Whether a user ended a deferred task.

Airflow before 3.3 cancels a trigger in the same way when its task was marked or cleared and when its
triggerer shuts down or hands it over. Newer ones call its on_kill, but also when another triggerer has taken
it over from one that was hung. Only the state of the task instance tells, and for one that is about to run
not even that: a clear and the end of the wait in another triggerer look the same. Then the resource tells:
one that is still running before the deadline has ended no wait.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from airflow.triggers.base import BaseTrigger

from airflow_provider_neptune_ml.compat import AIRFLOW_V_3_0_PLUS
from airflow_provider_neptune_ml.exceptions import NeptuneMLError, NeptuneMLNotFoundError
from airflow_provider_neptune_ml.kinds import ResourceKind
from airflow_provider_neptune_ml.task_state import row_of, state_of

# From Airflow 3.3 on.
AIRFLOW_CALLS_ON_KILL = hasattr(BaseTrigger, "on_kill")
_RETURN_VALUE = "return_value"
# A deferred task gets there by a clear, and by the end of its wait.
_CLEARED_OR_RESUMED = frozenset({"scheduled", "queued", "running"})


class CancelReason(Enum):
    """Why the trigger of a deferred task was cancelled: what became of the task."""

    ENDED_BY_USER = "ended by user"
    CONTINUES = "continues"
    CLEARED_OR_RESUMED = "cleared or resumed"
    UNKNOWN = "unknown"


def cancel_reason_of(
    task_instance: Any, trigger_id: int | None, id_key: str, resource_id: str
) -> CancelReason:
    """
    Tell what became of a deferred task.

    :param task_instance: the one that the trigger belongs to.
    :param trigger_id: the id of the trigger's row.
    :param id_key: the key of the XCom with the id of what the task has started.
    :param resource_id: the id of what the trigger waits for.
    """
    if AIRFLOW_V_3_0_PLUS:
        state = state_of(task_instance)
    else:
        row = row_of(task_instance)
        # A clear begins another try, which may be deferred by now: SQLite uses the ids of triggers again.
        if row is None or row.try_number != task_instance.try_number:
            return CancelReason.ENDED_BY_USER
        if row.state == "deferred" and row.trigger_id != trigger_id:
            return CancelReason.ENDED_BY_USER
        state = row.state
        if state in (*_CLEARED_OR_RESUMED, "deferred", "up_for_retry"):
            return CancelReason.CONTINUES
    if state == "success":
        # One that was marked successful has not returned anything.
        is_ours = (
            _pull(task_instance, id_key) == resource_id and _pull(task_instance, _RETURN_VALUE) is not None
        )
        return CancelReason.CONTINUES if is_ours else CancelReason.ENDED_BY_USER
    if state not in (*_CLEARED_OR_RESUMED, "deferred", "up_for_retry"):
        return CancelReason.ENDED_BY_USER
    # Airflow clears XComs seconds after a try has begun. Until then they are those of the try before.
    if _pull(task_instance, id_key) not in (resource_id, None):
        return CancelReason.ENDED_BY_USER
    return CancelReason.CLEARED_OR_RESUMED if state in _CLEARED_OR_RESUMED else CancelReason.CONTINUES


def is_to_be_cancelled(
    reason: CancelReason, kind: ResourceKind, reply: Mapping[str, Any] | NeptuneMLError, *, may_appear: bool
) -> bool | None:
    """
    Tell whether a resource is to be cancelled, now that the trigger of the wait for it was.

    :param reason: what became of the task, which does not continue.
    :param kind: the kind of resource.
    :param reply: the resource's description, or the error that came instead.
    :param may_appear: whether the request that creates it may still be under way.
    :return: None where it can't be told yet.
    """
    is_ended = reason is CancelReason.ENDED_BY_USER or None
    # Before the deadline, no other triggerer can have ended the wait for one that is under way.
    is_ended_if_under_way = reason is CancelReason.CLEARED_OR_RESUMED or is_ended
    if isinstance(reply, NeptuneMLNotFoundError):
        return is_ended_if_under_way if may_appear else False
    if isinstance(reply, NeptuneMLError):
        return is_ended
    if kind.is_under_way(reply):
        return is_ended_if_under_way
    if kind.is_serving(reply):
        # Its task may be about to succeed with it.
        return is_ended
    return False


def _pull(task_instance: Any, key: str) -> Any:
    from airflow_provider_neptune_ml.compat import XCom

    return XCom.get_one(
        key=key,
        dag_id=task_instance.dag_id,
        task_id=task_instance.task_id,
        run_id=task_instance.run_id,
        map_index=task_instance.map_index,
    )
