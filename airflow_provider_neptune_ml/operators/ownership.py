"""Ids that name their task instance, and the marker of a job that no try has consumed."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from airflow_provider_neptune_ml.kinds import ID_MAX_LENGTH

if TYPE_CHECKING:
    from datetime import datetime

    from airflow_provider_neptune_ml.compat import Context


def ids_of(ti: Any, attempt: int, run_began: datetime | None) -> Iterator[str]:
    """
    Yield the ids of one try of a task instance, in the order in which they are used.

    The second and later ones are for tries that Airflow runs twice: their first ids exist.

    :param ti: the task instance.
    :param attempt: the number of the try.
    :param run_began: when its Dag run began, which another Airflow's run of the same name does not share;
        None: not known, as in the ids of versions before 1.0.
    """
    key = _digest("\n".join((ti.dag_id, ti.run_id, ti.task_id, str(ti.map_index))), 12)
    run = f"-{_digest(f'{run_began.timestamp():.3f}', 6)}" if run_began else ""
    words = re.sub(r"[^A-Za-z0-9]+", "-", f"{ti.dag_id}-{ti.task_id}").strip("-") or "airflow"
    for again in itertools.count(1):
        suffix = f"-{key}{run}-{attempt}" + (f"-{again}" if again > 1 else "")
        yield words[: ID_MAX_LENGTH - len(suffix)].rstrip("-") + suffix


def _digest(text: str, length: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:length]


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

    def write(self, resource_id: str, arn: str = "") -> None:
        """
        Set it before the start is sent, or a job could complete without it.

        :param resource_id: the id.
        :param arn: the ARN that the reply gave (default: no reply yet).
        """
        if self._store is not None:
            self._store.set(self._KEY, f"{resource_id} {arn}".rstrip())

    def delete(self) -> None:
        """Delete it once a try is about to succeed with the job."""
        if self._store is not None:
            self._store.delete(self._KEY)

    def read(self) -> tuple[str | None, str]:
        """Return id and ARN; None for an id where a try has used the job, or there is no store."""
        text = None if self._store is None else self._store.get(self._KEY)
        resource_id, _, arn = (text or "").partition(" ")
        return resource_id or None, arn

    @property
    def is_kept(self) -> bool:
        """Whether there is a store, so that a marker which is missing means something."""
        return self._store is not None
