"""Tasks of the export service for tests, and what came of their jobs."""

from __future__ import annotations

from typing import Any

from airflow_provider_neptune_ml.operators.export import (
    NeptuneMLCancelExportJobOperator,
    NeptuneMLStartExportJobOperator,
)
from airflow_provider_neptune_ml.simulator import Simulator

START, GET, CANCEL = "StartExportJob", "GetExportJob", "CancelExportJob"
OUTPUT = "s3://bucket/exports"


def start(**arguments: Any) -> NeptuneMLStartExportJobOperator:
    """Return an operator that starts an export and waits for it."""
    defaults = {"task_id": "train", "output_s3_path": OUTPUT, "poll_interval": 0.01, "deferrable": False}
    return NeptuneMLStartExportJobOperator(**{**defaults, **arguments})


def cancel(**arguments: Any) -> NeptuneMLCancelExportJobOperator:
    """Return an operator that cancels the job ``mine``."""
    defaults = {"task_id": "cancel", "job_id": "mine", "poll_interval": 0.01, "deferrable": False}
    return NeptuneMLCancelExportJobOperator(**{**defaults, **arguments})


def statuses(simulator: Simulator) -> dict[str, str]:
    """Return the status of every export job, in the order of their starts."""
    return {job["id"]: job["status"] for job in simulator.overview()["kinds"]["export"]}


def started(simulator: Simulator) -> str:
    """Return the id of the one job that there is."""
    [job] = statuses(simulator)
    return job
