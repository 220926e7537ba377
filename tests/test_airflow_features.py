"""What users of Airflow take for granted of any operator."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_neptune_ml.operators.neptune_ml import (
    NeptuneMLCancelModelTrainingJobOperator,
    NeptuneMLStartModelTrainingJobOperator,
)
from airflow_provider_neptune_ml.sensors.neptune_ml import NeptuneMLModelTrainingJobSensor
from tests.sdk import DAG

DEFAULTS: dict[str, Any] = {
    "neptune_ml_conn_id": "cluster",
    "aws_conn_id": None,
    "region_name": "eu-west-1",
    "poke_interval": 7,
    "poll_interval": 8,
    "unreachable_timeout": 9,
    "durable": False,
    "clean": True,
    "target_statuses": ["Stopped"],
}


def test_default_args_reach_every_argument() -> None:
    """Arguments of the bases and of the leaves can be given as default_args of the Dag."""
    with DAG("defaults", schedule=None, default_args=DEFAULTS):
        wait = NeptuneMLModelTrainingJobSensor(task_id="wait", job_id="mine")
        start = NeptuneMLStartModelTrainingJobOperator(
            task_id="start", data_processing_job_id="data-1", train_model_s3_location="s3://bucket/model"
        )
        cancel = NeptuneMLCancelModelTrainingJobOperator(task_id="cancel", job_id="mine")

    for task in (wait, start, cancel):
        assert (task.neptune_ml_conn_id, task.aws_conn_id, task.region_name) == ("cluster", None, "eu-west-1")
        assert task.unreachable_timeout == 9
    assert (wait.poke_interval, wait.target_statuses) == (7, ["Stopped"])
    assert (start.poll_interval, start.durable) == (8, False)
    assert cancel.clean


@pytest.mark.parametrize("mode", ["poke", "reschedule"])
def test_tasks_can_be_mapped(mode: str) -> None:
    """Ids can be expanded over."""
    with DAG("mapped", schedule=None):
        start = NeptuneMLStartModelTrainingJobOperator.partial(
            task_id="start", train_model_s3_location="s3://bucket/model", wait_for_completion=False
        ).expand(data_processing_job_id=["data-1", "data-2"])
        wait = NeptuneMLModelTrainingJobSensor.partial(task_id="wait", mode=mode).expand(job_id=start.output)

    assert wait.upstream_task_ids == {"start"}


def test_templates_are_rendered() -> None:
    """Templates are rendered in texts, lists and dicts."""
    task = NeptuneMLStartModelTrainingJobOperator(
        task_id="start",
        job_id="{{ name }}",
        data_processing_job_id="{{ name }}",
        train_model_s3_location="s3://bucket/{{ name }}",
        subnets=["subnet-{{ name }}"],
        custom_model_training_parameters={"sourceS3DirectoryPath": "s3://code/{{ name }}"},
        additional_parameters={"modelName": "{{ name }}"},
    )

    context: Any = {"name": "mine"}
    task.render_template_fields(context)

    assert (task.job_id, task.subnets) == ("mine", ["subnet-mine"])
    assert task.custom_model_training_parameters == {"sourceS3DirectoryPath": "s3://code/mine"}
    assert task.additional_parameters == {"modelName": "mine"}
