"""Servers that answer without end, or never: what a reply may cost in memory and time."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_neptune_ml.compat import AirflowSensorTimeout
from airflow_provider_neptune_ml.exceptions import NeptuneMLTimeoutError, NeptuneMLUnreachableError
from airflow_provider_neptune_ml.hooks import limits
from airflow_provider_neptune_ml.hooks.neptune_ml import NeptuneMLHook
from airflow_provider_neptune_ml.sensors.neptune_ml import NeptuneMLModelTrainingJobSensor
from tests.conftest import ONCE, connect
from tests.contexts import context
from tests.modes import first_event
from tests.triggers.waits import trigger

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNK = b"%x\r\n%s\r\n" % (2**16, b" " * 2**16)
TIMEOUT_SECONDS = 30.0

Answer = Callable[[socket.socket, threading.Event], None]


def silent(_: socket.socket, over: threading.Event) -> None:
    """Answer nothing."""
    over.wait()


def continues(client: socket.socket, over: threading.Event) -> None:
    """Ask for more, and then answer nothing."""
    client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    over.wait()


def head_in_bytes(client: socket.socket, over: threading.Event) -> None:
    """Answer one byte after the other, and never come to an end of the headers."""
    client.sendall(HEAD + b"X: ")
    while not over.wait(0.01):
        client.sendall(b"x")


def body_in_bytes(client: socket.socket, over: threading.Event) -> None:
    """Answer one byte after the other."""
    client.sendall(HEAD + b"Content-Length: 1000000\r\n\r\n")
    while not over.wait(0.01):
        client.sendall(b" ")


def endless(client: socket.socket, over: threading.Event) -> None:
    """Answer without end."""
    client.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    while not over.is_set():
        client.sendall(CHUNK)


def in_parts(client: socket.socket, _: threading.Event) -> None:
    """Answer a query, with a body that is read in several parts."""
    body = b'{"result": {"data": ["' + b"x" * 1000 + b'"]}}'
    client.sendall(HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(body), body))


@contextmanager
def cluster(monkeypatch: pytest.MonkeyPatch, answer: Answer) -> Iterator[None]:
    """Have a cluster that answers like that."""
    over = threading.Event()

    def serve(client: socket.socket) -> None:
        with client, suppress(OSError):
            client.recv(2**16)
            answer(client, over)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=listening.accept()[:1], daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        extra = {"iam_auth": False, "region_name": "eu-west-1"}
        address = {"host": "127.0.0.1", "port": listening.getsockname()[1], "schema": "http"}
        connect(monkeypatch, {"conn_type": "neptune_ml", **address, "extra": extra})
        threading.Thread(target=accept, daemon=True).start()
        try:
            yield
        finally:
            over.set()
            listening.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("answer", [silent, continues, head_in_bytes, body_in_bytes, endless])
@pytest.mark.parametrize("mode", ["poke", "hook"])
def test_deadline(monkeypatch: pytest.MonkeyPatch, answer: Answer, mode: str) -> None:
    """Whatever a server does, a wait ends soon after its deadline, long before botocore's time-outs."""
    monkeypatch.setattr("airflow_provider_neptune_ml.polling._LAST_LOOK_SECONDS", 0.1)

    def wait() -> None:
        if mode == "hook":
            NeptuneMLHook().wait("modeltraining", "mine", timeout=0.5, poll_interval=0.1)
        sensor = NeptuneMLModelTrainingJobSensor(
            task_id="wait", job_id="mine", timeout=0.5, poke_interval=0.1, deferrable=False
        )
        while not sensor.poke(context()).is_done:
            pass

    expected = NeptuneMLTimeoutError if mode == "hook" else AirflowSensorTimeout
    ended: Any = []
    with cluster(monkeypatch, answer):

        def run() -> None:
            with pytest.raises(expected, match="no reply so far"):
                wait()
            ended.append(True)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(TIMEOUT_SECONDS)
        assert ended


