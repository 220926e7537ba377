"""What an Airflow connection of type ``neptune_ml`` says, checked."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import logging
import os
import re
import ssl
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from typing import TYPE_CHECKING, Any

from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from airflow_provider_neptune_ml.exceptions import NeptuneMLConfigurationError
from airflow_provider_neptune_ml.hooks.errors import not_sent
from airflow_provider_neptune_ml.text import one_line
from airflow_provider_neptune_ml.validation import botocore_options, to_flag

if TYPE_CHECKING:
    from airflow_provider_neptune_ml.compat import Connection

DEFAULT_PORT = 8182
_SCHEMAS = ("https", "http")
_EXTRAS = (
    "iam_auth",
    "region_name",
    "neptune_iam_role_arn",
    "sagemaker_iam_role_arn",
    "export_api_url",
    "export_iam_auth",
    "config_kwargs",
)
_log = logging.getLogger(__name__)
# Which botocore asks for a CA bundle, in this order.
_BUNDLE_VARIABLES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE")
_LABEL = r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)"
_HOST = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*")
_REGION = r"([a-z]{2,}(?:-[a-z]+)+-\d)"
# mycluster.cluster-c1a2b3.us-east-1.neptune.amazonaws.com; China has another suffix, and both orders
_REGION_IN_HOST = re.compile(rf"\.(?:{_REGION}\.neptune|neptune\.{_REGION})\.amazonaws\.(?:com|com\.cn|eu)$")


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
    :param export_api_url: the full invoke URI of the Neptune-Export service, if there is one.
    :param export_iam_auth: whether requests to it are signed.
    :param config: configuration of the botocore client; it may hold the password of a proxy.
    """

    endpoint_url: str
    region_name: str | None
    region_in_host: str | None
    iam_auth: bool
    neptune_iam_role_arn: str | None
    sagemaker_iam_role_arn: str | None
    export_api_url: str | None = None
    export_iam_auth: bool = True
    config: Config = field(default_factory=Config, repr=False, compare=False)

    @classmethod
    def parse(cls, connection: Connection) -> NeptuneMLConnection:
        """
        Read and check an Airflow connection.

        :raises NeptuneMLConfigurationError: names the connection, the field, the value and the rule.
        """
        conn_id = connection.conn_id
        host, schema = connection.host or "", connection.schema or _SCHEMAS[0]
        # Airflow drops a scheme with an underscore, and takes all of the URI for the schema.
        if not host and schema.startswith(("eptune_ml//", "neptune_ml//")):
            raise _error(conn_id, "is a URI that begins with neptune_ml://, which must be neptune-ml://")
        if not host:
            raise _error(
                conn_id,
                "has no host: set it to the endpoint of the Neptune cluster (in a URI, check the port too)",
            )
        name = _host_name(host)
        if name is None:
            shown = "a user or password in its host" if "@" in host else f"host={_shown(host)}"
            raise _error(
                conn_id,
                f"has {shown}, which must be a bare host name: letters, digits and hyphens, 1 to 63 between"
                " two dots",
            )
        if schema not in _SCHEMAS:
            raise _error(
                conn_id, f"has schema={_shown(schema)}, which must be https, or http for a local simulator"
            )
        port = _port(conn_id, connection.port)
        extra = _extra(conn_id, connection.extra)
        _warn_of_others(conn_id, connection.conn_type, tuple(extra))
        in_host = _REGION_IN_HOST.search(name)
        return cls(
            endpoint_url=f"{schema}://{name}:{port}",
            region_name=_text(conn_id, extra, "region_name"),
            region_in_host=in_host.group(1) or in_host.group(2) if in_host else None,
            iam_auth=_boolean(conn_id, extra, "iam_auth", default=True),
            neptune_iam_role_arn=_text(conn_id, extra, "neptune_iam_role_arn"),
            sagemaker_iam_role_arn=_text(conn_id, extra, "sagemaker_iam_role_arn"),
            export_api_url=_text(conn_id, extra, "export_api_url"),
            export_iam_auth=_boolean(conn_id, extra, "export_iam_auth", default=True),
            config=client_config(
                f"Connection {conn_id!r} (neptune_ml_conn_id): config_kwargs", extra.get("config_kwargs")
            ),
        )


def client_config(name: str, options: Config | Mapping[str, Any] | None) -> Config:
    """
    Return the configuration of a botocore client, checked.

    :param name: what a message calls it.
    :param options: the arguments of :external:py:class:`botocore.config.Config`, or one.
    :raises NeptuneMLConfigurationError: names the option that can't be used, and no value.
    """
    if isinstance(options, Config):
        return deepcopy(options)  # botocore writes into the dicts in it
    try:
        # A copy of its own, too.
        checked = botocore_options(name, options or {})
        if checked.get("signature_version") == "unsigned":
            checked["signature_version"] = UNSIGNED
        return Config(**checked)
    except ValueError as error:
        raise NeptuneMLConfigurationError(f"{error}.") from None
    except (AttributeError, TypeError, BotoCoreError) as error:
        raise NeptuneMLConfigurationError(f"{name} can't be used: {str(error).rstrip('.')}.") from None


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


