"""
The Dags of the benchmarks: the same waits in three ways, all at once or each with a task behind it.

Which jobs are waited for is what `benchmarks/local.py` starts; how many, environment variables say.
"""

from __future__ import annotations

import os
from typing import Any

from airflow.sdk import DAG, task

from airflow_provider_neptune_ml.sensors.neptune_ml import NeptuneMLModelTrainingJobSensor
from benchmarks.peer import PeerSensor

WAYS: dict[str, tuple[Any, dict[str, bool]]] = {
    "triggerer": (NeptuneMLModelTrainingJobSensor, {"start_from_trigger": True, "end_from_trigger": True}),
    "deferrable": (NeptuneMLModelTrainingJobSensor, {"deferrable": True}),
    "peer": (PeerSensor, {"deferrable": True}),
}
AT_ONCE = int(os.environ["BENCHMARK_AT_ONCE"])
FOLLOWED = int(os.environ["BENCHMARK_FOLLOWED"])
INTERVAL = int(os.environ["BENCHMARK_INTERVAL"])


@task
def go_on() -> None:
    """Come behind a wait."""


for way, (sensor, mode) in WAYS.items():
    with DAG(way, schedule=None, max_active_tasks=AT_ONCE):
        for number in range(AT_ONCE):
            sensor(task_id=f"wait_{number:03}", job_id=f"{way}-{number:05}", poke_interval=INTERVAL, **mode)
    with DAG(f"{way}_followed", schedule=None, max_active_tasks=FOLLOWED):
        for number in range(FOLLOWED):
            wait = sensor(
                task_id=f"wait_{number:03}", job_id=f"{way}-{number:05}", poke_interval=INTERVAL, **mode
            )
            wait >> go_on.override(task_id=f"after_{number:03}")()
