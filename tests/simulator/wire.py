"""Requests as no SDK sends them."""

from __future__ import annotations

import json
from contextlib import closing
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_neptune_ml.simulator import Simulator

JSON = ("Content-Type", "application/json")


def send(
    simulator: Simulator,
    method: str,
    target: str,
    headers: Iterable[tuple[str, str]] = (JSON,),
    body: bytes = b"",
) -> tuple[int, Any]:
    """Send exactly these headers, with the right host if there is none; return the status and the body."""
    headers = list(headers)
    with closing(HTTPConnection(simulator.host, simulator.port, timeout=60)) as connection:
        has_host = any(name.lower() == "host" for name, _ in headers)
        connection.putrequest(method, target, skip_host=has_host, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        content = response.read()
        try:
            return response.status, json.loads(content)
        except ValueError:
            return response.status, content.decode()


def control(simulator: Simulator, command: str, arguments: Any) -> tuple[int, Any]:
    """Call the control API with JSON that may be wrong; a text is sent as it is."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return send(simulator, "POST", f"/_simulator/{command}", body=text.encode())
