"""Hosts, regions and CA bundles, as people enter them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_neptune_ml.exceptions import NeptuneMLConfigurationError, NeptuneMLUnreachableError
from airflow_provider_neptune_ml.hooks.neptune_ml import NeptuneMLHook
from airflow_provider_neptune_ml.simulator import Simulator
from tests.certificates import self_signed_certificate
from tests.conftest import ONCE, connect

HOST = "c.cluster-x.us-east-1.neptune.amazonaws.com"
UNSIGNED = {"conn_type": "neptune_ml", "extra": {"iam_auth": False, "region_name": "us-east-1"}}
DEEP = "[" * 100_000


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("x.cluster-y.neptune.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("x.cluster-y.cn-northwest-1.neptune.amazonaws.com.cn", "cn-northwest-1"),
        ("x.cluster-y.eusc-de-east-1.neptune.amazonaws.eu", "eusc-de-east-1"),
        ("X.Cluster-Y.US-East-1.Neptune.AmazonAWS.com", "us-east-1"),
        ("x.cluster-y.us-east-1.neptune.amazonaws.com.", "us-east-1"),
        ("x.us-east-1.neptune.amazonaws.com.evil.example", None),
        ("x.us-east-1.example.com", None),
    ],
)
def test_region_in_host(monkeypatch: pytest.MonkeyPatch, host: str, region: str | None) -> None:
    """The region is found in every form of a cluster's host, which is brought into one form."""
    connect(monkeypatch, {"conn_type": "neptune_ml", "host": host})
    cluster = NeptuneMLHook().cluster

    assert cluster.region_in_host == region
    assert cluster.endpoint_url == f"https://{host.rstrip('.').lower()}:8182"


def test_ipv6_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address is a host too."""
    for host in ("::1", "[::1]"):
        connect(monkeypatch, {**UNSIGNED, "host": host, "schema": "http"})
        assert NeptuneMLHook().conn.meta.endpoint_url == "http://[::1]:8182"


@pytest.mark.parametrize(
    "host",
    [
        "a..b",
        ".",
        "..",
        "a..",
        ".a",
        f"{'x' * 64}.b",
        "-a",
        "a-.b",
        "a_b",
        "a b",
        "a\n",
        "\u212a",
        "x." * 127 + "x",
    ],
)
def test_host_that_is_none(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """A host that botocore would refuse is our configuration error, in the test of the connection too."""
    connect(monkeypatch, {**UNSIGNED, "host": host})

    with pytest.raises(NeptuneMLConfigurationError, match=r"has host='.*', which must be a bare host name"):
        NeptuneMLHook().list_ids("endpoints")
    works, message = NeptuneMLHook().test_connection()
    assert not works
    assert "must be a bare host name" in message
    assert "\n" not in message


@pytest.mark.parametrize("host", ["u:PW@host", "PW@host", "u:P W@host", "http://u:PW@host"])
def test_host_with_a_password(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """A password in the host is not repeated."""
    connect(monkeypatch, {**UNSIGNED, "host": host})

    with pytest.raises(NeptuneMLConfigurationError, match="a user or password in its host") as caught:
        NeptuneMLHook().list_ids("endpoints")
    assert not {"PW", "W@"} & {str(caught.value)[i : i + 2] for i in range(len(str(caught.value)))}


def test_port_0(monkeypatch: pytest.MonkeyPatch) -> None:
    """Port 0 does not become the default."""
    monkeypatch.setenv("AIRFLOW_CONN_NEPTUNE_ML_DEFAULT", f"neptune-ml://{HOST}:0")

    with pytest.raises(NeptuneMLConfigurationError, match="port=0, which must be a number from 1 to 65535"):
        NeptuneMLHook().list_ids("endpoints")


@pytest.mark.parametrize("region", ["us east 1", "-", "us_east_1", "x" * 64])
def test_region_that_is_none(monkeypatch: pytest.MonkeyPatch, region: str) -> None:
    """What can't be a region is named, not called missing credentials."""
    connect(monkeypatch, {**UNSIGNED, "host": HOST, "extra": {"iam_auth": False, "region_name": region}})

    works, message = NeptuneMLHook().test_connection()
    assert not works
    assert f"region_name='{region}'" in message
    assert "credentials" not in message


