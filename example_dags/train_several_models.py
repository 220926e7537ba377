"""Train several models on the same data, and serve one of them."""

from __future__ import annotations

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_neptune_ml.operators.neptune_ml import NeptuneMLStartModelTrainingJobOperator
from airflow_provider_neptune_ml.pipeline import NeptuneMLPipeline

with DAG(
    "train_several_models",
    schedule=None,
    default_args={"deferrable": True, "poll_interval": 10},
    tags=["neptune-ml"],
) as dag:
    # [START train_several_models]
    data = NeptuneMLPipeline(
        group_id="data",
        process={
            "input_data_s3_location": "s3://my-bucket/export/{{ ds }}",
            "processed_data_s3_location": "s3://my-bucket/processed/{{ ds }}",
        },
    )
    train = NeptuneMLStartModelTrainingJobOperator.partial(
        task_id="train",
        data_processing_job_id=data.process.output,
        train_model_s3_location="s3://my-bucket/models/{{ ds }}",
    ).expand_kwargs(
        [
            {"additional_parameters": {"modelName": "rgcn"}, "training_instance_type": "ml.g5.2xlarge"},
            {"additional_parameters": {"modelName": "transe"}, "training_instance_type": "ml.g5.xlarge"},
            {"additional_parameters": {"modelName": "rotate"}, "training_instance_type": "ml.g5.xlarge"},
        ]
    )

    @task(trigger_rule="all_done")
    def pick(job_ids: list[str]) -> str:
        """Return the training to serve, of those that completed: compare their metrics here."""
        return next(iter(job_ids))

    NeptuneMLPipeline(group_id="serve", train=pick(train.output), deploy={"endpoint_id": "movies"})
    # [END train_several_models]
