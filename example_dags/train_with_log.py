# [START train_with_log]
"""
Train a model, with the log of its stages in the log of the task.

Trigger it with the id of a data processing job that has completed. SageMaker writes the log of each stage to
CloudWatch; the task prints it while the job runs. Without `logs:FilterLogEvents`, one line says so.
"""

from __future__ import annotations

from airflow_provider_neptune_ml.operators.neptune_ml import NeptuneMLStartModelTrainingJobOperator

try:
    from airflow.sdk import DAG, Param
except ImportError:  # Airflow 2
    from airflow.models.dag import DAG  # type: ignore[no-redef]
    from airflow.models.param import Param  # type: ignore[import-not-found,no-redef]

with DAG(
    "train_with_log",
    description="Train a model, with the log of its stages in the log of the task",
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
    train = NeptuneMLStartModelTrainingJobOperator(
        task_id="train",
        data_processing_job_id="{{ params.data_processing_job_id }}",
        train_model_s3_location="{{ params.train_model_s3_location }}",
        deferrable=True,
        print_log=True,
    )
# [END train_with_log]
