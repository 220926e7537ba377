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
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from airflow_provider_neptune_ml.simulator.errors import UNSIGNED, ServiceError, access_denied

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SERVICE = "neptune-db"
EXPORT_SERVICE = "execute-api"
SKEW = timedelta(minutes=5)

_ALGORITHM = "AWS4-HMAC-SHA256"
_DATE_FORMAT = "%Y%m%dT%H%M%SZ"
_DATE = re.compile("[0-9]{8}T[0-9]{6}Z")
_PARTS = ("Credential", "SignedHeaders", "Signature")
_QUERY_PARTS = (
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
)
_QUERY_TOKEN = "X-Amz-Security-Token"  # noqa: S105 - a name, no token
_MOST_EXPIRES = 604800
_ONLY_ONCE = ("host", "x-amz-security-token", "x-amz-content-sha256")
_MALFORMED = (
    "Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' "
    "parameter. Authorization header requires 'SignedHeaders' parameter."
)
_MALFORMED_QUERY = (
    "AWS query-string parameters must include 'X-Amz-Algorithm', 'X-Amz-Credential', 'X-Amz-Signature', "
    "'X-Amz-SignedHeaders' and 'X-Amz-Date', each once. Re-examine the query-string parameters."
)
_TWO_SIGNATURES = "Only one signature is allowed: one Authorization header, or X-Amz-Signature in the query."
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
    :param headers: all values of the headers by lower-case name.
    :param body: the body.
    """

    method: str
    target: str
    headers: Mapping[str, Sequence[str]]
    body: bytes

    def header(self, name: str) -> str:
        """Return the first value of a header, or an empty text."""
        return next(iter(self.headers.get(name, ())), "")


@dataclass(frozen=True)
class Claim:
    """
    What a request says about its signature, in its ``Authorization`` header or, presigned, in its query.

    :param credential: access key, date, region and service.
    :param signed_headers: the headers that are signed.
    :param signature: the signature.
    :param timestamp: when it was signed, as ``YYYYMMDDTHHMMSSZ``.
    :param token: the session token; empty without one.
    :param date_header: the header that has the timestamp; None for a presigned request.
    :param lifetime: how long it may be used.
    """

    credential: tuple[str, str, str, str]
    signed_headers: Sequence[str]
    signature: str
    timestamp: str
    token: str = field(repr=False)
    date_header: str | None
    lifetime: timedelta = SKEW


class Verifier:
    """
    Check that requests are signed by one of the known keys, for this service and region, and now.

    :param credentials: the known keys.
    :param region: the region that signatures must be for.
    """

    def __init__(self, credentials: Sequence[Credential], region: str) -> None:
        self._known = {credential.access_key: credential for credential in credentials}
        self._region = region

    def check(self, received: Received, wanted: str = SERVICE) -> None:
        """
        Raise the service's 403 unless the request's signature is right.

        :param received: the request.
        :param wanted: the service that signatures must be for.
        """
        claim = _read_claim(received)
        key, date, region, service = claim.credential
        credential = self._known.get(key)
        if credential is None or claim.token != (credential.session_token or ""):
            raise access_denied(_BAD_TOKEN)
        if service != wanted:
            raise access_denied(f"Credential should be scoped to correct service: '{wanted}'.")
        if region != self._region:
            raise access_denied(f"Credential should be scoped to a valid region, not '{region}'.")
        _check_date(claim, date)
        _check_headers(received, claim)
        # Both forms of the query that botocore signs: as it is in the URL, and encoded anew.
        right = [_sign(received, claim, credential, encoded_anew=anew).encode() for anew in (False, True)]
        if not _body_is_what_was_signed(received) or not any(
            hmac.compare_digest(signature, claim.signature.encode()) for signature in right
        ):
            raise access_denied(_BAD_SIGNATURE)


def _read_claim(received: Received) -> Claim:
    headers = received.headers.get("authorization", ())
    query = parse_qsl(received.target.partition("?")[2], keep_blank_values=True)
    is_presigned = any(name in ("X-Amz-Algorithm", "X-Amz-Signature") for name, _ in query)
    if not headers and not is_presigned:
        raise access_denied(UNSIGNED)
    if len(headers) + is_presigned > 1:
        raise access_denied(_TWO_SIGNATURES)
    return _read_query(query) if is_presigned else _read_authorization(headers[0], received)


def _read_authorization(text: str, received: Received) -> Claim:
    algorithm, _, rest = text.strip().partition(" ")
    parts = [part.strip().partition("=")[::2] for part in rest.split(",")]
    values = dict(parts)
    if algorithm != _ALGORITHM or len(parts) != 3 or values.keys() != set(_PARTS) or not all(values.values()):
        raise access_denied(_MALFORMED)
    date_header = "x-amz-date" if "x-amz-date" in received.headers else "date"
    for name in (date_header, *_ONLY_ONCE):
        if len(received.headers.get(name, ())) > 1:
            raise access_denied(f"The header '{name}' must not be repeated.")
    return Claim(
        credential=_read_credential(values["Credential"]),
        signed_headers=values["SignedHeaders"].split(";"),
        signature=values["Signature"],
        timestamp=_read_http_date(received.header("date"))
        if date_header == "date"
        else received.header("x-amz-date"),
        token=received.header("x-amz-security-token"),
        date_header=date_header,
    )


def _read_query(query: Sequence[tuple[str, str]]) -> Claim:
    values = dict(query)
    names = [name for name, _ in query if name in (*_QUERY_PARTS, _QUERY_TOKEN)]
    expires = values.get("X-Amz-Expires", "")
    if (
        values.get("X-Amz-Algorithm") != _ALGORITHM
        or sorted(names) != sorted({*names, *_QUERY_PARTS})
        or not all(values[name] for name in _QUERY_PARTS)
    ):
        raise access_denied(_MALFORMED_QUERY)
    if not re.fullmatch("[0-9]{1,6}", expires) or not 1 <= int(expires) <= _MOST_EXPIRES:
        raise access_denied(f"X-Amz-Expires must be from 1 to {_MOST_EXPIRES} seconds, not '{expires:.20}'.")
    return Claim(
        credential=_read_credential(values["X-Amz-Credential"]),
        signed_headers=values["X-Amz-SignedHeaders"].split(";"),
        signature=values["X-Amz-Signature"],
        timestamp=values["X-Amz-Date"],
        token=values.get(_QUERY_TOKEN, ""),
        date_header=None,
        lifetime=timedelta(seconds=int(expires)),
    )


def _read_credential(text: str) -> tuple[str, str, str, str]:
    parts = text.split("/")
    if len(parts) != 5 or parts[4] != "aws4_request" or not all(parts):
        raise access_denied(_MALFORMED)
    return parts[0], parts[1], parts[2], parts[3]


def _read_http_date(text: str) -> str:
    try:
        return f"{parsedate_to_datetime(text).astimezone(timezone.utc):{_DATE_FORMAT}}"
    except (ValueError, TypeError, OverflowError):  # TypeError in Python 3.10
        return ""


def _check_date(claim: Claim, scope_date: str) -> None:
    date = claim.timestamp
    try:
        # strptime alone takes a lower-case z, and digits of other scripts.
        if not _DATE.fullmatch(date):
            raise ValueError(date)
        signed = datetime.strptime(date, _DATE_FORMAT).replace(tzinfo=timezone.utc)
    except ValueError:
        raise access_denied("Date must be in ISO-8601 'basic format'.") from None
    if date[:8] != scope_date:
        raise access_denied(
            f"Date in Credential scope does not match YYYYMMDD from ISO-8601 version: '{scope_date}'."
        )
    # The signer's clock has nothing to do with the simulated one.
    now = datetime.now(timezone.utc)
    if signed < now - claim.lifetime:
        minutes = f"{claim.lifetime.total_seconds() / 60:g}"
        why = f"({now:{_DATE_FORMAT}} - {minutes} min.)"
        raise _skewed("Signature expired", "is now earlier than", signed, now - claim.lifetime, why)
    if signed > now + SKEW:
        why = f"({now:{_DATE_FORMAT}} + 5 min.)"
        raise _skewed("Signature not yet current", "is still later than", signed, now + SKEW, why)


def _skewed(what: str, relation: str, signed: datetime, limit: datetime, why: str) -> ServiceError:
    return access_denied(f"{what}: {signed:{_DATE_FORMAT}} {relation} {limit:{_DATE_FORMAT}} {why}")


def _check_headers(received: Received, claim: Claim) -> None:
    """Refuse signatures over headers that aren't there, and without those that must be in it."""
    for name in claim.signed_headers:
        if name not in received.headers:
            raise access_denied(
                f"'{name}' is named as a SignedHeader, but it does not exist in the HTTP request."
            )
    needed = {"host", *(name for name in received.headers if name.startswith("x-amz-"))}
    for name in sorted(needed | ({claim.date_header} if claim.date_header else set())):
        if name not in claim.signed_headers:
            raise access_denied(f"'{name.title()}' must be a 'SignedHeader' in the AWS Authorization.")