def checked_region(name: str, conn_id: str) -> str:
    """
    Return the name of a region, wherever it comes from.

    :raises NeptuneMLConfigurationError: it can't be one; botocore's own error speaks of another reason.
    """
    if not isinstance(name, str) or not re.fullmatch(_LABEL, name):
        raise NeptuneMLConfigurationError(
            f"region_name={_shown(name)}, of the argument, of connection {conn_id!r} (neptune_ml_conn_id) or"
            " of the AWS connection, must be the name of an AWS region, such as us-east-1."
        )
    return name


def checked_verify(
    argument: bool | str | None, in_connection: bool | str | None, aws_conn_id: str | None
) -> bool | str | None:
    """
    Return whether certificates are verified, or with which CA bundle; None: with the usual one.

    :param argument: what the task says.
    :param in_connection: what it says, or else the AWS connection.
    :param aws_conn_id: the AWS connection.
    :raises NeptuneMLUnreachableError: the bundle can't be used; botocore names neither value nor origin.
    """
    given = in_connection if argument is None else argument
    if given is not None and (flag := to_flag(given)) is not None:
        return flag
    origin = "argument verify"
    if argument is None:
        origin = f"extra of connection {aws_conn_id!r} (aws_conn_id)"
    bundles: Iterable[tuple[Any, str]] = (
        (given, origin),
        *((os.environ.get(name), f"environment variable {name}") for name in _BUNDLE_VARIABLES),
    )
    for bundle, origin in bundles:
        if bundle is not None:
            _check_bundle(bundle, origin)
            break
    return given


def _check_bundle(bundle: Any, origin: str) -> None:
    try:
        if not str(bundle).strip():
            raise ValueError("it is empty")
        ssl.create_default_context(cafile=bundle)
    except (OSError, TypeError, ValueError) as error:
        reason = one_line(getattr(error, "strerror", None) or error)
        raise not_sent(
            f"No request was sent: check `verify`: {_shown(bundle)}, from the {origin}, is not the path of a"
            f" CA bundle: {reason}.",
            transient=False,
        ) from None


def _error(conn_id: str | None, fault: str) -> NeptuneMLConfigurationError:
    return NeptuneMLConfigurationError(f"Connection {conn_id!r} (neptune_ml_conn_id) {fault}.")


def _shown(value: object) -> str:
    """Return a wrong value for a message; of one that may be anything, its type alone."""
    return one_line(repr(value)) if isinstance(value, (str, int, float)) else f"a {type(value).__name__}"


def _host_name(host: str) -> str | None:
    """
    Return a host name or address as it is compared: in lower case, without the dot that may end it.

    botocore signs that dot, and urllib3 doesn't send it.
    """
    with contextlib.suppress(ValueError):
        if "%" not in host:
            # A simulator may listen on ::1; a cluster has a name.
            return f"[{ipaddress.IPv6Address(host.strip('[]'))}]"
    bare = host.removesuffix(".")
    return bare.lower() if _HOST.fullmatch(bare) else None


def _port(conn_id: str | None, value: object) -> int:
    try:
        port = int(str(DEFAULT_PORT if value in (None, "") else value))
    except ValueError:
        port = 0
    if not 0 < port < 65536:
        raise _error(conn_id, f"has port={_shown(value)}, which must be a number from 1 to 65535")
    return port


def _extra(conn_id: str | None, text: str | None) -> Mapping[str, Any]:
    # Not `extra_dejson`: Airflow answers broken JSON with an empty dict there, and iam_auth=false would be
    # lost.
    try:
        extra = json.loads(text) if text else {}
    except ValueError as error:
        raise _error(conn_id, f"has an extra that isn't JSON: {one_line(error)}") from None
    except RecursionError:
        raise _error(conn_id, "has an extra that isn't a JSON object: it is nested too deeply") from None
    if not isinstance(extra, dict):
        raise _error(conn_id, f"has an extra that must be a JSON object, not {type(extra).__name__}")
    return extra


def _text(conn_id: str | None, extra: Mapping[str, Any], name: str) -> str | None:
    value = extra.get(name)
    if value is not None and not isinstance(value, str):
        raise _error(conn_id, f"has {name}={_shown(value)} in its extra, which must be a string")
    return value or None


def _boolean(conn_id: str | None, extra: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = extra.get(name)
    if value is None or value == "":
        return default
    flag = to_flag(value)
    if flag is None:
        raise _error(conn_id, f"has {name}={_shown(value)} in its extra, which must be true or false")
    return flag


@cache
def _warn_of_others(conn_id: str | None, conn_type: str | None, names: tuple[str, ...]) -> None:
    """Log what in a connection is not this package's, and what it was likely meant to be; once a process."""
    others = []
    for name in sorted(set(names) - set(_EXTRAS)):
        likely = get_close_matches(name.casefold().replace("-", "_"), _EXTRAS, 1)
        others.append(f"{name!r} ({likely[0]}?)" if likely else repr(name))
    where = f"Connection {conn_id!r} (neptune_ml_conn_id)"
    if conn_type and conn_type != "neptune_ml":
        _log.warning("%s has type %r, not 'neptune_ml'", where, conn_type)
    if others:
        _log.warning("%s: not known in its extra, and ignored: %s", where, ", ".join(others)[:1000])
