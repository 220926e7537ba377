"""What an Airflow connection of type ``neptune_ml`` says, checked."""

from __future__ import annotations

import ipaddress
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_neptune_ml.exceptions import NeptuneMLConfigurationError
from airflow_provider_neptune_ml.validation import to_flag

if TYPE_CHECKING:
    from airflow_provider_neptune_ml.compat import Connection

DEFAULT_PORT = 8182
_SCHEMAS = ("https", "http")
_HOST = re.compile(r"[A-Za-z0-9.-]+")
# mycluster.cluster-c1a2b3.us-east-1.neptune.amazonaws.com, with .cn behind it in China
_REGION_IN_HOST = re.compile(r"\.([a-z]{2}(?:-[a-z]+)+-\d)\.neptune\.amazonaws\.com(?:\.cn)?$")


@dataclass(frozen=True)
class NeptuneMLConnection:
    """
    The settings of one cluster.

    :param endpoint_url: where the cluster listens, such as ``https://<cluster endpoint>:8182``.
    :param region_name: the AWS region from the connection or, failing that, None.
    :param region_in_host: the AWS region that the host name tells, if any.
    :param iam_auth: whether requests are signed.
    :param neptune_iam_role_arn: default of ``neptune_iam_role_arn`` in every request.
    :param sagemaker_iam_role_arn: default of ``sagemaker_iam_role_arn`` in requests that take it.
    """

    endpoint_url: str
    region_name: str | None
    region_in_host: str | None
    iam_auth: bool
    neptune_iam_role_arn: str | None
    sagemaker_iam_role_arn: str | None

    @classmethod
    def parse(cls, connection: Connection) -> NeptuneMLConnection:
        """
        Read and check an Airflow connection.

        :raises NeptuneMLConfigurationError: names the connection, the field, the value and the rule.
        """
        conn_id = connection.conn_id
        host, schema = connection.host or "", connection.schema or _SCHEMAS[0]
        if not host:
            raise _error(
                conn_id,
                "has no host: set it to the endpoint of the Neptune cluster (in a URI, check the port too)",
            )
        is_ip6 = _is_ip6(host)
        if not is_ip6 and not _HOST.fullmatch(host):
            raise _error(
                conn_id,
                f"has host={host!r}, which must be a bare host name: letters, digits, dots and hyphens",
            )
        if schema not in _SCHEMAS:
            raise _error(
                conn_id, f"has schema={schema!r}, which must be https, or http for a local simulator"
            )
        port = _port(conn_id, connection.port)
        extra = _extra(conn_id, connection.extra)
        in_host = _REGION_IN_HOST.search(host)
        return cls(
            endpoint_url=f"{schema}://[{host}]:{port}" if is_ip6 else f"{schema}://{host}:{port}",
            region_name=_text(conn_id, extra, "region_name"),
            region_in_host=in_host.group(1) if in_host else None,
            iam_auth=_boolean(conn_id, extra, "iam_auth", default=True),
            neptune_iam_role_arn=_text(conn_id, extra, "neptune_iam_role_arn"),
            sagemaker_iam_role_arn=_text(conn_id, extra, "sagemaker_iam_role_arn"),
        )


def missing(conn_id: str) -> NeptuneMLConfigurationError:
    """Return the error for a connection that Airflow can't find, or can't read: it doesn't tell which."""
    variable = f"AIRFLOW_CONN_{conn_id.upper()}"
    if variable in os.environ:
        return _error(
            conn_id,
            f"can't be read from {variable}: check that the port is a number and the extra a JSON object",
        )
    return _error(
        conn_id,
        "isn't defined (or can't be read, as when its port isn't a number, or its extra no JSON object):"
        " create it with type neptune_ml and the cluster endpoint as host",
    )


def _is_ip6(host: str) -> bool:
    # A simulator may listen on ::1; a cluster has a name.
    try:
        return bool(ipaddress.IPv6Address(host)) and "%" not in host
    except ValueError:
        return False


def _error(conn_id: str | None, fault: str) -> NeptuneMLConfigurationError:
    return NeptuneMLConfigurationError(f"Connection {conn_id!r} (neptune_ml_conn_id) {fault}.")


def _port(conn_id: str | None, value: object) -> int:
    try:
        port = int(str(value or DEFAULT_PORT))
    except ValueError:
        port = 0
    if not 0 < port < 65536:
        raise _error(conn_id, f"has port={value!r}, which must be a number from 1 to 65535")
    return port


def _extra(conn_id: str | None, text: str | None) -> Mapping[str, Any]:
    # Not `extra_dejson`: Airflow answers broken JSON with an empty dict there, and iam_auth=false would be
    # lost.
    try:
        extra = json.loads(text) if text else {}
    except ValueError as error:
        raise _error(conn_id, f"has an extra that isn't JSON: {error}") from None
    if not isinstance(extra, dict):
        raise _error(conn_id, f"has an extra that must be a JSON object, not {type(extra).__name__}")
    return extra


def _text(conn_id: str | None, extra: Mapping[str, Any], name: str) -> str | None:
    value = extra.get(name)
    if value is not None and not isinstance(value, str):
        raise _error(conn_id, f"has {name}={value!r} in its extra, which must be a string")
    return value or None


def _boolean(conn_id: str | None, extra: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = extra.get(name)
    if value is None or value == "":
        return default
    flag = to_flag(value)
    if flag is None:
        raise _error(conn_id, f"has {name}={value!r} in its extra, which must be true or false")
    return flag
