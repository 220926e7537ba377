"""The test of a cancellation in docs/testing.md."""

# [START cancel_test]
from airflow import DAG

from airflow_provider_neptune_ml.operators.neptune_ml import (
    NeptuneMLCancelModelTrainingJobOperator,
    NeptuneMLStartModelTrainingJobOperator,
)
from airflow_provider_neptune_ml.sensors.neptune_ml import (
    NeptuneMLDataProcessingJobSensor,
    NeptuneMLModelTrainingJobSensor,
)

with DAG("checked", schedule=None) as dag:
    start = NeptuneMLStartModelTrainingJobOperator(
        task_id="start",
        data_processing_job_id="graph-data",
        train_model_s3_location="s3://my-bucket/models",
        wait_for_completion=False,
    )
    wait = NeptuneMLModelTrainingJobSensor(task_id="wait", job_id=start.output, mode="reschedule")
    check = NeptuneMLDataProcessingJobSensor(task_id="check", job_id="quality-check")
    cancel = NeptuneMLCancelModelTrainingJobOperator(
        task_id="cancel", job_id=start.output, trigger_rule="one_failed"
    )
    start >> check >> cancel


def test_failed_check_cancels_the_training(neptune_ml_connection, neptune_ml_run_dag):
    neptune_ml_connection.seed("dataprocessing", "graph-data")
    neptune_ml_connection.seed("dataprocessing", "quality-check", status="Failed")
    # However slow this machine is, the training runs when its cancellation comes.
    neptune_ml_connection.script("modeltraining", seconds={"hpoJob": 7 * 24 * 3600})

    run = neptune_ml_run_dag(dag)

    states = {ti.task_id: ti.state for ti in run.get_task_instances()}
    assert states == {"start": "success", "check": "failed", "cancel": "success", "wait": "failed"}
    [training] = neptune_ml_connection.overview()["kinds"]["modeltraining"]
    assert training["status"] == "Stopped"


# [END cancel_test]
