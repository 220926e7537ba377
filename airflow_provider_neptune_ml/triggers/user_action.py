"""
Whether a user ended a deferred task.

Airflow before 3.3 cancels a trigger in the same way when its task was marked or cleared and when its
triggerer shuts down or hands it over. Newer ones call its on_kill, but also when another triggerer has taken
it over from one that came back late. Only the task instance knows.
"""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS
from airflow.triggers.base import BaseTrigger

# From Airflow 3.3 on.
AIRFLOW_CALLS_ON_KILL = hasattr(BaseTrigger, "on_kill")


def ended_by_user(task_instance: Any, trigger_id: int | None, id_key: str, resource_id: str) -> bool:
    """
    Tell whether a deferred task waits for this trigger no more.

    :param task_instance: the one that the trigger belongs to.
    :param trigger_id: the id of the trigger's row.
    :param id_key: the key of the XCom with the id of what the task has started.
    :param resource_id: the id of what the trigger waits for.
    """
    if not AIRFLOW_V_3_0_PLUS:
        return not _waits_in_database(task_instance, trigger_id)
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
    from airflow.sdk.execution_time.xcom import XCom

    states = RuntimeTaskInstance.get_task_states(
        dag_id=task_instance.dag_id,
        task_ids=[task_instance.task_id],
        run_ids=[task_instance.run_id],
        map_index=task_instance.map_index,
    )
    # By a key that has the map index in it; nothing, if the run was deleted.
    if list(states.get(task_instance.run_id, {}).values()) != ["deferred"]:
        return True
    # A task that was cleared may wait again by now, for another job. Airflow doesn't tell its try here.
    started = XCom.get_one(
        key=id_key,
        dag_id=task_instance.dag_id,
        task_id=task_instance.task_id,
        run_id=task_instance.run_id,
        map_index=task_instance.map_index,
    )
    return started not in (None, resource_id)


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
