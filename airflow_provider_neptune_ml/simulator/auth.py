"""
Verify SigV4 signatures, by letting botocore sign the received request again.

"Missing Authentication Token" is the text of a real Neptune reply, and the code of all refusals is the
documented one. The other texts are those that AWS services share; whether Neptune's are the same is assumed.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from airflow_provider_neptune_ml.simulator.errors import UNSIGNED, ServiceError, access_denied

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SERVICE = "neptune-db"
SKEW = timedelta(minutes=5)

_ALGORITHM = "AWS4-HMAC-SHA256"
_DATE_FORMAT = "%Y%m%dT%H%M%SZ"
_AUTHORIZATION = re.compile(
    rf"{_ALGORITHM}\s+Credential=(?P<key>[^/,\s]+)/(?P<date>[^/,]+)/(?P<region>[^/,]+)/(?P<service>[^/,]+)"
    r"/aws4_request"
    r"\s*,\s*SignedHeaders=(?P<headers>[^,\s]+)\s*,\s*Signature=(?P<signature>[0-9a-f]+)"
)
_MALFORMED = (
    "Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' "
    "parameter. Authorization header requires 'SignedHeaders' parameter."
)
_BAD_TOKEN = "The security token included in the request is invalid."  # noqa: S105 - a text, no token
_BAD_SIGNATURE = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret "
    "Access Key and signing method. Consult the service documentation for details."
)


@dataclass(frozen=True)
class Credential:
    """
    A key pair that the simulator knows.

    :param access_key: access key id.
    :param secret_key: secret access key; never shown.
    :param session_token: the token that requests with temporary keys must carry (default: none).
    """

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


# The pair in AWS's own documentation: known not to be anybody's.
EXAMPLE_CREDENTIAL = Credential("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")


@dataclass(frozen=True)
class Received:
    """
    What of a request is signed, as it came over the wire.

    :param method: the HTTP method.
    :param target: the path and query, still percent-encoded.
    :param headers: the headers by lower-case name.
    :param body: the body.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


class Verifier:
    """
    Check that requests are signed by one of the known keys, for this service and region, and now.

    :param credentials: the known keys.
    :param region: the region that signatures must be for.
    """

    def __init__(self, credentials: Sequence[Credential], region: str) -> None:
        self._known = {credential.access_key: credential for credential in credentials}
        self._region = region

    def check(self, received: Received) -> None:
        """Raise the service's 403 unless the request's signature is right."""
        authorization = received.headers.get("authorization")
        if not authorization:
            raise access_denied(UNSIGNED)
        parts = _AUTHORIZATION.fullmatch(authorization.strip())
        if parts is None:
            raise access_denied(_MALFORMED)
        credential = self._known.get(parts["key"])
        if credential is None or received.headers.get("x-amz-security-token") != credential.session_token:
            raise access_denied(_BAD_TOKEN)
        self._check_scope(parts)
        _check_date(received.headers.get("x-amz-date", ""), parts["date"])
        signed_headers = parts["headers"].split(";")
        if not {"host", "x-amz-date"} <= set(signed_headers):
            raise access_denied("'Host' and 'X-Amz-Date' must be a 'SignedHeader' in the AWS Authorization.")
        expected = _sign(received, signed_headers, credential, self._region)
        if not _body_is_what_was_signed(received) or not hmac.compare_digest(expected, parts["signature"]):
            raise access_denied(_BAD_SIGNATURE)

    def _check_scope(self, parts: re.Match[str]) -> None:
        if parts["service"] != SERVICE:
            raise access_denied(f"Credential should be scoped to correct service: '{SERVICE}'.")
        if parts["region"] != self._region:
            raise access_denied(f"Credential should be scoped to a valid region, not '{parts['region']}'.")


def _check_date(date: str, scope_date: str) -> None:
    try:
        signed = datetime.strptime(date, _DATE_FORMAT).replace(tzinfo=timezone.utc)
    except ValueError:
        raise access_denied("Date must be in ISO-8601 'basic format'.") from None
    if date[:8] != scope_date:
        raise access_denied(
            f"Date in Credential scope does not match YYYYMMDD from ISO-8601 version: '{scope_date}'."
        )
    # The signer's clock has nothing to do with the simulated one.
    now = datetime.now(timezone.utc)
    if signed < now - SKEW:
        raise _skewed(
            "Signature expired", "is now earlier than", signed, now - SKEW, f"({now:{_DATE_FORMAT}} - 5 min.)"
        )
    if signed > now + SKEW:
        raise _skewed(
            "Signature not yet current",
            "is still later than",
            signed,
            now + SKEW,
            f"({now:{_DATE_FORMAT}} + 5 min.)",
        )


def _skewed(what: str, relation: str, signed: datetime, limit: datetime, why: str) -> ServiceError:
    return access_denied(f"{what}: {signed:{_DATE_FORMAT}} {relation} {limit:{_DATE_FORMAT}} {why}")


def _body_is_what_was_signed(received: Received) -> bool:
    declared = received.headers.get("x-amz-content-sha256")
    return declared is None or declared == hashlib.sha256(received.body).hexdigest()


def _sign(received: Received, signed_headers: Sequence[str], credential: Credential, region: str) -> str:
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest, HTTPHeaders
    from botocore.credentials import Credentials

    # Clients leave some headers out that botocore would sign, e.g. awscurl all but two: sign what they
    # signed.
    headers = HTTPHeaders()
    for name in signed_headers:
        headers[name] = received.headers.get(name, "")
    keys = Credentials(credential.access_key, credential.secret_key, credential.session_token)
    request = AWSRequest(
        method=received.method,
        url=f"http://{received.headers.get('host', '')}{received.target}",
        headers=dict(received.headers),
        data=received.body,
    )
    request.context["timestamp"] = received.headers["x-amz-date"]
    auth: Any = SigV4Auth(keys, SERVICE, region)
    auth.headers_to_sign = lambda _: headers
    return str(auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request))
