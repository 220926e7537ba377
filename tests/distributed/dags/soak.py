"""Waits without a worker, ten in each run: Airflow sends the whole Dag to a triggerer with each of them."""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_provider_neptune_ml.sensors.neptune_ml import NeptuneMLModelTrainingJobSensor
from tests.distributed.waits import SOAK_INTERVAL_SECONDS, SOAK_WAITS_PER_RUN

with DAG("soak", schedule=None, max_active_runs=1000, max_active_tasks=10_000):
    for number in range(SOAK_WAITS_PER_RUN):
        NeptuneMLModelTrainingJobSensor(
            task_id=f"wait_{number}",
            job_id="soak-{{ dag_run.conf['number'] }}-" + str(number),
            poke_interval=SOAK_INTERVAL_SECONDS,
            start_from_trigger=True,
            end_from_trigger=True,
        )
