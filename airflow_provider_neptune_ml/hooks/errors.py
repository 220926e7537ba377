"""From botocore's errors to ours: what happened, whether it is transient, and where to look next."""

from __future__ import annotations

import re
import ssl
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,  # noqa: A004  botocore's own, not the builtin
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    HTTPClientError,
    InvalidConfigError,
    InvalidProxiesConfigError,
    InvalidRegionError,
    InvalidRetryConfigurationError,
    SSLError,
)
from botocore.parsers import ResponseParserError
from urllib3.util.ssl_match_hostname import CertificateError

from airflow_provider_neptune_ml.exceptions import (
    NeptuneMLError,
    NeptuneMLNotFoundError,
    NeptuneMLServiceError,
    NeptuneMLUnreachableError,
    full_stop,
)
from airflow_provider_neptune_ml.kinds import ResourceKind
from airflow_provider_neptune_ml.text import one_line

# What its parser raises on a body that is not as its model says.
_PARSER_ERRORS = (AttributeError, KeyError, TypeError, ValueError)
# Of its own, those that are not about credentials.
_SETTING_ERRORS = (
    InvalidConfigError,
    InvalidProxiesConfigError,
    InvalidRegionError,
    InvalidRetryConfigurationError,
)
_EXPIRED_CODES = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"}
)
_THROTTLING_CODES = frozenset(
    {
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
# "Invalid ID provided. Please check whether a resource with the given ID exists." comes as one or the other;
# AWS's guide and its model disagree. Get takes an id, checked before it is sent, and a role: nothing else to
# be invalid.
_NOT_FOUND_CODES = frozenset({"MLResourceNotFoundException", "InvalidParameterException"})
# Neptune gives one code to all refusals of a caller, and to much of what SageMaker has said: the text tells.
_EXPIRED = re.compile(
    r"(token|credentials?|session)\b[^.]{0,60}\b(has|have|is|are) expired|ExpiredToken", re.I
)
_THROTTLED = re.compile(r"Rate exceeded|ThrottlingException|TooManyRequestsException|Too many requests", re.I)
_UNSIGNED = re.compile(r"Missing ?Authentication ?Token", re.I)
# What a 403 is about, by its text: the first that matches.
_ADVICE = (
    (
        re.compile("execute-api", re.I),
        "API Gateway answered, not Neptune: {address} must be those of the cluster endpoint.",
    ),
    (
        re.compile("scoped to a valid region", re.I),
        "The request was signed for another region than the cluster's: check region_name, of the argument or"
        " of connection {conn_id!r}.",
    ),
    (
        re.compile("Signature (expired|not yet current)|RequestTimeTooSkewed|Request has expired", re.I),
        "Check the clock of this machine: signatures are valid for minutes.",
    ),
    (
        _UNSIGNED,
        "The request came without a signature: set iam_auth of connection {conn_id!r} to true. If it is, a"
        " proxy in between has removed the signature, or another service answered: check {address}.",
    ),
    (
        re.compile(
            "SignedHeader|signature we calculated|signature does ?n[o']t match|InvalidSignature", re.I
        ),
        "Check the secret access key of aws_conn_id ({aws_conn_id!r}), and the host of connection"
        " {conn_id!r}: the signature has its name, so a tunnel or load balancer under another one breaks it.",
    ),
    (
        re.compile("security token|InvalidClientTokenId|UnrecognizedClient|InvalidAccessKeyId", re.I),
        "Check the access key and session token of aws_conn_id ({aws_conn_id!r}): AWS doesn't know them.",
    ),
    (
        re.compile("not authorized|unauthorized|explicit deny|permission|not allowed", re.I),
        "The IAM principal of aws_conn_id ({aws_conn_id!r}) needs the permission {action} on the cluster.",
    ),
    (
        re.compile(""),
        "Check the credentials of aws_conn_id ({aws_conn_id!r}) and their policy, and whether the cluster"
        " uses IAM authentication (iam_auth).",
    ),
)


def is_call_error(error: Exception) -> bool:
    """Tell whether botocore raised an error for another reason than its caller's mistakes."""
    if isinstance(error, (ClientError, BotoCoreError, ResponseParserError)):
        return True
    if isinstance(error, RecursionError):
        # Credentials that are JSON, or the extra of the AWS connection.
        return _is_raised_in(error, "json.decoder")
    if isinstance(error, RuntimeError):
        # Bare, where refreshed credentials are expired all the same; not a thread too many.
        return type(error) is RuntimeError and "credentials" in str(error).casefold()
    return _is_parser_error(error)


def is_expired(error: Exception) -> bool:
    """Tell whether a service refused credentials because they have expired, by its code or its text."""
    if not isinstance(error, ClientError):
        return False
    code, detail = _said(error)
    return code in _EXPIRED_CODES or _EXPIRED.search(detail) is not None


def is_unsigned(error: NeptuneMLError) -> bool:
    """Tell whether a request was refused for want of a signature."""
    return isinstance(error, NeptuneMLServiceError) and _UNSIGNED.search(error.detail) is not None


def _is_parser_error(error: Exception) -> bool:
    return isinstance(error, ResponseParserError) or (
        isinstance(error, _PARSER_ERRORS) and _is_raised_in(error, "botocore.parsers")
    )


def _is_raised_in(error: Exception, module: str) -> bool:
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_globals.get("__name__") == module for frame, _ in frames)


@dataclass(frozen=True)
class Request:
    """
    What was requested of which cluster, for messages.

    :param kind: the kind of resource.
    :param operation: the operation.
    :param resource_id: the resource, if any.
    :param endpoint_url: where the request went.
    :param neptune_ml_conn_id: the connection with the cluster.
    :param aws_conn_id: the connection with the credentials.
    """

    kind: ResourceKind
    operation: str
    resource_id: str | None
    endpoint_url: str
    neptune_ml_conn_id: str
    aws_conn_id: str | None

    @property
    def subject(self) -> str:
        """How a message begins."""
        return self.kind.name_of(self.resource_id) if self.resource_id else f"List of {self.kind.title}s"

    @property
    def undone(self) -> str:
        """What a refusal means where it is certain that nothing was carried out."""
        if self.operation == self.kind.start_operation:
            return " not started"
        if self.operation == self.kind.stop_operation:
            return " not cancelled" if self.kind.is_job else " not deleted"
        return ""

    @property
    def cluster(self) -> str:
        """The name of the cluster, and its connection."""
        host = urlsplit(self.endpoint_url).hostname or ""
        name = host.split(".", 1)[0] if ".neptune." in host and ".amazonaws." in host else host
        return f"cluster {name} ({self.neptune_ml_conn_id})"

    @property
    def reference(self) -> str:
        """What AWS support asks for."""
        return f"{self.operation}, {self.endpoint_url}"

    @property
    def address(self) -> str:
        """What to check where something else than Neptune answers, or nothing."""
        return f"host, port and schema (http or https) of connection {self.neptune_ml_conn_id!r}"


def translate(error: Exception, request: Request) -> NeptuneMLError:
    """
    Put an error of botocore into our words.

    :param error: what botocore raised, see :func:`is_call_error`.
    :param request: what was requested.
    """
    if isinstance(error, ClientError) and error.operation_name == request.operation:
        return _refused(error, request)
    if _is_parser_error(error):
        return not_neptunes(request)
    if isinstance(error, (ConnectionError, HTTPClientError)):
        return _unanswered(error, request)
    return translate_setup(
        error, aws_conn_id=request.aws_conn_id, subject=request.subject, reference=request.reference
    )


def not_neptunes(request: Request) -> NeptuneMLUnreachableError:
    """Return the error for a reply that the service would not give."""
    return NeptuneMLUnreachableError(
        f"{request.subject}: the reply is not one of Neptune's. Check {request.address}, and any proxy or"
        " load balancer in between.",
        transient=True,
        reference=request.reference,
    )


def translate_setup(
    error: Exception, *, aws_conn_id: str | None, subject: str = "Neptune ML", reference: str = ""
) -> NeptuneMLError:
    """
    Put into our words what went wrong on the way to a signed request: credentials, profile, region, role.

    :param error: what botocore raised, see :func:`is_call_error`.
    :param aws_conn_id: where the credentials come from.
    :param subject: how the message begins.
    :param reference: how it ends.
    """
    if isinstance(error, RecursionError):
        return not_sent(
            f"{subject}: the AWS credentials can't be read: JSON that is nested too deeply, in aws_conn_id"
            f" ({aws_conn_id!r}) or in what it refers to.",
            transient=False,
            reference=reference,
        )
    if isinstance(error, _SETTING_ERRORS):
        return not_sent(
            f"{subject}: no request was sent: {_said_by(error)}. Check botocore_config, aws_conn_id"
            f" ({aws_conn_id!r}) and AWS's config file.",
            transient=False,
            reference=reference,
        )
    transient = isinstance(error, (ConnectionError, HTTPClientError, CredentialRetrievalError, RuntimeError))
    if isinstance(error, ClientError):
        # A call of another service, such as STS's AssumeRole.
        transient = is_transient(error)
    return not_sent(
        f"{subject}: no AWS credentials to sign the request with: {_said_by(error)}. Check aws_conn_id"
        f" ({aws_conn_id!r}), or set iam_auth to false for a cluster without IAM authentication.",
        transient=transient,
        reference=reference,
    )


def not_sent(message: str, *, transient: bool, reference: str = "") -> NeptuneMLUnreachableError:
    """Return the error for a request that was certainly not carried out."""
    error = NeptuneMLUnreachableError(message, transient=transient, reference=reference)
    error.ambiguous = False
    return error


def _refused(error: ClientError, request: Request) -> NeptuneMLServiceError:
    response: Any = error.response  # its type lacks what handlers.py adds
    code, detail = _said(error)
    http_status = _http_status(error)
    request_id = one_line(response.get("requestId") or response["ResponseMetadata"].get("RequestId") or "")
    # What isn't JSON has the HTTP status for a code.
    foreign = not response.get("detailedMessage") and (not code or code.isdigit())
    transient = is_transient(error)
    is_get = request.operation == request.kind.get_operation
    not_found = is_get and not transient and http_status in (400, 404) and code in _NOT_FOUND_CODES
    ambiguous = (http_status == 408 or http_status >= 500) and code not in _THROTTLING_CODES
    answer = f"{http_status}" if not code or code.isdigit() else f"{http_status} {code}"
    undone = "" if transient or ambiguous else request.undone
    message = f"{request.subject}{undone}: {answer}: {full_stop(detail)}"
    if foreign:
        said = f": {full_stop(one_line(response['message']))}" if response.get("message") else "."
        message = (
            f"{request.subject}: HTTP status {http_status}, in a form that isn't Neptune's{said}"
            f" Check {request.address}, and any proxy or load balancer in between."
        )
    elif not_found:
        message = (
            f"No {request.kind.title} {request.resource_id!r} on {request.cluster}:"
            f" {full_stop(detail or code)} Check {request.kind.id_argument}, and the cluster"
            " (neptune_ml_conn_id)."
        )
    elif http_status == 403 and not transient:
        message += f" {_advice(f'{code}: {detail}', request)}"
    return (NeptuneMLNotFoundError if not_found else NeptuneMLServiceError)(
        message,
        code=code,
        detail=detail,
        http_status=http_status,
        request_id=request_id,
        ambiguous=ambiguous,
        transient=transient,
        reference=f"{request.reference}, {answer}" + (f", request id {request_id}" if request_id else ""),
    )


def _advice(said: str, request: Request) -> str:
    return next(advice for pattern, advice in _ADVICE if pattern.search(said)).format(
        address=request.address,
        conn_id=request.neptune_ml_conn_id,
        aws_conn_id=request.aws_conn_id,
        action=request.kind.iam_action(request.operation),
    )


def _unanswered(error: Exception, request: Request) -> NeptuneMLUnreachableError:
    subject, reference = request.subject, request.reference
    if absent := _cause_of_type(error, FileNotFoundError):
        return not_sent(
            f"{subject}: no request was sent: check `verify`, and ca_bundle of AWS's config file:"
            f" {one_line(absent)}.",
            transient=False,
            reference=reference,
        )
    if type(error) is HTTPClientError and (unusable := _cause_of_type(error, ValueError)):
        # Its text may have a session token, or a proxy's password.
        return not_sent(
            f"{subject}: no request was sent: a setting can't be used ({type(unusable).__name__}). Check the"
            f" credentials of aws_conn_id ({request.aws_conn_id!r}), which must be without line breaks, and"
            " the URLs of proxies.",
            transient=False,
            reference=reference,
        )
    if isinstance(error, SSLError):
        if untrusted := _distrust(error):
            return not_sent(
                f"{subject}: the TLS certificate can't be trusted ({untrusted}). Check the"
                f" host of connection {request.neptune_ml_conn_id!r}, and `verify`.",
                transient=False,
                reference=reference,
            )
        return NeptuneMLUnreachableError(
            f"{subject}: TLS handshake failed ({_said_by(error)}). Check {request.address}.",
            transient=True,
            reference=reference,
        )
    if isinstance(error, (EndpointConnectionError, ConnectTimeoutError)):
        cause = next(
            (e.strerror for e in _causes(error) if isinstance(e, OSError) and e.strerror), "timed out"
        )
        return not_sent(
            f"{subject}: can't connect to {request.cluster}: {one_line(cause)}. Check {request.address}, and"
            " whether the cluster can be reached from here (VPC, security group).",
            transient=True,
            reference=reference,
        )
    return NeptuneMLUnreachableError(
        f"{subject}: no answer from {request.cluster}: {_said_by(error)}."
        f" If that lasts: check {request.address}.",
        transient=True,
        reference=reference,
    )


def _distrust(error: Exception) -> str:
    """Return why a certificate is not trusted; empty where something else went wrong."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return one_line(cause.verify_message)
        # urllib3 compares the names itself.
        if isinstance(cause, CertificateError):
            return f"Hostname mismatch: {one_line(cause)}"
    return ""


def is_transient(error: ClientError) -> bool:
    """Tell whether the same request may well be answered a moment later."""
    code, detail = _said(error)
    http_status = _http_status(error)
    return (
        http_status in (408, 429)
        or http_status >= 500
        or code in _THROTTLING_CODES
        or _THROTTLED.search(detail) is not None
        or is_expired(error)
    )


def _said(error: ClientError) -> tuple[str, str]:
    """Return the code and the text of an error."""
    response = error.response
    named = response.get("Error", {})
    # Errors of this service have their text in `detailedMessage`; those of what stands before it may not.
    detail = response.get("detailedMessage") or named.get("Message") or ""
    return one_line(named.get("Code") or ""), one_line(detail)


def _http_status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _cause_of_type(error: Exception, cls: type[Exception]) -> BaseException | None:
    return next((cause for cause in _causes(error) if isinstance(cause, cls)), None)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and all that it was made of: urllib3 hides reasons in arguments, too."""
    waiting, seen = [error], set()
    while waiting:
        current = waiting.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        # Others than botocore's, which may be about, have other things there.
        kwargs = getattr(current, "kwargs", None)
        named = kwargs.values() if isinstance(kwargs, dict) else ()
        parts = [current.__cause__, current.__context__, *current.args, *named]
        waiting.extend(part for part in parts if isinstance(part, BaseException))


def _said_by(error: Exception) -> str:
    return one_line(str(error).strip().split("\n", 1)[0]).rstrip(".")
