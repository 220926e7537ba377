"""Whose requests are answered: not those of another site's pages."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest

from airflow_provider_neptune_ml.kinds import DATA_PROCESSING
from airflow_provider_neptune_ml.simulator import Simulator
from tests.simulator.steps import STARTS
from tests.simulator.wire import JSON, send

TARGETS = [
    ("GET", "/"),
    ("GET", "/ml/endpoints"),
    ("GET", "/status"),
    ("GET", "/_simulator/state"),
    ("GET", "/_simulator/journal"),
    ("POST", "/_simulator/reset"),
    ("POST", "/ml/dataprocessing"),
    ("DELETE", "/ml/endpoints/one"),
]
A_START = json.dumps({"id": "evil", **STARTS[DATA_PROCESSING.name]}).encode()


@pytest.mark.parametrize(("method", "target"), TARGETS)
def test_another_host(simulator: Simulator, method: str, target: str) -> None:
    """A name of another site that its DNS leads here gets no answer but a refusal, on any path."""
    status, answer = send(
        simulator, method, target, [JSON, ("Host", f"evil.example:{simulator.port}")], b"{}"
    )

    assert status == 403
    text = answer["error"] if target.startswith("/_simulator") else answer["detailedMessage"]
    assert text == (
        f"host 'evil.example:{simulator.port}': not a name of this simulator; "
        "allow it with --allowed-host (allowed_hosts) if it is"
    )
    assert simulator.journal == []


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:9999", 200),  # a forwarded port
        ("127.0.0.2:{port}", 200),
        ("localhost:{port}", 200),
        ("LocalHost.:{port}", 200),
        ("[::1]:{port}", 200),
        ("192.0.2.1:{port}", 403),
        ("[2001:db8::1]", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("evil.example@127.0.0.1", 403),
        ("127.0.0.1:80:80", 403),
        ("[::1", 403),
        ("", 403),
    ],
)
def test_hosts_of_a_loopback_simulator(simulator: Simulator, host: str, expected: int) -> None:
    """Listening on loopback, it goes by loopback addresses and localhost, on any port."""
    assert (
        send(simulator, "GET", "/ml/endpoints", [("Host", host.format(port=simulator.port))])[0] == expected
    )


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("192.0.2.1:8182", 200),
        ("[2001:db8::1]:8182", 200),
        (socket.gethostname(), 200),
        ("Neptune:8182", 200),
        ("evil.example", 403),
    ],
)
def test_hosts_of_a_remote_simulator(host: str, expected: int) -> None:
    """Listening for other machines, it goes by any address, this machine's name, and the names it is told."""
    with Simulator(allow_remote=True, allowed_hosts=["neptune"]) as simulator:
        assert send(simulator, "GET", "/ml/endpoints", [("Host", host)])[0] == expected


@pytest.mark.parametrize(
    "headers",
    [
        [("Origin", "http://evil.example")],
        [("Origin", "null")],
        [("Origin", "http://[::1")],
        [("Origin", "http://127.0.0.1:1")],
        [("Origin", "http://127.0.0.1:{port}.evil.example")],
        [("Sec-Fetch-Site", "cross-site")],
        [("Sec-Fetch-Site", "same-site")],
    ],
)
@pytest.mark.parametrize("content_type", ["text/plain", "application/json"])
def test_start_by_another_site(simulator: Simulator, headers: list[Any], content_type: str) -> None:
    """A page of another site starts nothing, whatever type it sends, and changes nothing else."""
    headers = [(name, value.format(port=simulator.port)) for name, value in headers]
    headers.append(("Content-Type", content_type))
    assert send(simulator, "POST", "/ml/dataprocessing", headers, A_START)[0] == 403
    assert send(simulator, "POST", "/_simulator/seed", headers, b'{"kind": "endpoints", "id": "a"}')[0] == 403

    assert not any(simulator.overview()["kinds"].values())
    assert simulator.journal == []


def test_own_page(simulator: Simulator) -> None:
    """The page's own requests are answered, and a link from anywhere may open it."""
    own = [("Origin", simulator.url), ("Sec-Fetch-Site", "same-origin")]

    assert send(simulator, "GET", "/_simulator/state", own)[0] == 200
    assert send(simulator, "POST", "/_simulator/reset", [*own, JSON], b"{}")[0] == 200
    assert send(simulator, "GET", "/", [("Sec-Fetch-Site", "cross-site")])[0] == 200