def _body_is_what_was_signed(received: Received) -> bool:
    declared = received.header("x-amz-content-sha256")
    return not declared or declared == hashlib.sha256(received.body).hexdigest()


def _sign(received: Received, claim: Claim, credential: Credential, *, encoded_anew: bool) -> str:
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest, HTTPHeaders
    from botocore.credentials import Credentials

    # Clients leave some headers out that botocore would sign, e.g. awscurl all but two: sign what they
    # signed.
    headers = HTTPHeaders()
    for name in claim.signed_headers:
        for value in received.headers[name]:
            headers[name] = value
    path, _, query = received.target.replace("#", "%23").partition("?")
    query = "&".join(part for part in query.split("&") if not part.startswith("X-Amz-Signature="))
    params: Any = parse_qsl(query, keep_blank_values=True) if encoded_anew else None  # a name may be repeated
    request = AWSRequest(
        method=received.method,
        url=f"http://{received.header('host')}{path}?{query}",
        headers={name: values[0] for name, values in received.headers.items()},
        data=received.body,
        params=params,
    )
    request.context["timestamp"] = claim.timestamp
    keys = Credentials(credential.access_key, credential.secret_key, credential.session_token)
    _, _, region, service = claim.credential
    auth: Any = SigV4Auth(keys, service, region)
    auth.headers_to_sign = lambda _: headers
    return str(auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request))
