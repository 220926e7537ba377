"""How far a rescheduled sensor has printed a log: each of its pokes is a process that knows of no other."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING

from airflow_provider_neptune_ml.base import task_instance_of
from airflow_provider_neptune_ml.compat import cleared_xcom_keys, end_of_last_poke
from airflow_provider_neptune_ml.logs import FROM_THE_FIRST, OVERLAP_MS, Position

if TYPE_CHECKING:
    from airflow_provider_neptune_ml.compat import Context

_KEY = re.compile(r"neptune_ml_log_(\d+)_(\d+)_(\d+)")
# The poke before has read the log shortly before it ended.
_READ_BEFORE_END_MS = 1000


def earlier_position(context: Context) -> Position:
    """
    Return how far the poke before has printed.

    Airflow clears a task's XComs before each poke, and knows their keys still: Airflow 3 tells them.
    Airflow 2 tells when the poke before ended, so that lines of its last second may come twice.
    """
    ti = task_instance_of(context)
    for found in filter(None, map(_KEY.fullmatch, cleared_xcom_keys(ti))):
        attempt, start, after = map(int, found.groups())
        if attempt == ti.try_number:
            return Position(start, after)
    if ended := end_of_last_poke(ti):
        after = int(ended * 1000) - _READ_BEFORE_END_MS
        return Position(after - OVERLAP_MS, after)
    return FROM_THE_FIRST


def remember_position(context: Context, position: Position) -> None:
    """Push how far this poke has printed, as the key of an XCom, for :func:`earlier_position` of the next."""
    if not position.after:
        return
    ti = task_instance_of(context)
    with suppress(Exception):  # whatever an XCom backend raises: no log fails a task
        ti.xcom_push(key=f"neptune_ml_log_{ti.try_number}_{position.start}_{position.after}", value=True)
