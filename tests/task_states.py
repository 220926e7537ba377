"""In which state Airflow has the task of a test, and with which XComs: what its processes would be told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from airflow_provider_neptune_ml.compat import AIRFLOW_V_3_0_PLUS, XCom
from tests.contexts import KEY

LeftAs = Callable[..., None]


@contextmanager
def task_states(monkeypatch: pytest.MonkeyPatch) -> Iterator[LeftAs]:
    """Yield a function that says in which state, and with which XComs, Airflow has the task of ``KEY``."""
    if AIRFLOW_V_3_0_PLUS:
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

        def answer(state: str | None, *, try_number: int = 1, max_tries: int = 0, **xcoms: str) -> None:
            # What the supervisor of a worker or triggerer answers: without one, nothing does.
            # Of another task, it has nothing to say.
            def get_task_states(**asked: Any) -> dict[str, Any]:
                ours: dict[str, Any] = {**KEY, "task_ids": [KEY["task_id"]], "run_ids": [KEY["run_id"]]}
                del ours["task_id"], ours["run_id"]
                return {KEY["run_id"]: {KEY["task_id"]: state}} if asked == ours else {}

            def get_one(*, key: str, **asked: Any) -> str | None:
                return xcoms.get(key) if asked == KEY else None

            monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", staticmethod(get_task_states))
            monkeypatch.setattr(XCom, "get_one", staticmethod(get_one))

        yield answer
        return
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session

    run = {"dag_id": KEY["dag_id"], "run_id": KEY["run_id"]}

    def delete() -> None:
        with create_session() as session:
            session.query(DagRun).filter_by(**run).delete()

    def store(state: str | None, *, try_number: int = 1, max_tries: int = 0, **xcoms: str) -> None:
        delete()
        row = {
            **KEY,
            "state": state,
            "try_number": try_number,
            "max_tries": max_tries,
            "pool": "default_pool",
        }
        with create_session() as session:
            session.execute(DagRun.__table__.insert().values(**run, run_type="manual"))
            session.execute(TaskInstance.__table__.insert().values(**row))
        for key, value in xcoms.items():
            XCom.set(key=key, value=value, **KEY)

    yield store
    delete()
