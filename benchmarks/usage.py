"""What a real Airflow uses of the machine."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import psutil

from dev.local_airflow import DATABASE

if TYPE_CHECKING:
    from dev.local_airflow import LocalAirflow

# What a worker process asks the API server for before it runs a task, once in its life.
_STARTED = re.compile(r"method=PATCH path=/execution/task-instances/[^/ ]+/run .*status_code=200")
_STATES = "SELECT task_id, state FROM task_instance WHERE dag_id = ? AND run_id = ?"


def cpu_seconds(airflow: LocalAirflow) -> float:
    """Return what all processes of an Airflow have used; of the ended ones, their parents know it."""
    total = 0.0
    for component in airflow.processes.values():
        for process in component.members():
            with suppress(psutil.NoSuchProcess):
                total += sum(process.cpu_times()[:4])
    return total


def workers_started(airflow: LocalAirflow) -> int:
    """Return how many worker processes have begun a task."""
    log = airflow.processes["api-server"].log
    return len(_STARTED.findall(log.read_text(errors="replace")))


def task_states(airflow: LocalAirflow, dag_id: str, run_id: str) -> dict[str, str | None]:
    """
    Return the state of each task of a Dag run.

    From the database: to ask the API server costs CPU seconds of the very Airflow that is measured.
    """
    uri = f"file:{airflow.home / DATABASE}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=30)) as database:
        return dict(database.execute(_STATES, (dag_id, run_id)).fetchall())
