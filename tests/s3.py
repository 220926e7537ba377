"""What tests have in S3: a bucket, the AWS connection that leads to it, and the files of a training."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_neptune_ml.simulator import Simulator
from dev.aws import aws_client, aws_connection

# Where the simulator has the output of what a test seeds.
BUCKET = "neptune-ml-simulator"


def use_s3(monkeypatch: pytest.MonkeyPatch, url: str, bucket: str = BUCKET) -> Any:
    """Set the default AWS connection to a server, and return a client; the bucket is there."""
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(aws_connection(url)))
    client = aws_client("s3", url)
    client.create_bucket(Bucket=bucket)
    return client


def put_metrics(client: Any, simulator: Simulator, job_id: str, **files: object) -> str:
    """Write the files of a training's metrics, each the JSON of a value or bytes; return where they are."""
    location: str = simulator.describe("modeltraining", job_id)["processingJob"]["outputLocation"]
    bucket, _, prefix = location.removeprefix("s3://").partition("/")
    for name, content in files.items():
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        client.put_object(Bucket=bucket, Key=f"{prefix}/{name}_metrics_info.json", Body=body)
    return location
