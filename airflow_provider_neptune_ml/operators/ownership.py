"""Ids that name their task instance, and the marker of a job that no try has consumed."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from airflow_provider_neptune_ml.kinds import ID_MAX_LENGTH

if TYPE_CHECKING:
    from airflow_provider_neptune_ml.compat import Context


def ids_of(ti: Any, attempt: int) -> Iterator[str]:
    """
    Yield the ids of one try of a task instance, in the order in which they are used.

    The second and later ones are for Dag runs that were deleted and created again: their first ids exist.
    """
    key = "\n".join((ti.dag_id, ti.run_id, ti.task_id, str(ti.map_index)))
    digest = hashlib.sha256(key.encode()).hexdigest()[:12]
    words = re.sub(r"[^A-Za-z0-9]+", "-", f"{ti.dag_id}-{ti.task_id}").strip("-") or "airflow"
    for again in itertools.count(1):
        suffix = f"-{digest}-{attempt}" + (f"-{again}" if again > 1 else "")
        yield words[: ID_MAX_LENGTH - len(suffix)].rstrip("-") + suffix


def first_try(ti: Any, retries: int | None) -> int:
    """Return the first try since the task was cleared, which moves max_tries on by its retries."""
    return max(1, (ti.max_tries or 0) - (retries or 0) + 1)


class UnconsumedMarker:
    """
    The id of the job that was started last, as long as no try has succeeded with it: in the task state store.

    The store outlives tries, unlike XComs. Airflow before 3.3 has none: there nothing is proven.
    """

    _KEY = "neptune_ml_unused"

    def __init__(self, context: Context) -> None:
        self._store: Any = context.get("task_state_store")

    def write(self, resource_id: str) -> None:
        """Set it before the start is sent, or a job could complete without it."""
        if self._store is not None:
            self._store.set(self._KEY, resource_id)

    def delete(self) -> None:
        """Delete it once a try is about to succeed with the job."""
        if self._store is not None:
            self._store.delete(self._KEY)

    def read(self) -> str | None:
        """Return the id; None where a try has used the job, or there is no store."""
        return None if self._store is None else self._store.get(self._KEY)

    def may_be(self, resource_id: str) -> bool:
        """Tell whether an earlier try may have started what has an id of the user's own."""
        return self._store is None or self.read() == resource_id
