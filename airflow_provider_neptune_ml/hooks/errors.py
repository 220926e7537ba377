"""From botocore's errors to ours: what happened, whether it is transient, and where to look next."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,  # noqa: A004  botocore's own, not the builtin
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    HTTPClientError,
    SSLError,
)
from botocore.parsers import ResponseParserError

from airflow_provider_neptune_ml.exceptions import (
    NeptuneMLError,
    NeptuneMLNotFoundError,
    NeptuneMLServiceError,
    NeptuneMLUnreachableError,
    full_stop,
)
from airflow_provider_neptune_ml.kinds import ResourceKind

# What a call to botocore raises; of the last one, see is_call_error.
CALL_ERRORS = (ClientError, BotoCoreError, ResponseParserError, RuntimeError)

EXPIRED_CODES = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"})
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


def is_call_error(error: Exception) -> bool:
    """Tell whether botocore raised an error for another reason than its caller's mistakes."""
    if isinstance(error, RuntimeError):
        # Bare, where refreshed credentials are expired all the same; not a recursion, nor a thread too many.
        return type(error) is RuntimeError and "credentials" in str(error).casefold()
    return isinstance(error, CALL_ERRORS)


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
        name = host.split(".", 1)[0] if ".neptune.amazonaws." in host else host
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
    if isinstance(error, ResponseParserError):
        return NeptuneMLUnreachableError(
            f"{request.subject}: the reply is not one of Neptune's. Check {request.address}, and any proxy or"
            " load balancer in between.",
            transient=True,
            reference=request.reference,
        )
    if isinstance(error, (ConnectionError, HTTPClientError)):
        return _unanswered(error, request)
    return translate_setup(
        error, aws_conn_id=request.aws_conn_id, subject=request.subject, reference=request.reference
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
    transient = isinstance(error, (ConnectionError, HTTPClientError, CredentialRetrievalError, RuntimeError))
    if isinstance(error, ClientError):
        # A call of another service, such as STS's AssumeRole.
        response = error.response
        transient = _is_transient(
            str(response.get("Error", {}).get("Code", "")),
            int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)),
        )
    return not_sent(
        f"{subject}: no AWS credentials to sign the request with: {_first_line(error)}. Check aws_conn_id"
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
    response = error.response
    metadata = response.get("ResponseMetadata", {})
    code = str(response.get("Error", {}).get("Code", ""))
    http_status = int(metadata.get("HTTPStatusCode", 0))
    # Errors of this service have their text in `detailedMessage`; those of what stands before it may not.
    detail = str(response.get("detailedMessage") or response.get("Error", {}).get("Message") or "")
    request_id = str(response.get("requestId") or metadata.get("RequestId") or "")
    # What isn't JSON has the HTTP status for a code.
    foreign = not response.get("detailedMessage") and (not code or code.isdigit())
    is_get = request.operation == request.kind.get_operation
    not_found = is_get and http_status in (400, 404) and code in _NOT_FOUND_CODES
    transient = _is_transient(code, http_status)
    ambiguous = (http_status == 408 or http_status >= 500) and code not in _THROTTLING_CODES
    answer = f"{http_status}" if foreign else f"{http_status} {code}"
    undone = "" if transient or ambiguous else request.undone
    message = f"{request.subject}{undone}: {answer}: {full_stop(detail)}"
    if foreign:
        message = (
            f"{request.subject}: HTTP status {http_status}, in a form that isn't Neptune's."
            f" Check {request.address}, and any proxy or load balancer in between."
        )
    elif not_found:
        message = (
            f"No {request.kind.title} {request.resource_id!r} on {request.cluster}:"
            f" {full_stop(detail or code)} Check {request.kind.id_argument}, and the cluster"
            " (neptune_ml_conn_id)."
        )
    if http_status == 403 and not transient:
        message += (
            f" The IAM principal of aws_conn_id ({request.aws_conn_id!r}) needs the permission"
            f" {request.kind.iam_action(request.operation)} on the cluster, and signed requests if the"
            " cluster uses IAM authentication (iam_auth)."
        )
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


def _unanswered(error: Exception, request: Request) -> NeptuneMLUnreachableError:
    subject, reference = request.subject, request.reference
    if absent := next((e for e in _causes(error) if isinstance(e, FileNotFoundError)), None):
        return NeptuneMLUnreachableError(
            f"{subject}: no request was sent: check `verify`: {absent}.", reference=reference
        )
    if isinstance(error, SSLError):
        untrusted = next((e for e in _causes(error) if isinstance(e, ssl.SSLCertVerificationError)), None)
        if untrusted:
            return NeptuneMLUnreachableError(
                f"{subject}: the TLS certificate can't be trusted ({untrusted.verify_message}). Check the"
                f" host of connection {request.neptune_ml_conn_id!r}, and `verify`.",
                reference=reference,
            )
        return NeptuneMLUnreachableError(
            f"{subject}: TLS handshake failed ({_first_line(error)}). Check {request.address}.",
            transient=True,
            reference=reference,
        )
    if isinstance(error, (EndpointConnectionError, ConnectTimeoutError)):
        cause = next(
            (e.strerror for e in _causes(error) if isinstance(e, OSError) and e.strerror), "timed out"
        )
        return not_sent(
            f"{subject}: can't connect to {request.cluster}: {cause}. Check {request.address}, and whether"
            " the cluster can be reached from here (VPC, security group).",
            transient=True,
            reference=reference,
        )
    return NeptuneMLUnreachableError(
        f"{subject}: no answer from {request.cluster}: {_first_line(error)}."
        f" If that lasts: check {request.address}.",
        transient=True,
        reference=reference,
    )


def _is_transient(code: str, http_status: int) -> bool:
    return (
        http_status in (408, 429) or http_status >= 500 or code in _THROTTLING_CODES or code in EXPIRED_CODES
    )


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


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0].rstrip(".")
