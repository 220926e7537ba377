"""The Dag of docs/migrate.md, and its tests."""

# [START migrated]
from airflow import DAG

from airflow_provider_neptune_ml.operators.neptune_ml import (
    NeptuneMLCreateEndpointOperator,
    NeptuneMLStartDataProcessingJobOperator,
    NeptuneMLStartModelTrainingJobOperator,
)

with DAG("migrated", schedule=None, default_args={"retries": 2, "deferrable": True}) as dag:
    process = NeptuneMLStartDataProcessingJobOperator(
        task_id="process",
        input_data_s3_location="s3://my-bucket/export",
        processed_data_s3_location="s3://my-bucket/processed",
    )
    train = NeptuneMLStartModelTrainingJobOperator(
        task_id="train",
        data_processing_job_id=process.output,
        train_model_s3_location="s3://my-bucket/models",
    )
    deploy = NeptuneMLCreateEndpointOperator(
        task_id="deploy", endpoint_id="fraud", update=True, ml_model_training_job_id=train.output
    )
# [END migrated]


def test_migrated_dag_deploys(neptune_ml_connection, neptune_ml_run_dag):
    run = neptune_ml_run_dag(dag)

    assert run.state == "success"
    assert neptune_ml_connection.describe("endpoints", "fraud")["status"] == "InService"
