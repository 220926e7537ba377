"""A Dag for each row of docs/reliability.md, named like it."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_neptune_ml.compat import AIRFLOW_V_3_0_PLUS
from airflow_provider_neptune_ml.operators.export import NeptuneMLStartExportJobOperator
from airflow_provider_neptune_ml.operators.neptune_ml import (
    NeptuneMLStartDataProcessingJobOperator,
    NeptuneMLStartModelTrainingJobOperator,
)

if TYPE_CHECKING or AIRFLOW_V_3_0_PLUS:
    from airflow.sdk import DAG
else:
    from airflow.models.dag import DAG

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_neptune_ml.compat import Context

FOREVER_SECONDS = 3600.0
WHILE_DEFERRED = (
    "triggerer_killed",
    "triggerer_stopped",
    "triggerer_comes_back",
    "deferred_marked_failed",
    "deferred_marked_success",
    "deferred_cleared",
    "job_failed",
    "cleared_after_success",
)
WHILE_ON_WORKER = (
    "worker_killed_in_wait",
    "worker_shut_down",
    "completed_while_dead",
    "running_marked_failed",
    "running_marked_success",
    "running_cleared",
)
WHILE_EITHER = ("api_server_killed", "scheduler_killed", "dag_run_failed")

dag_of_row = partial(
    DAG, schedule=None, default_args={"poll_interval": 1, "retries": 1, "retry_delay": timedelta(0)}
)
train = partial(
    NeptuneMLStartModelTrainingJobOperator,
    data_processing_job_id="data",
    train_model_s3_location="s3://bucket/models",
)
export = partial(
    NeptuneMLStartExportJobOperator,
    output_s3_path="s3://bucket/exports/{{ ti.dag_id }}/{{ ti.task_id }}",
)


def stand_still_at(
    moment: str, operation: str = "neptunedata.StartMLModelTrainingJob", mark: str = "", send: bool = False
) -> Callable[[Context], None]:
    """
    Make a task's first try hang in the middle of its start request, until it is killed.

    :param moment: An event of botocore, as `before-send`.
    :param operation: Of the start, with its service.
    :param mark: What the test waits for (default: the moment).
    :param send: Whether the request is sent before, and its answer not read.
    """

    def stand_still(request: Any = None, **_: Any) -> None:
        if send:
            from botocore.httpsession import URLLib3Session

            URLLib3Session().send(request)
        Path(os.environ["AIRFLOW_HOME"], f"stands-at-{mark or moment}").touch()
        time.sleep(FOREVER_SECONDS)

    def before(context: Context) -> None:
        if context["ti"].try_number == 1:
            task: Any = context["task"]
            task.hook.start_conn.meta.events.register(f"{moment}.{operation}", stand_still)

    return before


for row in WHILE_DEFERRED:
    with dag_of_row(row):
        train(task_id="job", deferrable=True)

for row in WHILE_ON_WORKER:
    with dag_of_row(row):
        train(task_id="job")

for row in WHILE_EITHER:
    with dag_of_row(row):
        train(task_id="job", deferrable=True)
        train(task_id="sync")

with dag_of_row("last_try_shut_down"):
    train(task_id="job", retries=0)

with dag_of_row("worker_killed_before_start"):
    train(task_id="job", deferrable=True, pre_execute=stand_still_at("before-send"))

with dag_of_row("worker_killed_before_reply"):
    # The one job of this kind: the test has the reply of the simulator withheld by it.
    NeptuneMLStartDataProcessingJobOperator(
        task_id="job",
        input_data_s3_location="s3://bucket/export",
        processed_data_s3_location="s3://bucket/processed",
        deferrable=True,
    )

with dag_of_row("worker_killed_after_reply"):
    train(task_id="job", deferrable=True, pre_execute=stand_still_at("after-call"))

# The execution_timeout counts from the start of the task: long enough for a slow machine to submit the job.
for row, seconds in {"execution_timeout": 30, "timeout": 5}.items():
    with dag_of_row(row):
        limit: Any = {row: timedelta(seconds=seconds)}
        train(task_id="job", deferrable=True, retries=0, **limit)
        train(task_id="sync", retries=0, **limit)

EXPORT = "neptuneexport.StartExportJob"
for row, before in {
    "export_worker_killed_before_start": stand_still_at("before-send", EXPORT, "export-before-send"),
    "export_worker_killed_before_reply": stand_still_at("before-send", EXPORT, "export-sent", send=True),
    "export_worker_killed_after_reply": stand_still_at("after-call", EXPORT, "export-after-call"),
}.items():
    with dag_of_row(row):
        export(task_id="job", deferrable=True, pre_execute=before)

with dag_of_row("export_worker_killed_in_wait"):
    export(task_id="job")

with dag_of_row("export_deferred_marked_failed"):
    export(task_id="job", deferrable=True)

with dag_of_row("export_timeout"):
    export(task_id="job", deferrable=True, retries=0, timeout=timedelta(seconds=5))
    export(task_id="sync", retries=0, timeout=timedelta(seconds=5))

with dag_of_row("at_once"):
    train(task_id="job", wait_for_completion=False)
    train(task_id="other", wait_for_completion=False)
    NeptuneMLStartModelTrainingJobOperator.partial(
        task_id="mapped", train_model_s3_location="s3://bucket/models", wait_for_completion=False
    ).expand(data_processing_job_id=["data", "data"])
