"""Whose job is it: the ids that name their task instance, and what proves that a job is still unused."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_neptune_ml.exceptions import NeptuneMLServiceError
from airflow_provider_neptune_ml.kinds import ID_MAX_LENGTH

if TYPE_CHECKING:
    from airflow_provider_neptune_ml.compat import Context


def ids_of(ti: Any, attempt: int) -> Iterator[str]:
    """
    Yield the ids of one try of a task instance, in the order in which they are used.

    The second and later ones are for Dag runs that were deleted and made again: their ids are taken.
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


class Unused:
    """
    The note that no try has used a job yet, in Airflow's task state store.

    The store outlives tries, unlike XComs. Airflow before 3.3 has none: there nothing is proven.
    """

    _KEY = "neptune_ml_unused"

    def __init__(self, context: Context) -> None:
        self._store: Any = context.get("task_state_store")

    def remember(self, resource_id: str) -> None:
        """Note it before the start is sent, or a job could complete without a note."""
        if self._store is not None:
            self._store.set(self._KEY, resource_id)

    def forget(self) -> None:
        """Take the note back once a try is about to succeed with the job."""
        if self._store is not None:
            self._store.delete(self._KEY)

    def may_be(self, resource_id: str) -> bool:
        """Tell whether an earlier try may have started what has an id of the user's own."""
        return self._store is None or self.noted() == resource_id

    def noted(self) -> str | None:
        """Return the id of the job that was started last, if no try has used it."""
        return None if self._store is None else self._store.get(self._KEY)


@dataclass(frozen=True)
class Taken:
    """
    The job that has an id which a start wanted.

    :param description: what the service says of it.
    :param refusal: what it said of the start.
    :param certainly_ours: whether an earlier sending of the same request may have made it.
    """

    description: Mapping[str, Any]
    refusal: NeptuneMLServiceError
    certainly_ours: bool
