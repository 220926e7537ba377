"""Just enough of Airflow's context to execute a task outside of Airflow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from airflow_provider_neptune_ml.compat import AIRFLOW_V_3_0_PLUS

RUN_BEGAN = datetime(2026, 11, 21, 0, 0, 7, 123456, tzinfo=timezone.utc)
# A task instance that has no map index.
KEY: dict[str, Any] = {"dag_id": "nightly", "task_id": "train", "run_id": "manual__1", "map_index": -1}


@dataclass
class TaskInstance:
    """The part of a task instance that our tasks use."""

    dag_id: str = "nightly_training"
    run_id: str = "scheduled__2026-11-21T00:00:00+00:00"
    task_id: str = "train"
    map_index: int = -1
    try_number: int = 1
    start_date: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    max_tries: int = 0
    xcoms: dict[str, Any] = field(default_factory=dict)

    def get_first_reschedule_date(self, context: Any) -> datetime | None:
        """Return when the first poke was, as Airflow 3 does."""
        return self.start_date

    def xcom_pull(self, *, task_ids: str, key: str, map_indexes: int) -> Any:
        """Return a value; Airflow clears them when a try begins, not when it resumes."""
        assert (task_ids, map_indexes) == (self.task_id, self.map_index)
        return self.xcoms.get(key)

    def xcom_push(self, key: str, value: Any) -> None:
        """Keep a value; pushing it again is a needless request."""
        assert key not in self.xcoms or self.xcoms[key] != value
        self.xcoms[key] = value


class TaskStateStore(dict[str, Any]):
    """What of Airflow 3.3's task state store our tasks use; it outlives the tries of a task instance."""

    def set(self, key: str, value: Any) -> None:
        """Keep a value."""
        self[key] = value

    def delete(self, key: str) -> None:
        """Forget a value; a key that is not there is fine."""
        self.pop(key, None)


def context(*, task_state_store: TaskStateStore | None = None, **task_instance: Any) -> Any:
    """Return a context for a task instance; without a store, as on Airflow before 3.3."""
    stores = {} if task_state_store is None else {"task_state_store": task_state_store}
    return {"ti": TaskInstance(**task_instance), "dag_run": SimpleNamespace(start_date=RUN_BEGAN), **stores}


@contextmanager
def running(context: Any) -> Iterator[Any]:
    """Have a context be the current one, as while Airflow executes its task."""
    module = "airflow.sdk.execution_time.context" if AIRFLOW_V_3_0_PLUS else "airflow.models.taskinstance"
    with import_module(module).set_current_context(context):
        yield context
