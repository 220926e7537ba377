"""AWS on this machine: moto's server, which has CloudWatch Logs and S3."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dev.local_airflow import free_ports

REGION = "us-east-1"


@contextmanager
def aws_server() -> Iterator[str]:
    """Run the server, and yield its URL."""
    from moto.server import ThreadedMotoServer

    # A line per request would bury those of the tasks.
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    [port] = free_ports(1)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop()


def aws_connection(url: str, **extra: Any) -> dict[str, Any]:
    """Return the AWS connection of which all clients talk to a server."""
    more = {"endpoint_url": url, "region_name": REGION, **extra}
    return {"conn_type": "aws", "login": "testing", "password": "testing", "extra": more}


def aws_client(service: str, url: str) -> Any:
    """Return a client of one of the server's services."""
    import boto3

    keys: Any = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
    session: Any = boto3.Session()
    return session.client(service, endpoint_url=url, region_name=REGION, **keys)
