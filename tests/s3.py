"""S3 for tests, by moto's server: a bucket, and the AWS connection that leads to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from airflow_provider_neptune_ml.simulator import Simulator
from dev.local_airflow import free_ports

# Where the simulator has the output of what a test seeds.
BUCKET = "neptune-ml-simulator"


@contextmanager
def s3_server() -> Iterator[str]:
    """Serve S3, and yield the URL."""
    [port] = free_ports(1)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop()


def aws_connection(url: str, **extra: Any) -> str:
    """Return the AWS connection, as a variable has it, of which all clients talk to one server."""
    more = {"endpoint_url": url, "region_name": "us-east-1", **extra}
    return json.dumps({"conn_type": "aws", "login": "testing", "password": "testing", "extra": more})


def use_s3(monkeypatch: pytest.MonkeyPatch, url: str, bucket: str = BUCKET) -> Any:
    """Set the default AWS connection to a server, and return a client; the bucket is there."""
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", aws_connection(url))
    client = boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )
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
