"""A simulated Neptune cluster in a process of its own, and the connections to it."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import urlopen

from airflow_provider_neptune_ml.kinds import MODEL_TRAINING
from airflow_provider_neptune_ml.simulator.auth import EXAMPLE_CREDENTIAL

if TYPE_CHECKING:
    from types import TracebackType

REGION = "us-east-1"
_TIMEOUT_SECONDS = 60


class Cluster:
    """
    A simulator whose clock is stopped: a job goes on until it is told to finish.

    Our side and the peer sign their requests with the same keys, as they would with a cluster that checks
    them; the simulator doesn't, so that its own work stays small.

    :param aws_endpoint_url: where it writes the logs of its jobs (default: none).
    """

    def __init__(self, aws_endpoint_url: str = "") -> None:
        self._aws = aws_endpoint_url

    def __enter__(self) -> Cluster:
        command = [sys.executable, "-m", "airflow_provider_neptune_ml.simulator", "--port", "0"]
        self._process = subprocess.Popen(  # noqa: S603
            [*command, "--clock", "manual", "--no-access-log", "--aws-endpoint-url", self._aws],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout  # noqa: S101
        first_line = self._process.stdout.readline()
        self.url = next((word for word in first_line.split() if word.startswith("http://")), "")
        if not self.url:
            raise RuntimeError(f"The simulator did not start: {first_line!r}")
        self._control = http.client.HTTPConnection(
            str(urlsplit(self.url).hostname), urlsplit(self.url).port, timeout=_TIMEOUT_SECONDS
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._control.close()
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_TIMEOUT_SECONDS)
        self._process.kill()

    def run_jobs(self, name: str, count: int) -> list[str]:
        """Have that many training jobs run, and no others; return their ids."""
        self._command("reset")
        ids = [f"{name}-{number:05}" for number in range(count)]
        for id_ in ids:
            self._command("seed", kind=MODEL_TRAINING.name, id=id_, status=MODEL_TRAINING.statuses.running)
            if self._aws:  # a log is written when somebody asks for its job
                urlopen(f"{self.url}/ml/modeltraining/{id_}", timeout=_TIMEOUT_SECONDS).close()  # noqa: S310
        return ids

    def finish(self, id_: str) -> None:
        """Let a training job complete."""
        self._command("finish", kind=MODEL_TRAINING.name, id=id_)

    @property
    def connections(self) -> dict[str, str]:
        """The environment variables with the Airflow connections of both sides."""
        netloc = urlsplit(self.url)
        ours = {
            "conn_type": "neptune_ml",
            "host": netloc.hostname,
            "port": netloc.port,
            "schema": netloc.scheme,
            "extra": {"region_name": REGION},
        }
        aws = {
            "conn_type": "aws",
            "login": EXAMPLE_CREDENTIAL.access_key,
            "password": EXAMPLE_CREDENTIAL.secret_key,
            "extra": {
                "region_name": REGION,
                "service_config": {
                    "neptunedata": {"endpoint_url": self.url},
                    "logs": {"endpoint_url": self._aws or None},
                },
            },
        }
        return {
            "AIRFLOW_CONN_NEPTUNE_ML_DEFAULT": json.dumps(ours),
            "AIRFLOW_CONN_AWS_DEFAULT": json.dumps(aws),
        }

    def _command(self, name: str, **arguments: Any) -> None:
        headers = {"Content-Type": "application/json"}
        # The server drops a connection that was idle for a while; commands are minutes apart.
        self._control.close()
        self._control.request("POST", f"/_simulator/{name}", json.dumps(arguments), headers)
        response = self._control.getresponse()
        body = response.read().decode()
        if response.status >= 300:
            raise RuntimeError(f"{name}({arguments}): {body}")