def test_wrong_values_are_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that may hold anything is told by its type."""
    connect(monkeypatch, {**UNSIGNED, "host": HOST, "extra": {"region_name": {"password": "PW"}}})

    with pytest.raises(NeptuneMLConfigurationError, match="has region_name=a dict in its extra") as caught:
        NeptuneMLHook().list_ids("endpoints")
    assert "PW" not in str(caught.value)


# CA bundles


@pytest.mark.parametrize(
    ("origin", "bundle"),
    [
        (origin, bundle)
        for origin in (
            "argument verify",
            "AWS_CA_BUNDLE",
            "REQUESTS_CA_BUNDLE",
            "extra of connection 'aws_default'",
        )
        for bundle in ("", " ", "/no/such.pem", "{garbage}", "{folder}")
        # An argument that is empty is not given.
        if origin != "argument verify" or bundle.strip()
    ],
)
def test_bundle_that_can_not_be_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, origin: str, bundle: str
) -> None:
    """A bundle that can't be used is named, with where it was given, and not called missing credentials."""
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("no certificate")
    bundle = bundle.format(garbage=garbage, folder=tmp_path)
    extra = {"verify": bundle} if "extra" in origin else {}
    aws = {"conn_type": "aws", "login": "AKIA", "password": "secret", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(aws))
    connect(monkeypatch, {"conn_type": "neptune_ml", "host": HOST})
    if origin.endswith("BUNDLE"):
        monkeypatch.setenv(origin, bundle)

    with pytest.raises(NeptuneMLUnreachableError, match="check `verify`") as caught:
        NeptuneMLHook(verify=bundle if origin.startswith("argument") else None, config=ONCE).list_ids(
            "endpoints"
        )

    assert not caught.value.transient
    assert f"{bundle!r}, from the " in str(caught.value)
    assert origin in str(caught.value)
    assert "credentials" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
@pytest.mark.parametrize("verify", ["false", "False", False])
def test_verify_as_text_in_the_aws_connection(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, verify: object
) -> None:
    """A flag that is a text there is a flag."""
    certificate = self_signed_certificate(tmp_path, "localhost")
    aws = {"conn_type": "aws", "login": "AKIA", "password": "secret", "extra": {"verify": verify}}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(aws))
    with Simulator(clock="manual", ssl_certfile=str(certificate)) as simulator:
        connect(monkeypatch, simulator.connection, extra={"region_name": "us-east-1"})

        assert NeptuneMLHook(config=ONCE).list_ids("endpoints") == []


def test_empty_bundle_of_a_cluster_without_tls(
    connection: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Botocore asks for the bundle in any case; versions of it take an empty one for "don't verify"."""
    monkeypatch.setenv("AWS_CA_BUNDLE", "")

    works, message = NeptuneMLHook(config=ONCE).test_connection()
    assert not works
    assert (
        "'', from the environment variable AWS_CA_BUNDLE, is not the path of a CA bundle: it is empty"
        in message
    )


def test_setting_of_the_config_file(
    connection: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What botocore refuses of AWS's config file is not called missing credentials either."""
    config = tmp_path / "config"
    config.write_text("[default]\nretry_mode = bogus\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))

    with pytest.raises(NeptuneMLUnreachableError, match=r"no request was sent: .*bogus") as caught:
        NeptuneMLHook(config=ONCE).list_ids("endpoints")
    assert "no AWS credentials" not in str(caught.value)


# JSON that is nested too deeply


def test_nested_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """An extra that no parser reads is a mistake in this connection."""
    connect(monkeypatch, {**UNSIGNED, "host": HOST, "extra": DEEP})

    with pytest.raises(NeptuneMLConfigurationError, match=r"extra (that isn't )?a JSON object"):
        NeptuneMLHook().list_ids("endpoints")


def test_nested_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Credentials that no parser reads are told as such, by a call as by the test of the connection."""
    (tmp_path / "deep").write_text(DEEP)
    config = tmp_path / "config"
    config.write_text(f"[default]\ncredential_process = cat {tmp_path / 'deep'}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    connect(monkeypatch, {"conn_type": "neptune_ml", "host": HOST})

    works, message = NeptuneMLHook(aws_conn_id=None, config=ONCE).test_connection()

    assert not works
    assert "the AWS credentials can't be read: JSON that is nested too deeply" in message
