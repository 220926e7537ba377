"""Certificates, connections that are kept alive, and what never leaves this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_neptune_ml.exceptions import NeptuneMLUnreachableError
from airflow_provider_neptune_ml.hooks.neptune_ml import NeptuneMLHook, shared_hook
from tests.certificates import self_signed_certificate
from tests.conftest import ONCE, connect
from tests.raw_server import reply, serve


def test_certificate_of_another_host(
    connection: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A certificate for another name is no passing error, though urllib3 has its own type for it."""
    certificate = self_signed_certificate(tmp_path, "cluster.example", address="127.0.0.2")
    with serve(reply(200, {"ids": []}), certificate) as (port, _):
        for host in ("localhost", "127.0.0.1"):
            connect(monkeypatch, connection, host=host, port=port, schema="https")
            with pytest.raises(
                NeptuneMLUnreachableError,
                match=rf"the TLS certificate can't be trusted \(Hostname mismatch.*{host}.*cluster\.example",
            ) as caught:
                NeptuneMLHook(verify=str(certificate), config=ONCE).list_ids("endpoints")
            assert not caught.value.transient
            assert not caught.value.ambiguous


def hang_up_on_reuse(request: bytes, before: int, _: int) -> bytes | None:
    """Answer the first request of a connection alone."""
    body = {"id": "mine"} if request.startswith(b"POST") else {"status": "InProgress"}
    return None if before else reply(200, body)


@pytest.mark.parametrize("tls", [False, True])
def test_reused_connection_that_breaks(
    connection: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tls: bool
) -> None:
    """A Get whose kept-alive connection was closed meanwhile is sent once more, without a word."""
    certificate = self_signed_certificate(tmp_path, "localhost") if tls else None
    verify = str(certificate) if certificate else None
    with serve(hang_up_on_reuse, certificate) as (port, requests):
        connect(monkeypatch, connection, port=port, host="localhost", schema="https" if tls else "http")
        hook = shared_hook({"verify": verify})

        for _ in range(3):
            assert hook.describe("modeltraining", "mine") == {"status": "InProgress"}

    assert len(requests) == 5


def test_new_connection_that_breaks(connection: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """What breaks on a new connection is an error of the network, and is not hidden."""
    with serve(lambda *_: None) as (port, requests):
        connect(monkeypatch, connection, port=port)

        with pytest.raises(NeptuneMLUnreachableError, match="no answer from cluster") as caught:
            shared_hook({}).describe("modeltraining", "mine")

    assert caught.value.transient
    assert len(requests) == 1


def test_start_on_a_connection_that_breaks(
    connection: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start or a cancellation may have been carried out: it is not sent again unseen."""
    start: dict[str, Any] = {
        "data_processing_job_id": "data-1",
        "train_model_s3_location": "s3://bucket/model",
    }
    with serve(hang_up_on_reuse) as (port, requests):
        connect(monkeypatch, connection, port=port)
        hook = NeptuneMLHook(config=ONCE)

        assert hook.start("modeltraining", id="mine", **start) == {"id": "mine"}
        with pytest.raises(NeptuneMLUnreachableError) as caught:
            hook.start("modeltraining", id="mine", **start)
        assert caught.value.ambiguous
        hook.describe("modeltraining", "mine")
        with pytest.raises(NeptuneMLUnreachableError):
            hook.stop("modeltraining", "mine")

    assert [request.split()[0] for request in requests] == [b"POST", b"POST", b"GET", b"DELETE"]


@pytest.mark.parametrize(
    ("token", "proxy"),
    [
        ("TOP-SECRET\n", None),
        ("TOP\r\n-SECRET", None),
        ("x", "http://TOP:-SECRET@127.0.0.1:1"),
        ("x", "socks5://u:TOP-SECRET@127.0.0.1:1"),
        ("x", "http://u:TOP-SECRET/x@127.0.0.1:1"),
        ("x", "u:TOP-SECRET@[::1"),
        ("x", "http://p:t@127.0.0.1:1"),
    ],
)
def test_secrets_are_not_repeated(
    connection: dict[str, Any], monkeypatch: pytest.MonkeyPatch, token: str, proxy: str | None
) -> None:
    """Whatever breaks on a token or on a proxy's password does not print it."""
    aws = {"conn_type": "aws", "login": "AKIA", "password": "p4ssword", "extra": {"aws_session_token": token}}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(aws))
    connect(monkeypatch, connection, port=1, extra={"region_name": "us-east-1"})
    config = {**ONCE, **({"proxies": {"http": proxy}} if proxy else {})}

    with pytest.raises(NeptuneMLUnreachableError) as caught:
        NeptuneMLHook(config=config).list_ids("endpoints")

    assert not any(secret in str(caught.value) for secret in ("TOP", "SECRET", "p:t@", "p4ssword"))
    assert caught.value.transient is (proxy is not None and "no answer" in str(caught.value))
    if proxy is None:
        assert "no request was sent: a setting can't be used" in str(caught.value)
        assert "line breaks" in str(caught.value)
