# [START nightly_incremental]
"""
Apply a model to a growing graph every night; train it again if `retrain` is set.

The first run trains. The next ones process the new data and apply the model that was trained last.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from airflow_provider_neptune_ml.pipeline import NeptuneMLPipeline, previous_job_id

try:
    from airflow.sdk import DAG, Param, task
except ImportError:  # Airflow 2
    from airflow.decorators import task  # type: ignore[attr-defined,no-redef]
    from airflow.models.dag import DAG  # type: ignore[no-redef]
    from airflow.models.param import Param  # type: ignore[import-not-found,no-redef]

with DAG(
    "nightly_incremental",
    description="Apply a model to a growing graph every night, and train it again on request",
    doc_md=__doc__,
    schedule="@daily",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    # An example: its first run would start jobs that cost money.
    is_paused_upon_creation=True,
    params={
        "retrain": Param(
            False,
            type="boolean",
            title="Train again",
            description="Train with a warm start, instead of applying the last model to the new data.",
        ),
    },
    tags=["neptune-ml"],
) as dag:
    data = {
        "input_data_s3_location": "s3://my-bucket/export/{{ ds }}",
        "processed_data_s3_location": "s3://my-bucket/processed/{{ ds }}",
    }
    # Trains, with a warm start from the last training.
    retrain = NeptuneMLPipeline(
        group_id="retrain",
        process=data,
        train={"train_model_s3_location": "s3://my-bucket/models/{{ ds }}"},
        deploy={"endpoint_id": "fraud"},
        incremental=True,
        default_args={"deferrable": True},
    )
    # Applies the model that was trained last to today's graph.
    model = previous_job_id("retrain.train")
    trained_on = previous_job_id("retrain.train", key="data_processing_job_id")
    refresh = NeptuneMLPipeline(
        group_id="refresh",
        process={**data, "previous_data_processing_job_id": trained_on},
        train=model,
        transform={"model_transform_output_s3_location": "s3://my-bucket/transformed/{{ ds }}"},
        deploy={"endpoint_id": "fraud"},
        default_args={"deferrable": True},
    )

    @task.branch
    def choose(model: str, params: dict[str, Any] | None = None) -> str:
        """Train in the first run, and if `retrain` is set."""
        return "refresh" if model and params and not params["retrain"] else "retrain"

    choose(model) >> [retrain, refresh]
# [END nightly_incremental]
