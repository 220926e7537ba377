"""In which state Airflow has a task instance, asked from one of its processes or from its trigger."""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from typing import Any, NamedTuple

from airflow_provider_neptune_ml.compat import AIRFLOW_V_3_0_PLUS

# States of a task that goes on: a user's mark or clear leads to others ("restarting" where it was running).
_CONTINUES = frozenset({"running", "deferred", "up_for_retry", "scheduled", "queued"})


class Row(NamedTuple):
    """What of a task instance Airflow's database has, up to Airflow 2."""

    state: str | None
    trigger_id: int | None
    try_number: int


def state_of(task_instance: Any) -> str | None:
    """
    Return the state of a task instance; None if it has none, as after a clear, or does not exist any more.

    :param task_instance: names it by its dag_id, task_id, run_id and map_index.
    """
    if not AIRFLOW_V_3_0_PLUS:
        row = row_of(task_instance)
        return row and row.state
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    states = RuntimeTaskInstance.get_task_states(
        dag_id=task_instance.dag_id,
        task_ids=[task_instance.task_id],
        run_ids=[task_instance.run_id],
        map_index=task_instance.map_index,
    )
    # By a key that has the map index in it; nothing, if the run was deleted.
    return next(iter(states.get(task_instance.run_id, {}).values()), None)


def row_of(task_instance: Any) -> Row | None:
    """Return what Airflow 2's database has of a task instance; None if it was deleted."""
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
    return row and Row(*row)


def is_shutdown(task_instance: Any, seconds: float) -> bool:
    """
    Tell whether a SIGTERM means that the worker is shut down: a user's action has changed the state by then.

    For signal handlers: the question is asked in a thread of its own, and not at all where the signal came in
    the middle of one of the main thread's to Airflow 3: before 3.2, the answers would be mixed up.

    :param task_instance: the one whose process got the signal.
    :param seconds: how long an answer is waited for.
    :return: False also where there is no answer.
    """
    answer: list[str | None] = []

    def ask() -> None:
        with suppress(Exception):  # whatever Airflow's database or API raises as it goes away
            answer.append(state_of(task_instance))

    if _is_in_request():
        return False
    thread = threading.Thread(target=ask, name="task state", daemon=True)
    thread.start()
    thread.join(seconds)
    return bool(answer) and answer[0] in _CONTINUES


def _is_in_request() -> bool:
    frame = sys._getframe()
    while frame := frame.f_back:  # type: ignore[assignment]
        if frame.f_globals.get("__name__") == "airflow.sdk.execution_time.comms":
            return True
    return False
