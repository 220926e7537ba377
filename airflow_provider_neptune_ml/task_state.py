"""In which state Airflow has a task instance, asked from one of its processes or from its trigger."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from airflow_provider_neptune_ml.compat import AIRFLOW_V_3_0_PLUS


class Row(NamedTuple):
    """What of a task instance Airflow's database has, up to Airflow 2."""

    state: str | None
    trigger_id: int | None
    try_number: int
    max_tries: int


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
            session.query(
                TaskInstance.state, TaskInstance.trigger_id, TaskInstance.try_number, TaskInstance.max_tries
            )
            .filter_by(
                dag_id=task_instance.dag_id,
                task_id=task_instance.task_id,
                run_id=task_instance.run_id,
                map_index=task_instance.map_index,
            )
            .one_or_none()
        )
    return row and Row(*row)


def state_at_shutdown(task_instance: Any, is_current: Callable[[], bool], seconds: float) -> str | None:
    """
    Return the state of a task whose worker is shut down: a user's action has changed it before the SIGTERM.

    The state alone does not tell: a task that was marked and cleared may be running again, as another try.

    For signal handlers: the question is asked in a thread of its own, and not at all where the signal came in
    the middle of one of the main thread's to Airflow 3: before 3.2, the answers would be mixed up.

    :param task_instance: the one whose process got the signal.
    :param is_current: on Airflow 3, tells whether its try is still the latest.
    :param seconds: how long an answer is waited for.
    :return: ``running`` or ``deferred``; None where it was a user, and where there is no answer.
    """
    answer: list[str | None] = []

    def ask() -> None:
        with suppress(Exception):  # whatever Airflow's database or API raises as it goes away
            if AIRFLOW_V_3_0_PLUS:
                # In this order: a clear in between changes the second answer.
                state = state_of(task_instance)
                answer.append(state if is_current() else None)
            elif row := row_of(task_instance):
                # A clear moves max_tries on.
                is_same = row[2:] == (task_instance.try_number, task_instance.max_tries)
                answer.append(row.state if is_same else None)

    if _is_in_request():
        return None
    thread = threading.Thread(target=ask, name="task state", daemon=True)
    thread.start()
    thread.join(seconds)
    return answer[0] if answer and answer[0] in ("running", "deferred") else None


def _is_in_request() -> bool:
    frame = sys._getframe()
    while frame := frame.f_back:  # type: ignore[assignment]
        if frame.f_globals.get("__name__") == "airflow.sdk.execution_time.comms":
            return True
    return False
