"""Pipelines that the tests run; Airflow 3 runs only what it finds in a Dags folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_neptune_ml.compat import AIRFLOW_V_3_0_PLUS
from airflow_provider_neptune_ml.pipeline import NeptuneMLPipeline

if TYPE_CHECKING or AIRFLOW_V_3_0_PLUS:
    from airflow.sdk import DAG, task_group
else:
    from airflow.decorators import task_group
    from airflow.models.dag import DAG

with DAG("lost_sight", schedule=None) as lost_sight:
    NeptuneMLPipeline(
        process="data-1",
        train={"train_model_s3_location": "s3://bucket/models", "unreachable_timeout": 0},
        deploy={"endpoint_id": "fraud"},
        default_args={"poll_interval": 0.1},
    )

with DAG("mapped_pipelines", schedule=None) as mapped_pipelines:

    @task_group
    def one(location: str) -> None:
        """Train a model on the data of one location."""
        NeptuneMLPipeline(
            process={"input_data_s3_location": "s3://bucket/export", "processed_data_s3_location": location},
            train={"train_model_s3_location": "s3://bucket/models"},
            incremental=True,
            default_args={"poll_interval": 0.1},
        )

    one.expand(location=["s3://one/data", "s3://two/data"])
