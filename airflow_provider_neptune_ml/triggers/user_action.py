"""
Whether a user ended a deferred task, on Airflow before 3.3.

There, a trigger is cancelled in the same way when its task was marked or cleared and when its triggerer shuts
down or hands it over; only the task instance knows.
"""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.version_compat import get_base_airflow_version_tuple
from airflow.triggers.base import BaseTrigger

# From this version on, Airflow tells the trigger itself.
AIRFLOW_CALLS_ON_KILL = hasattr(BaseTrigger, "on_kill")


def ended_by_user(task_instance: Any, trigger_id: int | None) -> bool:
    """
    Tell whether a deferred task waits for this trigger no more.

    :param task_instance: the one that the trigger belongs to.
    :param trigger_id: the id of the trigger's row.
    """
    if get_base_airflow_version_tuple() < (3,):
        return not _waits_in_database(task_instance, trigger_id)
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    states = RuntimeTaskInstance.get_task_states(
        dag_id=task_instance.dag_id,
        task_ids=[task_instance.task_id],
        run_ids=[task_instance.run_id],
        map_index=task_instance.map_index,
    )
    return bool(states[task_instance.run_id][task_instance.task_id] != "deferred")


def _waits_in_database(task_instance: Any, trigger_id: int | None) -> bool:
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session

    with create_session() as session:
        row = (
            session.query(TaskInstance.state, TaskInstance.trigger_id, TaskInstance.try_number)
            .filter_by(
                dag_id=task_instance.dag_id,
                task_id=task_instance.task_id,
                run_id=task_instance.run_id,
                map_index=task_instance.map_index,
            )
            .one_or_none()
        )
    # A task that was cleared may wait again by now: for another trigger, whose id SQLite may use again.
    waits_for = ("deferred", trigger_id, task_instance.try_number)
    return row is not None and (row.state, row.trigger_id, row.try_number) == waits_for
