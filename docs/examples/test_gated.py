"""The test of a gate on metrics in docs/testing.md."""

# [START gate_test]
import json
import socket

import pytest
from airflow import DAG
from moto.server import ThreadedMotoServer

from airflow_provider_neptune_ml.operators.neptune_ml import (
    NeptuneMLModelMetricsOperator,
    NeptuneMLStartModelTrainingJobOperator,
)
from airflow_provider_neptune_ml.simulator import Simulator

with DAG("gated", schedule=None) as dag:
    train = NeptuneMLStartModelTrainingJobOperator(
        task_id="train",
        data_processing_job_id="graph-data",
        train_model_s3_location="s3://my-bucket/models",
        print_log=True,
    )
    NeptuneMLModelMetricsOperator(task_id="check", job_id=train.output, minimum={"eval.accuracy": 0.9})


@pytest.fixture
def neptune_ml_simulator(monkeypatch):
    """A simulator that writes logs, and the metrics of each training, to CloudWatch Logs and S3 of moto."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    aws = ThreadedMotoServer(ip_address="127.0.0.1", port=port)
    aws.start()
    url = f"http://127.0.0.1:{port}"
    extra = {"endpoint_url": url, "region_name": "us-east-1"}
    connection = {"conn_type": "aws", "login": "testing", "password": "testing", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))
    with Simulator(speed=600, aws_endpoint_url=url) as simulator:
        yield simulator
    aws.stop()


def test_model_that_is_not_good_enough(neptune_ml_connection, neptune_ml_run_dag):
    neptune_ml_connection.seed("dataprocessing", "graph-data")

    run = neptune_ml_run_dag(dag)

    # The simulator's models have an accuracy of 0.87.
    states = {ti.task_id: ti.state for ti in run.get_task_instances()}
    assert states == {"train": "success", "check": "failed"}


# [END gate_test]
