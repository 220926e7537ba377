"""CloudWatch Logs and S3 over HTTP, by moto's server."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.request import Request, urlopen

import boto3
import pytest
from moto.server import ThreadedMotoServer

from dev.local_airflow import free_ports

REGION = "us-east-1"
KEYS = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
PROCESSING = "/aws/sagemaker/ProcessingJobs"


@dataclass
class CloudWatch:
    """An account of AWS: where it listens, and what tests write to it."""

    url: str

    @property
    def connection(self) -> dict[str, Any]:
        """The AWS connection to it."""
        extra = {"endpoint_url": self.url, "region_name": REGION}
        return {"conn_type": "aws", "login": "testing", "password": "testing", "extra": extra}

    def client(self, service: str = "logs") -> Any:
        """Return a client of it."""
        session: Any = boto3.Session()
        return session.client(service, endpoint_url=self.url, region_name=REGION, **KEYS)

    def reset(self) -> None:
        """Forget everything."""
        urlopen(Request(f"{self.url}/moto-api/reset", method="POST")).close()

    def write(self, group: str, stream: str, *messages: str, at: float | None = None) -> None:
        """Write events, a millisecond apart, into a stream, which is made if there is none."""
        logs = self.client()
        _unless_there(logs, lambda: logs.create_log_group(logGroupName=group))
        _unless_there(logs, lambda: logs.create_log_stream(logGroupName=group, logStreamName=stream))
        began = int((time.time() if at is None else at) * 1000) - len(messages)
        events = [{"timestamp": began + number, "message": text} for number, text in enumerate(messages)]
        logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)

    def write_stage(self, description: Any, member: str, *messages: str, at: float | None = None) -> None:
        """Write events into the log of a processing job that is a stage."""
        self.write(PROCESSING, f"{description[member]['name']}/algo-1-1770000000", *messages, at=at)


def connect_aws(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Set the default AWS connection, to an account at a URL."""
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(CloudWatch(url).connection))


@contextmanager
def moto_server() -> Iterator[CloudWatch]:
    """Run an account."""
    # A line per request would bury those of the tasks.
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    [port] = free_ports(1)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    try:
        yield CloudWatch(f"http://127.0.0.1:{port}")
    finally:
        server.stop()


def _unless_there(logs: Any, make: Any) -> None:
    with suppress(logs.exceptions.ResourceAlreadyExistsException):
        make()
