# [START train_with_cleanup]
"""
Train, and cancel the job when another task fails.

Trigger it with *Data are good* off: the check fails while the training runs, `cancel` cancels the training,
and the run fails as it should.
"""

from __future__ import annotations

from typing import Any

from airflow_provider_neptune_ml.operators.neptune_ml import (
    NeptuneMLCancelModelTrainingJobOperator,
    NeptuneMLStartModelTrainingJobOperator,
)
from airflow_provider_neptune_ml.sensors.neptune_ml import NeptuneMLModelTrainingJobSensor

try:
    from airflow.sdk import DAG, Param, task
except ImportError:  # Airflow 2
    from airflow.decorators import task  # type: ignore[attr-defined,no-redef]
    from airflow.models.dag import DAG  # type: ignore[no-redef]
    from airflow.models.param import Param  # type: ignore[import-not-found,no-redef]

with DAG(
    "train_with_cleanup",
    description="Train a model, and cancel the training when another task fails",
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
        "data_is_good": Param(
            True,
            type="boolean",
            title="Data are good",
            description="Off: the check fails, and the training is cancelled.",
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
    def check_data(params: dict[str, Any] | None = None) -> None:
        """Check, while the training runs, whether its data are good."""
        if params and not params["data_is_good"]:
            raise ValueError("The data is not good: no need to go on training.")

    @task
    def use_model(training: Any) -> str:
        """Run when the training has completed and the check passed."""
        return str(training["processingJob"]["outputLocation"])

    checked = check_data()
    cancel = NeptuneMLCancelModelTrainingJobOperator(
        task_id="cancel",
        job_id="{{ ti.xcom_pull(task_ids='start') }}",
        trigger_rule="one_failed",
    )

    @task(trigger_rule="one_failed", retries=0)
    def fail_run() -> None:
        """Fail the run, which Airflow takes for a success if its last task is `cancel`."""
        raise RuntimeError("A check failed, and the training was cancelled.")

    start >> checked >> cancel
    [checked, cancel] >> fail_run()

    model = use_model(wait.output)

    clean_up = NeptuneMLCancelModelTrainingJobOperator(
        task_id="clean_up", job_id=start.output, ignore_missing=True
    ).as_teardown(setups=start)
    [checked, wait] >> model >> clean_up
    cancel >> clean_up
# [END train_with_cleanup]
