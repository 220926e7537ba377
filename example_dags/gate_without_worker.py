# [START gate_without_worker_dag]
"""
Wait for a training job without any worker, and go on only if it completed.

The wait starts and ends in the triggerer on Airflow 3.3 or newer; elsewhere a worker starts it. Trigger it
with the id of a training job of the cluster.
"""

from __future__ import annotations

from typing import Any

from airflow_provider_neptune_ml.sensors.neptune_ml import NeptuneMLModelTrainingJobSensor

try:
    from airflow.sdk import DAG, Param, task
except ImportError:  # Airflow 2
    from airflow.decorators import task  # type: ignore[attr-defined,no-redef]
    from airflow.models.dag import DAG  # type: ignore[no-redef]
    from airflow.models.param import Param  # type: ignore[import-not-found,no-redef]

with DAG(
    "gate_without_worker",
    description="Wait for a training job in the triggerer alone, and go on only if it completes",
    doc_md=__doc__,
    schedule=None,
    params={
        "job_id": Param(
            "my-training",
            type="string",
            title="Training job",
            description="Id of the training job to wait for.",
        ),
    },
    tags=["neptune-ml"],
) as dag:
    # [START gate_without_worker]
    wait = NeptuneMLModelTrainingJobSensor(
        task_id="wait", job_id="{{ params.job_id }}", start_from_trigger=True, end_from_trigger=True
    )
    # [END gate_without_worker]

    @task
    def use_model(training: Any) -> str:
        """Run when the training has completed."""
        return str(training["processingJob"]["outputLocation"])

    use_model(wait.output)
# [END gate_without_worker_dag]
