"""From botocore's errors to ours: what happened, whether it may pass, and where to look next."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

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

# All that a call to botocore raises for other reasons than its caller's mistakes.
# The last one botocore raises bare, where what should renew credentials still gives expired ones.
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


def translate(
    error: Exception,
    *,
    kind: ResourceKind,
    operation: str,
    resource_id: str | None,
    endpoint_url: str,
    aws_conn_id: str | None,
) -> NeptuneMLError:
    """
    Put an error of botocore into our words.

    :param error: what botocore raised, one of :data:`CALL_ERRORS`.
    :param kind: the kind of resource asked for.
    :param operation: the operation that failed.
    :param resource_id: the resource asked for, if any.
    :param endpoint_url: where the request went.
    :param aws_conn_id: where the credentials come from.
    """
    what = f"{operation} of {kind.title} {resource_id!r}" if resource_id else operation
    if isinstance(error, ClientError) and error.operation_name == operation:
        return _refused(error, what, kind, operation, endpoint_url)
    if isinstance(error, ResponseParserError):
        return NeptuneMLUnreachableError(
            f"{what} got a reply from {endpoint_url} that isn't Neptune's: neither of its replies nor of its"
            " errors. Check host and port of the connection, and what stands between.",
            transient=True,
        )
    if isinstance(error, (ConnectionError, HTTPClientError)):
        return _unanswered(error, what, endpoint_url)
    return translate_setup(error, aws_conn_id=aws_conn_id, what=what)


def translate_setup(error: Exception, *, aws_conn_id: str | None, what: str = "The client") -> NeptuneMLError:
    """
    Put into our words what went wrong on the way to a signed request: credentials, profile, region, role.

    :param error: what botocore raised, one of :data:`CALL_ERRORS`.
    :param aws_conn_id: where the credentials come from.
    :param what: what was not done because of it.
    """
    transient = isinstance(error, (ConnectionError, HTTPClientError, CredentialRetrievalError))
    # Not its subclasses, such as NotImplementedError.
    transient = transient or type(error) is RuntimeError
    if isinstance(error, ClientError):
        # A call of another service, such as STS's AssumeRole.
        response = error.response
        transient = _may_pass(
            str(response.get("Error", {}).get("Code", "")),
            int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)),
        )
    return not_sent(
        f"{what} has no AWS credentials to sign with: {_first_line(error)}. Check aws_conn_id"
        f" ({aws_conn_id!r}), or set iam_auth to false for a cluster without IAM authentication.",
        transient=transient,
    )


def not_sent(message: str, *, transient: bool) -> NeptuneMLUnreachableError:
    """Return the error for a request that was certainly not carried out."""
    error = NeptuneMLUnreachableError(message, transient=transient)
    error.ambiguous = False
    return error


def _refused(
    error: ClientError, what: str, kind: ResourceKind, operation: str, endpoint_url: str
) -> NeptuneMLServiceError:
    response = error.response
    metadata = response.get("ResponseMetadata", {})
    code = str(response.get("Error", {}).get("Code", ""))
    http_status = int(metadata.get("HTTPStatusCode", 0))
    # Errors of this service have their text in `detailedMessage`; those of what stands before it may not.
    detail = str(response.get("detailedMessage") or response.get("Error", {}).get("Message") or "")
    request_id = str(response.get("requestId") or metadata.get("RequestId") or "")
    # What isn't JSON has the HTTP status for a code.
    foreign = not response.get("detailedMessage") and (not code or code.isdigit())
    not_found = operation == kind.get_operation and http_status in (400, 404) and code in _NOT_FOUND_CODES
    transient = _may_pass(code, http_status)
    message = f"{what} was refused by {endpoint_url} with {http_status} {code}: {full_stop(detail)}"
    if foreign:
        message = (
            f"{what} got {http_status} from {endpoint_url}, in a form that isn't Neptune's."
            " Check host and port of the connection, and what stands between."
        )
    if http_status == 403 and not transient:
        message += f" The caller needs the permission {kind.iam_action(operation)} on the cluster, and signed"
        message += " requests if the cluster uses IAM authentication (iam_auth, aws_conn_id)."
    if not_found:
        message += f" Check {kind.id_argument}, and the cluster (neptune_ml_conn_id)."
    if request_id:
        message += f" Request id: {request_id}."
    return (NeptuneMLNotFoundError if not_found else NeptuneMLServiceError)(
        message,
        code=code,
        detail=detail,
        http_status=http_status,
        request_id=request_id,
        ambiguous=(http_status == 408 or http_status >= 500) and code not in _THROTTLING_CODES,
        transient=transient,
    )


def _unanswered(error: Exception, what: str, endpoint_url: str) -> NeptuneMLUnreachableError:
    if absent := next((e for e in _causes(error) if isinstance(e, FileNotFoundError)), None):
        return NeptuneMLUnreachableError(f"{what} was not sent: check `verify`: {absent}.")
    if isinstance(error, SSLError):
        untrusted = next((e for e in _causes(error) if isinstance(e, ssl.SSLCertVerificationError)), None)
        if untrusted:
            return NeptuneMLUnreachableError(
                f"{what} was not sent: the TLS certificate of {endpoint_url} can't be trusted"
                f" ({untrusted.verify_message}). Check the host of the connection, and `verify`."
            )
        return NeptuneMLUnreachableError(
            f"{what} failed in the TLS handshake with {endpoint_url} ({_first_line(error)}).", transient=True
        )
    message = f"{what} got no answer: {_first_line(error)}"
    if isinstance(error, (EndpointConnectionError, ConnectTimeoutError)):
        cause = next(
            (e.strerror for e in _causes(error) if isinstance(e, OSError) and e.strerror), "timed out"
        )
        message += (
            f" ({cause}). Check host and port of the connection, and whether the cluster can be reached from"
            " here (VPC, security group)"
        )
        return not_sent(f"{message}.", transient=True)
    return NeptuneMLUnreachableError(f"{message}.", transient=True)


def _may_pass(code: str, http_status: int) -> bool:
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
