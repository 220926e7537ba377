"""A Dag for each row of docs/reliability.md that only a distributed Airflow has, named like it."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Asset, AssetWatcher

from airflow_provider_neptune_ml.operators.neptune_ml import (
    NeptuneMLCreateEndpointOperator,
    NeptuneMLStartModelTrainingJobOperator,
)
from airflow_provider_neptune_ml.pipeline import NeptuneMLPipeline
from airflow_provider_neptune_ml.sensors.neptune_ml import NeptuneMLModelTrainingJobSensor
from airflow_provider_neptune_ml.triggers.events import NeptuneMLJobEventTrigger
from tests.distributed.waits import FEW, HELD, MANY, SENSORS, SERVING, STARTS, sensor_job

if TYPE_CHECKING:
    from airflow_provider_neptune_ml.compat import Context

POLL_SECONDS = 10
MODELS = "s3://bucket/models"
MODES: dict[str, dict[str, Any]] = {
    "poke": {"mode": "poke"},
    "reschedule": {"mode": "reschedule", "poke_interval": 60},
    "deferrable": {"deferrable": True},
    "without_worker": {"start_from_trigger": True, "end_from_trigger": True},
}

# What is killed is tried again, more than once where components die one after the other.
RETRIED: dict[str, Any] = {"retries": 3, "retry_delay": timedelta(0)}
dag_of_row = partial(DAG, schedule=None, default_args=RETRIED)
train = partial(NeptuneMLStartModelTrainingJobOperator, train_model_s3_location=MODELS, poll_interval=1)
mapped = partial(NeptuneMLStartModelTrainingJobOperator.partial, train_model_s3_location=MODELS)
deploy = partial(NeptuneMLCreateEndpointOperator, ml_model_training_job_id="model", poll_interval=1)


class LingeringEndpoint(NeptuneMLCreateEndpointOperator):
    """A task that goes on running, when its endpoint is in service, until somebody removes a file."""

    def execute_complete(self, context: Context, event: Any = None) -> Any:
        """Linger, and then return what the operator returns."""
        mark = Path(os.environ["AIRFLOW_HOME"], "lingers")
        mark.touch()
        while mark.exists():
            time.sleep(0.5)
        return super().execute_complete(context, event)


with dag_of_row("everything_at_once"):
    for name, options in {"start_deferred": {"deferrable": True}, "start_on_worker": {}}.items():
        mapped(task_id=name, poll_interval=POLL_SECONDS, **options).expand(
            data_processing_job_id=["data"] * STARTS[name]
        )
    for name, options in MODES.items():
        for number in range(SENSORS[name]):
            NeptuneMLModelTrainingJobSensor(
                task_id=f"{name}_{number}",
                job_id=sensor_job(name, number),
                **{"poke_interval": POLL_SECONDS, **options},
            )
    NeptuneMLPipeline(
        process={
            "input_data_s3_location": "s3://bucket/export",
            "processed_data_s3_location": "s3://bucket/in",
        },
        train={"train_model_s3_location": MODELS},
        deploy={"endpoint_id": SERVING},
        default_args={"deferrable": True, "poll_interval": POLL_SECONDS, **RETRIED},
    )

with dag_of_row("many_deferred"):
    mapped(task_id="job", deferrable=True, poll_interval=30, pool=FEW).expand(
        data_processing_job_id=["data"] * MANY
    )

with dag_of_row("triggerer_hung"):
    train(task_id="waiting", data_processing_job_id="data", deferrable=True)
    train(task_id="retried", data_processing_job_id="data", deferrable=True)
    deploy(task_id="queued", deferrable=True, queue=HELD)
    LingeringEndpoint(task_id="running", ml_model_training_job_id="model", deferrable=True, poll_interval=1)
    deploy(task_id="done", deferrable=True)

with dag_of_row("servers_restarted"):
    mapped(task_id="deferred", deferrable=True, poll_interval=1).expand(data_processing_job_id=["data"] * 8)
    mapped(task_id="on_worker", poll_interval=1).expand(data_processing_job_id=["data"] * 4)
    # Of these, Redis has only the message when it goes.
    mapped(task_id="queued", deferrable=True, poll_interval=1, queue=HELD).expand(
        data_processing_job_id=["data"] * 4
    )

watched = Asset(
    "watched-trainings",
    watchers=[
        AssetWatcher(name="trainings", trigger=NeptuneMLJobEventTrigger(job_id="watched-*", poll_interval=2))
    ],
)
with DAG("watcher", schedule=[watched]):
    EmptyOperator(task_id="use")
