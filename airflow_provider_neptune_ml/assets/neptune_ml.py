"""
Asset URIs: ``neptune-ml://<cluster>/<kind>/<id>``.

Airflow imports this in every process that makes an asset of any kind; keep it as light as the table.
"""

from __future__ import annotations

from urllib.parse import SplitResult, urlunsplit

from airflow_provider_neptune_ml.kinds import ID_RULE, find_kind, is_valid_id

_FORM = "neptune-ml://<cluster>/<kind>/<id>"
_DEFAULT_PORT = 8182


def sanitize_uri(uri: SplitResult) -> SplitResult:
    """
    Bring an asset URI into its normal form: the cluster in lower case, without user and default port.

    :param uri: ``neptune-ml://<cluster>/<kind>/<id>``: a name or the endpoint of the cluster, a kind of
        resource such as ``modeltraining``, and an id, in which ``*`` stands for any characters.
    :raises ValueError: says which part is not right.
    """
    # Not as it was given: what stands before an @ may be a secret.
    shown = urlunsplit(uri._replace(netloc=uri.netloc.rpartition("@")[2]))
    try:
        cluster, port = uri.hostname, uri.port
    except ValueError as error:
        raise ValueError(f"{shown!r} has no valid cluster: {error}; the form is {_FORM}") from None
    parts = uri.path.strip("/").split("/")
    if not cluster or len(parts) != 2 or uri.query or uri.fragment:
        raise ValueError(f"{shown!r} does not have the form {_FORM}")
    kind, resource_id = parts
    try:
        find_kind(kind)
    except ValueError as error:
        raise ValueError(f"{shown!r}: {error}") from None
    if not is_valid_id(resource_id.replace("*", "x")):
        raise ValueError(f"{shown!r}: the id {resource_id!r} must be {ID_RULE}, or * for any of them")
    host = f"[{cluster}]" if ":" in cluster else cluster
    netloc = host if port in (None, _DEFAULT_PORT) else f"{host}:{port}"
    return uri._replace(netloc=netloc, path=f"/{kind}/{resource_id}")