@pytest.mark.parametrize("answer", [silent, continues, head_in_bytes])
@pytest.mark.parametrize("mode", ["worker", "triggerer"])
def test_headers_that_are_late(monkeypatch: pytest.MonkeyPatch, answer: Answer, mode: str) -> None:
    """Headers have to come within the read time-out, all together: unreachable_timeout ends such a wait."""
    config = {**ONCE, "read_timeout": 0.2}
    began = time.time()
    with cluster(monkeypatch, answer):
        if mode == "worker":
            with pytest.raises(NeptuneMLUnreachableError) as caught:
                NeptuneMLHook(config=config).wait(
                    "modeltraining", "mine", timeout=TIMEOUT_SECONDS, unreachable_timeout=0
                )
            said = str(caught.value)
        else:
            deadline = began + TIMEOUT_SECONDS
            wait = trigger(deadline=deadline, unreachable_timeout=0, hook_parameters={"config": config})
            said = first_event(wait).payload["message"]

    assert time.time() < began + TIMEOUT_SECONDS
    assert "only transient errors for 0 s (unreachable_timeout=0). Last error: " in said
    assert "no answer from cluster 127.0.0.1" in said


def test_endless_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reply without end is given up after four megabytes; the connection is closed."""
    with cluster(monkeypatch, endless), pytest.raises(NeptuneMLUnreachableError) as caught:
        NeptuneMLHook(config=ONCE).describe("modeltraining", "mine")

    assert "the reply is not one of Neptune's" in str(caught.value)
    assert caught.value.transient
    assert caught.value.ambiguous


def test_reply_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reply that comes byte by byte is given up after a minute, though each byte comes in time."""
    clock = iter(range(0, 10**6, 59))
    monkeypatch.setattr(limits, "time", SimpleNamespace(monotonic=lambda: next(clock)))

    with cluster(monkeypatch, body_in_bytes), pytest.raises(NeptuneMLUnreachableError, match="no answer"):
        NeptuneMLHook(config=ONCE).describe("modeltraining", "mine")


def test_result_that_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """The body of a query's reply has the time that its caller gives it, not a minute."""
    clock = iter(range(0, 10**6, 59))
    monkeypatch.setattr(limits, "time", SimpleNamespace(monotonic=lambda: next(clock)))

    with cluster(monkeypatch, in_parts):
        assert NeptuneMLHook().gremlin("g.V().id()", timeout=600) == ["x" * 1000]


def test_result_that_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A query whose reply is not complete by then ends with the limit of its caller."""
    with cluster(monkeypatch, body_in_bytes), pytest.raises(NeptuneMLTimeoutError, match="no answer within"):
        NeptuneMLHook().gremlin("g.V().id()", timeout=0.1)


def test_reply_that_breaks_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that breaks in the middle of a reply is a transient error, and a start is ambiguous."""

    def cut(client: socket.socket, _: threading.Event) -> None:
        client.sendall(HEAD + b"Content-Length: 1000\r\n\r\n{")

    with cluster(monkeypatch, cut), pytest.raises(NeptuneMLUnreachableError) as caught:
        NeptuneMLHook(config=ONCE).start("endpoints", id="mine", ml_model_training_job_id="training-1")

    assert caught.value.transient
    assert caught.value.ambiguous


def test_reply_that_breaks_off_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Get whose reply broke off in its body is repeated by botocore, as it is without our limits."""
    asked = iter(range(10))

    def cut_once(client: socket.socket, _: threading.Event) -> None:
        client.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n")
        if next(asked):
            client.sendall(b"0\r\n\r\n")

    with cluster(monkeypatch, cut_once):
        hook = NeptuneMLHook(config={"retries": {"mode": "legacy", "max_attempts": 1}})
        assert hook.describe("modeltraining", "mine") == {}

    assert next(asked) == 2


def test_time_of_a_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request is not waited for any longer than it was said to be."""
    began = time.monotonic()
    with cluster(monkeypatch, silent), pytest.raises(NeptuneMLUnreachableError, match="no answer"):
        NeptuneMLHook(config=ONCE).describe("modeltraining", "mine", seconds=0.1)

    assert time.monotonic() < began + TIMEOUT_SECONDS
