# [START approve_deployment]
"""
Process a graph and train a model on it; a person approves the model before it is deployed.

Trigger it as it is. When the training has completed, the task `approve` waits for you: answer under *Required
Actions* (Airflow 3.1 or newer), or mark the task as a success. *Reject* skips the deployment.
"""

from __future__ import annotations

from typing import Any

from airflow import __version__ as airflow_version
from packaging.version import Version

from airflow_provider_neptune_ml.pipeline import NeptuneMLPipeline

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2
    from airflow.decorators import task  # type: ignore[attr-defined,no-redef]
    from airflow.models.dag import DAG  # type: ignore[no-redef]

with DAG(
    "approve_deployment",
    description="Train a model, and deploy it when a person has approved it",
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
        train={"train_model_s3_location": "s3://my-bucket/models/{{ ds }}"},
        deploy={"endpoint_id": "fraud"},
        default_args={"deferrable": True},
    )
    approve: Any
    if Version(airflow_version) >= Version("3.1"):
        # Asks under "Required Actions" in the UI; "Reject" skips the deployment.
        from airflow.providers.standard.operators.hitl import ApprovalOperator

        approve = ApprovalOperator(
            task_id="approve",
            subject="Deploy the model of {{ ds }}?",
            body="Training job {{ ti.xcom_pull(task_ids='fraud.train') }}",
        )
    else:
        # Waits until a user marks it as a success, or as failed.
        @task.sensor(task_id="approve", mode="reschedule", poke_interval=300, timeout=7 * 24 * 60 * 60)
        def wait_for_a_person() -> bool:
            return False

        approve = wait_for_a_person()

    pipeline.train >> approve >> pipeline.deploy
# [END approve_deployment]
