"""Sensors that wait in the triggerer, with ids from everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_neptune_ml.compat import AIRFLOW_V_3_0_PLUS
from airflow_provider_neptune_ml.sensors.neptune_ml import NeptuneMLModelTrainingJobSensor

if TYPE_CHECKING or AIRFLOW_V_3_0_PLUS:
    from airflow.sdk import DAG, Asset, task
else:
    from airflow.datasets import Dataset as Asset
    from airflow.decorators import task
    from airflow.models.dag import DAG

WITHOUT_WORKER: dict[str, Any] = {"start_from_trigger": True, "end_from_trigger": True, "poke_interval": 1}


@task
def name_of_job(name: str) -> str:
    """Stand for whoever started the job."""
    return name


with DAG(
    "waiting",
    schedule=None,
    params={"job_id": "mine"},
    user_defined_macros={"own_macro": lambda: "mine", "prefix": "mi"},
) as dag:
    started = name_of_job.override(task_id="started")("mine")
    several = name_of_job.override(task_id="several").expand(name=["mine", "mine"])

    deferred = NeptuneMLModelTrainingJobSensor(
        task_id="deferred", job_id="mine", deferrable=True, poke_interval=1, print_log=True
    )
    ended_before = NeptuneMLModelTrainingJobSensor(task_id="ended_before", job_id="done", deferrable=True)
    rescheduled = NeptuneMLModelTrainingJobSensor(
        task_id="rescheduled", job_id="mine", mode="reschedule", poke_interval=5, print_log=True
    )
    by_output = NeptuneMLModelTrainingJobSensor(
        task_id="by_output",
        job_id=started,
        **WITHOUT_WORKER,
    )
    by_pull = NeptuneMLModelTrainingJobSensor(
        task_id="by_pull", job_id="{{ ti.xcom_pull(task_ids='started') }}", **WITHOUT_WORKER
    )
    by_params = NeptuneMLModelTrainingJobSensor(
        task_id="by_params", job_id="{{ params.job_id }}", print_log=True, **WITHOUT_WORKER
    )
    by_run = NeptuneMLModelTrainingJobSensor(
        task_id="by_run", job_id="{{ dag_run.conf['job_id'] }}", **WITHOUT_WORKER
    )
    by_macro = NeptuneMLModelTrainingJobSensor(
        task_id="by_macro", job_id="{{ own_macro() }}", **WITHOUT_WORKER
    )
    by_text_macro = NeptuneMLModelTrainingJobSensor(
        task_id="by_text_macro", job_id="{{ prefix }}ne", **WITHOUT_WORKER
    )
    by_previous = NeptuneMLModelTrainingJobSensor(
        task_id="by_previous", job_id="{{ 'mine' if prev_start_date_success else 'mine' }}", **WITHOUT_WORKER
    )
    by_mapped_pull = NeptuneMLModelTrainingJobSensor(
        task_id="by_mapped_pull", job_id="{{ ti.xcom_pull(task_ids='several')[0] }}", **WITHOUT_WORKER
    )
    with_outlets = NeptuneMLModelTrainingJobSensor(
        task_id="with_outlets", job_id="mine", outlets=[Asset("x-model://mine")], **WITHOUT_WORKER
    )
    mapped = NeptuneMLModelTrainingJobSensor.partial(task_id="mapped", **WITHOUT_WORKER).expand(
        job_id=["mine", "mine"]
    )
    failed = NeptuneMLModelTrainingJobSensor(task_id="failed", job_id="broken", retries=2, **WITHOUT_WORKER)
    failed_without_worker = NeptuneMLModelTrainingJobSensor(
        task_id="failed_without_worker", job_id="broken", retries=0, **WITHOUT_WORKER
    )
    skipped = NeptuneMLModelTrainingJobSensor(
        task_id="skipped", job_id="broken", soft_fail=True, **WITHOUT_WORKER
    )

    started >> by_pull
    several >> by_mapped_pull


with DAG("deadlines", schedule=None) as deadlines:
    NeptuneMLModelTrainingJobSensor(
        task_id="deferred", job_id="endless-1", deferrable=True, poke_interval=1, timeout=60
    )
    NeptuneMLModelTrainingJobSensor(
        task_id="without_worker", job_id="endless-2", timeout=60, **WITHOUT_WORKER
    )
