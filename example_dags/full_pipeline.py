# [START full_pipeline]
"""
Process a graph, train a model on it and serve it: the whole lifecycle in one call.

Trigger it as it is. Its steps wait in the triggerer. The next run changes the endpoint that this one creates.
"""

from __future__ import annotations

from airflow_provider_neptune_ml.pipeline import NeptuneMLPipeline

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2
    from airflow.decorators import task  # type: ignore[attr-defined,no-redef]
    from airflow.models.dag import DAG  # type: ignore[no-redef]

with DAG(
    "full_pipeline",
    description="Process a graph, train a model on it and serve it, in one call",
    doc_md=__doc__,
    schedule=None,
    tags=["neptune-ml"],
) as dag:
    pipeline = NeptuneMLPipeline(
        group_id="fraud",
        process={
            "input_data_s3_location": "s3://my-bucket/export/{{ ds }}",
            "processed_data_s3_location": "s3://my-bucket/processed/{{ ds }}",
        },
        train={
            "train_model_s3_location": "s3://my-bucket/models/{{ ds }}",
            "training_instance_type": "ml.g5.2xlarge",
            "max_hpo_number_of_training_jobs": 10,
        },
        deploy={"endpoint_id": "fraud", "instance_type": "ml.m5.xlarge"},
        default_args={"deferrable": True},
    )
    # [END full_pipeline]

    # [START full_pipeline_tasks]
    @task
    def check_export() -> None:
        """Check what has to be true before the first job, which costs money, starts."""

    @task
    def announce(endpoint_id: str) -> str:
        """Run when the new model is in service."""
        return f"{endpoint_id} serves a new model"

    check_export() >> pipeline.process
    announce(pipeline.deploy.output)
    # [END full_pipeline_tasks]
