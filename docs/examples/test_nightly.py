"""The files of docs/testing.md."""

# [START first_test]
# [START first_dag]
from airflow import DAG

from airflow_provider_neptune_ml.operators.neptune_ml import (
    NeptuneMLCreateEndpointOperator,
    NeptuneMLStartModelTrainingJobOperator,
)
from airflow_provider_neptune_ml.sensors.neptune_ml import NeptuneMLModelTrainingJobSensor

with DAG("nightly", schedule=None) as dag:
    start = NeptuneMLStartModelTrainingJobOperator(
        task_id="start",
        data_processing_job_id="graph-data",
        train_model_s3_location="s3://my-bucket/models",
        wait_for_completion=False,
    )
    wait = NeptuneMLModelTrainingJobSensor(task_id="wait", job_id=start.output, deferrable=True)
    deploy = NeptuneMLCreateEndpointOperator(task_id="deploy", ml_model_training_job_id=start.output)
    wait >> deploy
# [END first_dag]


def test_trains_once_and_deploys(neptune_ml_connection, neptune_ml_run_dag):
    neptune_ml_connection.seed("dataprocessing", "graph-data")  # one that has completed

    run = neptune_ml_run_dag(dag)

    assert run.state == "success"
    assert len(neptune_ml_connection.calls("StartMLModelTrainingJob")) == 1
    assert len(neptune_ml_connection.calls("CreateMLEndpoint")) == 1


def test_does_not_deploy_after_a_failed_training(neptune_ml_connection, neptune_ml_run_dag):
    neptune_ml_connection.seed("dataprocessing", "graph-data")
    neptune_ml_connection.script("modeltraining", fail_stage="hpoJob", reason="out of memory")

    run = neptune_ml_run_dag(dag)

    states = {ti.task_id: ti.state for ti in run.get_task_instances()}
    assert states == {"start": "success", "wait": "failed", "deploy": "upstream_failed"}
    assert not neptune_ml_connection.calls("CreateMLEndpoint")


# [END first_test]
