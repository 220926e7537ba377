"""
Whether a user ended a deferred task.

Airflow before 3.3 cancels a trigger in the same way when its task was marked or cleared and when its
triggerer shuts down or hands it over. Newer ones call its on_kill, but also when another triggerer has taken
it over from one that came back late. Only the task instance knows.
"""

from __future__ import annotations

from typing import Any

from airflow.triggers.base import BaseTrigger

from airflow_provider_neptune_ml.compat import AIRFLOW_V_3_0_PLUS

# From Airflow 3.3 on.
AIRFLOW_CALLS_ON_KILL = hasattr(BaseTrigger, "on_kill")
_RETURN_VALUE = "return_value"


def ended_by_user(task_instance: Any, trigger_id: int | None, id_key: str, resource_id: str) -> bool:
    """
    Tell whether a user ended a task that was deferred: it neither waits nor has gone on by itself.

    A task that is about to go on, once another triggerer has seen the end, looks like one that was cleared:
    it counts as ended by a user for the seconds until a worker takes it up.

    :param task_instance: the one that the trigger belongs to.
    :param trigger_id: the id of the trigger's row.
    :param id_key: the key of the XCom with the id of what the task has started.
    :param resource_id: the id of what the trigger waits for.
    """
    from airflow_provider_neptune_ml.compat import XCom

    state = _state(task_instance) if AIRFLOW_V_3_0_PLUS else _state_in_database(task_instance, trigger_id)
    # The XComs tell whose doing it is: of a task that was cleared, the next try is about another job, and
    # one that was marked successful has not returned anything.
    keys = {"deferred": id_key, "running": id_key, "up_for_retry": id_key, "success": _RETURN_VALUE}
    if state not in keys:
        return True
    pulled = XCom.get_one(
        key=keys[state],
        dag_id=task_instance.dag_id,
        task_id=task_instance.task_id,
        run_id=task_instance.run_id,
        map_index=task_instance.map_index,
    )
    return pulled != resource_id and not (state == "deferred" and pulled is None)


def _state(task_instance: Any) -> str | None:
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    states = RuntimeTaskInstance.get_task_states(
        dag_id=task_instance.dag_id,
        task_ids=[task_instance.task_id],
        run_ids=[task_instance.run_id],
        map_index=task_instance.map_index,
    )
    # By a key that has the map index in it; nothing, if the run was deleted.
    return next(iter(states.get(task_instance.run_id, {}).values()), None)


def _state_in_database(task_instance: Any, trigger_id: int | None) -> str | None:
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
    if row is None or row.try_number != task_instance.try_number:
        return None
    return None if row.state == "deferred" and row.trigger_id != trigger_id else row.state
