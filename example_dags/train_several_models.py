"""
Train several knowledge-graph models on the same data, and serve one of them.

Trigger it as it is. The trainings run side by side, and one that fails does not stop the others.
"""

from __future__ import annotations

from typing import Any

from airflow_provider_neptune_ml.operators.neptune_ml import NeptuneMLStartModelTrainingJobOperator
from airflow_provider_neptune_ml.pipeline import NeptuneMLPipeline

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2
    from airflow.decorators import task  # type: ignore[attr-defined,no-redef]
    from airflow.models.dag import DAG  # type: ignore[no-redef]

with DAG(
    "train_several_models",
    description="Train three knowledge-graph models on the same data, and serve one of them",
    doc_md=__doc__,
    schedule=None,
    default_args={"deferrable": True},
    tags=["neptune-ml"],
) as dag:
    # [START train_several_models]
    data = NeptuneMLPipeline(
        group_id="data",
        process={
            "input_data_s3_location": "s3://my-bucket/export/{{ ds }}",
            "processed_data_s3_location": "s3://my-bucket/processed/{{ ds }}",
            "model_type": "kge",
        },
    )
    train = NeptuneMLStartModelTrainingJobOperator.partial(
        task_id="train",
        data_processing_job_id=data.process.output,
        train_model_s3_location="s3://my-bucket/models/{{ ds }}",
        training_instance_type="ml.g5.2xlarge",
    ).expand(
        additional_parameters=[{"modelName": "transe"}, {"modelName": "distmult"}, {"modelName": "rotate"}]
    )

    @task(trigger_rule="all_done")
    def pick(job_ids: Any) -> str:
        """Return the training to serve, of those that completed: compare their metrics here."""
        return str(next(iter(job_ids)))

    NeptuneMLPipeline(group_id="serve", train=pick(train.output), deploy={"endpoint_id": "movies"})
    # [END train_several_models]
