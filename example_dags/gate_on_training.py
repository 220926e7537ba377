# [START gate_on_training]
"""
Start a training job, wait for it, and go on only if it completed.

Trigger it with the id of a data processing job that has completed. When the training fails, `wait` fails with
its stage and reason, and `use_model` does not run.
"""

from __future__ import annotations

from typing import Any

from airflow_provider_neptune_ml.operators.neptune_ml import NeptuneMLStartModelTrainingJobOperator
from airflow_provider_neptune_ml.sensors.neptune_ml import NeptuneMLModelTrainingJobSensor

try:
    from airflow.sdk import DAG, Param, task
except ImportError:  # Airflow 2
    from airflow.decorators import task  # type: ignore[attr-defined,no-redef]
    from airflow.models.dag import DAG  # type: ignore[no-redef]
    from airflow.models.param import Param  # type: ignore[import-not-found,no-redef]

with DAG(
    "gate_on_training",
    description="Train a model, and go on only if the training completes",
    doc_md=__doc__,
    schedule=None,
    params={
        "data_processing_job_id": Param(
            "nightly-data",
            type="string",
            title="Data processing job",
            description="Id of the completed data processing job to train on.",
        ),
        "train_model_s3_location": Param(
            "s3://my-bucket/models",
            type="string",
            title="S3 location of the model",
            description="Where SageMaker writes the model's artifacts.",
        ),
    },
    tags=["neptune-ml"],
) as dag:
    start = NeptuneMLStartModelTrainingJobOperator(
        task_id="start",
        data_processing_job_id="{{ params.data_processing_job_id }}",
        train_model_s3_location="{{ params.train_model_s3_location }}",
        wait_for_completion=False,
    )
    wait = NeptuneMLModelTrainingJobSensor(task_id="wait", job_id=start.output, mode="reschedule")

    @task
    def use_model(training: Any) -> str:
        return str(training["processingJob"]["outputLocation"])  # where the model's artifacts are

    use_model(wait.output)
    # [END gate_on_training]
