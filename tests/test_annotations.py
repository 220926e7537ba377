"""What Dag files may pass: `make types` checks these calls strictly, without a cast, like those of users."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_neptune_ml.operators.neptune_ml import (
    NeptuneMLCancelModelTrainingJobOperator,
    NeptuneMLCreateEndpointOperator,
    NeptuneMLDeleteEndpointOperator,
    NeptuneMLModelMetricsOperator,
    NeptuneMLStartDataProcessingJobOperator,
    NeptuneMLStartModelTrainingJobOperator,
    NeptuneMLStartModelTransformJobOperator,
)
from airflow_provider_neptune_ml.pipeline import NeptuneMLPipeline
from airflow_provider_neptune_ml.sensors.neptune_ml import (
    NeptuneMLEndpointSensor,
    NeptuneMLModelTrainingJobSensor,
)
from tests.sdk import DAG, task

if TYPE_CHECKING:
    from collections.abc import Sequence


@task
def settings() -> Any:
    """Stand for a task that returns what is only known at run time."""


def test_values_templates_and_outputs() -> None:
    """Every argument takes what Airflow lets people pass for it; upstream tasks are found in each."""
    with DAG("typed", schedule=None):
        known = settings()
        process = NeptuneMLStartDataProcessingJobOperator(
            task_id="process",
            input_data_s3_location="s3://bucket/export",
            processed_data_s3_location="{{ params.output }}",
            processing_instance_volume_size_in_gb="{{ params.gigabytes }}",
            processing_time_out_in_seconds=3600,
            subnets=["subnet-1"],
            security_group_ids="{{ params.groups }}",
            botocore_config={"read_timeout": "{{ params.seconds }}"},
            poll_interval=timedelta(minutes=1),
            timeout=timedelta(hours=6),
            unreachable_timeout=600,
        )
        train = NeptuneMLStartModelTrainingJobOperator(
            task_id="train",
            data_processing_job_id=process.output,
            train_model_s3_location="s3://bucket/models",
            max_hpo_number_of_training_jobs=known,
            max_hpo_parallel_training_jobs="{{ params.jobs }}",
            subnets=known,
            enable_managed_spot_training="{{ params.spot }}",
            custom_model_training_parameters=known,
            additional_parameters={"modelName": known},
            verify="{{ var.value.bundle }}",
            region_name=known,
            execution_timeout=timedelta(hours=6),
        )
        transform = NeptuneMLStartModelTransformJobOperator(
            task_id="transform",
            model_transform_output_s3_location="s3://bucket/transformed",
            data_processing_job_id=process.output,
            ml_model_training_job_id=train.output,
            custom_model_transform_parameters={"sourceS3DirectoryPath": "s3://bucket/code"},
        )
        check = NeptuneMLModelMetricsOperator(
            task_id="check",
            job_id=train.output,
            minimum={"eval.accuracy": "{{ params.least }}"},
            maximum=known,
        )
        create = NeptuneMLCreateEndpointOperator(
            task_id="create",
            endpoint_id="{{ params.endpoint }}",
            ml_model_transform_job_id=transform.output,
            update="{{ params.update }}",
            instance_count=known,
        )
        statuses: Sequence[str] = ("Completed", "Stopped")
        waits = [
            NeptuneMLModelTrainingJobSensor(
                task_id="wait", job_id=train.output, target_statuses=statuses, timeout=timedelta(hours=6)
            ),
            NeptuneMLEndpointSensor(task_id="serve", endpoint_id=create.output, target_statuses=known),
        ]
        ends = [
            NeptuneMLCancelModelTrainingJobOperator(task_id="cancel", job_id=train.output),
            NeptuneMLDeleteEndpointOperator(task_id="delete", endpoint_id=create.output),
        ]
        pipeline = NeptuneMLPipeline(
            process=settings.override(task_id="data")(), train={"train_model_s3_location": known}
        )

    assert train.upstream_task_ids == {"process", "settings"}
    assert check.upstream_task_ids == {"train", "settings"}
    assert [each.upstream_task_ids for each in waits] == [{"train"}, {"create", "settings"}]
    assert [each.upstream_task_ids for each in ends] == [{"train"}, {"create"}]
    assert pipeline.train.upstream_task_ids == {"data", "settings"}
