"""Operators for tests, and what came of them."""

from __future__ import annotations

from typing import Any

from airflow_provider_neptune_ml.operators.neptune_ml import (
    NeptuneMLCancelModelTrainingJobOperator,
    NeptuneMLCreateEndpointOperator,
    NeptuneMLStartModelTrainingJobOperator,
)
from airflow_provider_neptune_ml.simulator import Simulator

START, GET, CANCEL = "StartMLModelTrainingJob", "GetMLModelTrainingJob", "CancelMLModelTrainingJob"


def start(**arguments: Any) -> NeptuneMLStartModelTrainingJobOperator:
    """Return an operator that starts a training and does not wait."""
    defaults = {
        "task_id": "train",
        "data_processing_job_id": "data-1",
        "train_model_s3_location": "s3://bucket/model",
        "wait_for_completion": False,
        "poll_interval": 0.01,
        "deferrable": False,
    }
    return NeptuneMLStartModelTrainingJobOperator(**{**defaults, **arguments})


def cancel(**arguments: Any) -> NeptuneMLCancelModelTrainingJobOperator:
    """Return an operator that cancels the job ``mine``."""
    defaults = {"task_id": "cancel", "job_id": "mine", "poll_interval": 0.01, "deferrable": False}
    return NeptuneMLCancelModelTrainingJobOperator(**{**defaults, **arguments})


def statuses(simulator: Simulator) -> dict[str, str]:
    """Return the status of every training job."""
    return {job["id"]: job["status"] for job in simulator.overview()["kinds"]["modeltraining"]}


def deploy(**arguments: Any) -> NeptuneMLCreateEndpointOperator:
    """Return an operator that creates the endpoint ``mine`` and waits for it."""
    defaults = {
        "task_id": "deploy",
        "endpoint_id": "mine",
        "ml_model_training_job_id": "training-1",
        "poll_interval": 0.01,
        "deferrable": False,
    }
    return NeptuneMLCreateEndpointOperator(**{**defaults, **arguments})
