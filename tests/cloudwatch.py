"""CloudWatch Logs and S3 over HTTP, by moto's server."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.request import Request, urlopen

import pytest

from dev.aws import aws_client, aws_connection, aws_server

PROCESSING = "/aws/sagemaker/ProcessingJobs"


@dataclass
class CloudWatch:
    """An account of AWS: where it listens, and what tests write to it."""

    url: str

    @property
    def connection(self) -> dict[str, Any]:
        """The AWS connection to it."""
        return aws_connection(self.url)

    def client(self, service: str = "logs") -> Any:
        """Return a client of it."""
        return aws_client(service, self.url)

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
    with aws_server() as url:
        yield CloudWatch(url)


def _unless_there(logs: Any, make: Any) -> None:
    with suppress(logs.exceptions.ResourceAlreadyExistsException):
        make()
