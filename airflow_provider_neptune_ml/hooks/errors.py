"""From botocore's errors to ours: what happened, whether it is transient, and where to look next."""

from __future__ import annotations

import re
import ssl
import traceback
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlsplit

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,  # noqa: A004  botocore's own, not the builtin
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    HTTPClientError,
    IncompleteReadError,
    InvalidConfigError,
    InvalidProxiesConfigError,
    InvalidRegionError,
    InvalidRetryConfigurationError,
    ReadTimeoutError,
    ResponseStreamingError,
    SSLError,
)
from botocore.parsers import ResponseParserError
from urllib3.util.ssl_match_hostname import CertificateError

from airflow_provider_neptune_ml.exceptions import (
    NeptuneMLError,
    NeptuneMLNotFoundError,
    NeptuneMLServiceError,
    NeptuneMLTimeoutError,
    NeptuneMLUnreachableError,
    full_stop,
)
from airflow_provider_neptune_ml.hooks.limits import ReplyTooLongError
from airflow_provider_neptune_ml.kinds import QueryLanguage, ResourceKind
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
_TRANSIENT_ERRORS = (ConnectionError, HTTPClientError, CredentialRetrievalError, RuntimeError)
# A body that breaks off.
_CUT_ERRORS = (IncompleteReadError, ResponseStreamingError)
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
# The query itself was ended: the same one would be again.
_FAILED_QUERY_CODES = frozenset(
    {
        "CancelledByUserException",
        "FailureByQueryException",
        "QueryLimitExceededException",
        "TimeLimitExceededException",
    }
)
# Nothing was changed: the transaction was rolled back, or never began.
# https://docs.aws.amazon.com/neptune/latest/userguide/errors-engine-codes.html
_CERTAIN_CODES = frozenset({"ConcurrentModificationException", "MemoryLimitExceededException"}) | (
    _THROTTLING_CODES | _FAILED_QUERY_CODES
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
# Neptune takes no scripts: there is no other way to these steps than by their names.
# https://tinkerpop.apache.org/docs/current/reference/#graph-traversal-steps
_CHANGING_STEPS = re.compile(r"\b(addV|addE|mergeV|mergeE|property|drop|io|call)\b", re.I)
UNSIGNED_CLUSTER = "iam_auth to false for a cluster without IAM authentication"
# What a 403 is about, by its text: the first that matches. These hold for whichever service was asked.
SIGNING_ADVICE = (
    (
        re.compile("scoped to a valid region", re.I),
        "The request was signed for another region than the cluster's: check region_name, of the argument or"
        " of connection {conn_id!r}.",
    ),
    (
        re.compile("Signature (expired|not yet current)|RequestTimeTooSkewed|Request has expired", re.I),
        "Check the clock of this machine: signatures are valid for minutes.",
    ),
)
KEY_ADVICE = (
    (
        re.compile(
            "SignedHeader|signature we calculated|signature does ?n[o']t match|InvalidSignature", re.I
        ),
        "Check the secret access key of aws_conn_id ({aws_conn_id!r}), and the host of"
        " connection {conn_id!r}: the signature covers its name, so a tunnel or load balancer under another"
        " one breaks it.",
    ),
    (
        re.compile("security token|InvalidClientTokenId|UnrecognizedClient|InvalidAccessKeyId", re.I),
        "Check the access key and session token of aws_conn_id ({aws_conn_id!r}): AWS doesn't know them.",
    ),
)
ADVICE = (
    (
        re.compile("execute-api", re.I),
        "API Gateway answered, not Neptune: {address} must be those of the cluster endpoint.",
    ),
    *SIGNING_ADVICE,
    (
        _UNSIGNED,
        "The request came without a signature: set iam_auth of connection {conn_id!r} to true. If it is, a"
        " proxy in between has removed the signature, or another service answered: check {address}.",
    ),
    *KEY_ADVICE,
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


class AnyRequest(ABC):
    """What was requested of which cluster, for messages."""

    operation: str
    endpoint_url: str
    neptune_ml_conn_id: str
    aws_conn_id: str | None
    # Who should answer, what a 403 is about, by its text (the first that matches), and the names of settings.
    service: ClassVar[str] = "Neptune"
    advice: ClassVar[Sequence[tuple[re.Pattern[str], str]]] = ADVICE
    unsigned: ClassVar[str] = UNSIGNED_CLUSTER
    whereabouts: ClassVar[str] = "the cluster (neptune_ml_conn_id)"

    @property
    @abstractmethod
    def subject(self) -> str:
        """How a message begins."""

    @property
    @abstractmethod
    def action(self) -> str:
        """The permission that it needs."""

    @property
    def undone(self) -> str:
        """What a refusal means where it is certain that nothing was carried out."""
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

    def means_absent(self, http_status: int, code: str) -> bool:
        """Tell whether a refusal of a Get says that there is no such resource."""
        return http_status in (400, 404) and code in _NOT_FOUND_CODES

    def missing(self, detail: str) -> str:  # noqa: ARG002
        """Return the message for a resource that isn't there; empty where none was asked for."""
        return ""

    def own_error(self, error: Exception) -> NeptuneMLError | None:  # noqa: ARG002
        """Return the error for what only such a request can meet, or None."""
        return None


@dataclass(frozen=True)
class Request(AnyRequest):
    """
    A request for a resource.

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
        if self.resource_id:
            return self.kind.name_of(self.resource_id)
        is_start = self.operation == self.kind.start_operation
        return self.kind.title.capitalize() if is_start else f"List of {self.kind.title}s"

    @property
    def undone(self) -> str:
        """What a refusal means where it is certain that nothing was carried out."""
        if self.operation == self.kind.start_operation:
            return " not started"
        if self.operation == self.kind.stop_operation:
            return " not cancelled" if self.kind.is_job else " not deleted"
        return ""

    @property
    def action(self) -> str:
        """The permission that it needs."""
        return self.kind.iam_action(self.operation)

    def missing(self, detail: str) -> str:
        """Return the message for a Get of an unknown id."""
        if self.operation != self.kind.get_operation:
            return ""
        return (
            f"No {self.kind.title} {self.resource_id!r} on {self.cluster}: {detail}"
            f" Check {self.kind.id_argument}, and {self.whereabouts}."
        )


@dataclass(frozen=True)
class QueryRequest(AnyRequest):
    """
    A query.

    :param language: its language.
    :param operation: the operation.
    :param query: the query.
    :param seconds: for how long its answer is waited for.
    :param endpoint_url: where the request went.
    :param neptune_ml_conn_id: the connection with the cluster.
    :param aws_conn_id: the connection with the credentials.
    """

    language: QueryLanguage
    operation: str
    query: str
    seconds: float
    endpoint_url: str
    neptune_ml_conn_id: str
    aws_conn_id: str | None

    @property
    def subject(self) -> str:
        """How a message begins: with the beginning of the query."""
        return self.language.name_of(self.query)

    @property
    def changes(self) -> bool:
        """Whether it may change the graph: it has the name of a step that does, be it in a text."""
        return _CHANGING_STEPS.search(self.query) is not None

    @property
    def action(self) -> str:
        """The permission that it needs."""
        more = self.language.iam_actions_of_writes if self.changes else ()
        return " and ".join((self.language.iam_action, *more))

    def own_error(self, error: Exception) -> NeptuneMLError | None:
        """Return the error for a query that takes too long, or has too large a result."""
        if isinstance(error, ReplyTooLongError):
            return NeptuneMLError(
                f"{self.subject}: the result has {error}. Have the query return less, such as by limit().",
                reference=self.reference,
            )
        if isinstance(error, ReadTimeoutError):
            return NeptuneMLTimeoutError(
                f"{self.subject} timed out: no answer within {self.seconds:g} s (timeout={self.seconds:g})."
                " It may still be running, until Neptune's own time limit (neptune_query_timeout).",
                reference=self.reference,
            )
        return None


def translate(error: Exception, request: AnyRequest) -> NeptuneMLError:
    """
    Put an error of botocore into our words.

    :param error: what botocore raised, see :func:`is_call_error`.
    :param request: what was requested.
    """
    if own := request.own_error(error):
        return own
    if isinstance(error, ClientError) and error.operation_name == request.operation:
        return _refused(error, request)
    if _is_parser_error(error):
        return not_neptunes(request)
    if isinstance(error, (ConnectionError, HTTPClientError)):
        return _unanswered(error, request)
    return translate_setup(
        error,
        aws_conn_id=request.aws_conn_id,
        subject=request.subject,
        reference=request.reference,
        unsigned=request.unsigned,
    )


def not_neptunes(request: AnyRequest) -> NeptuneMLUnreachableError:
    """Return the error for a reply that the service would not give."""
    return NeptuneMLUnreachableError(
        f"{request.subject}: the reply is not one of {request.service}'s. Check {request.address}, and any"
        " proxy or load balancer in between.",
        transient=True,
        reference=request.reference,
    )


def translate_setup(
    error: Exception,
    *,
    aws_conn_id: str | None,
    subject: str = "Neptune ML",
    reference: str = "",
    unsigned: str = UNSIGNED_CLUSTER,
) -> NeptuneMLError:
    """
    Put into our words what went wrong on the way to a signed request: credentials, profile, region, role.

    :param error: what botocore raised, see :func:`is_call_error`.
    :param aws_conn_id: where the credentials come from.
    :param subject: how the message begins.
    :param reference: how it ends.
    :param unsigned: what to set where requests need no signature.
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
    transient = isinstance(error, _TRANSIENT_ERRORS)
    if isinstance(error, ClientError):
        # A call of another service, such as STS's AssumeRole.
        transient = is_transient(error)
    return not_sent(
        f"{subject}: no AWS credentials to sign the request with: {_said_by(error)}. Check aws_conn_id"
        f" ({aws_conn_id!r}), or set {unsigned}.",
        transient=transient,
        reference=reference,
    )


def translate_s3(error: Exception, subject: str, url: str, *, aws_conn_id: str | None) -> NeptuneMLError:
    """
    Put into our words why an object in S3 can't be read.

    :param error: what botocore raised, see :func:`is_call_error`.
    :param subject: how the message begins.
    :param url: the object, ``s3://bucket/key``.
    :param aws_conn_id: where the credentials come from.
    """
    message, reference = f"{subject}: {url} can't be read", f"GetObject, {url}"
    if not isinstance(error, ClientError):
        return NeptuneMLUnreachableError(
            f"{message}: {_said_by(error)}. Check aws_conn_id ({aws_conn_id!r}), and whether S3 can be"
            " reached from here.",
            transient=isinstance(error, (*_TRANSIENT_ERRORS, *_CUT_ERRORS)),
            reference=reference,
        )
    code, detail = _said(error)
    http_status = _http_status(error)
    request_id = one_line(error.response.get("ResponseMetadata", {}).get("RequestId") or "")
    advice = f"Check aws_conn_id ({aws_conn_id!r})."
    if http_status == 403 and code in ("AccessDenied", "403"):
        advice = (
            f"The IAM principal of aws_conn_id ({aws_conn_id!r}) needs the permission s3:GetObject on it, and"
            " kms:Decrypt on its KMS key, if it has one."
        )
    return NeptuneMLServiceError(
        f"{message}: {http_status} {code}: {full_stop(detail)} {advice}",
        code=code,
        detail=detail,
        http_status=http_status,
        request_id=request_id,
        transient=is_transient(error),
        reference=f"{reference}, {http_status} {code}" + (f", request id {request_id}" if request_id else ""),
    )


def not_sent(message: str, *, transient: bool, reference: str = "") -> NeptuneMLUnreachableError:
    """Return the error for a request that was certainly not carried out."""
    error = NeptuneMLUnreachableError(message, transient=transient, reference=reference)
    error.ambiguous = False
    return error


def _refused(error: ClientError, request: AnyRequest) -> NeptuneMLServiceError:
    response: Any = error.response  # its type lacks what handlers.py adds
    code, detail = _said(error)
    http_status = _http_status(error)
    request_id = one_line(response.get("requestId") or response["ResponseMetadata"].get("RequestId") or "")
    # Of a body that is no JSON object, botocore makes the HTTP status the code. Of Neptune's members, which
    # API Gateways and proxies don't share, any may be missing.
    foreign = not (response.get("detailedMessage") or response.get("requestId")) and (
        not code or code.isdigit()
    )
    transient = is_transient(error)
    may_be_missing = not transient and request.means_absent(http_status, code)
    not_found = request.missing(full_stop(detail or code)) if may_be_missing else ""
    ambiguous = (http_status == 408 or http_status >= 500) and code not in _CERTAIN_CODES
    answer = f"{http_status}" if not code or code.isdigit() else f"{http_status} {code}"
    undone = "" if transient or ambiguous else request.undone
    message = f"{request.subject}{undone}: {full_stop(f'{answer}: {detail}' if detail else answer)}"
    if foreign:
        said = f": {full_stop(one_line(response['message']))}" if response.get("message") else "."
        message = (
            f"{request.subject}: HTTP status {http_status}, in a form that isn't {request.service}'s{said}"
            f" Check {request.address}, and any proxy or load balancer in between."
        )
    elif not_found:
        message = not_found
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


def _advice(said: str, request: AnyRequest) -> str:
    return next(advice for pattern, advice in request.advice if pattern.search(said)).format(
        address=request.address,
        conn_id=request.neptune_ml_conn_id,
        aws_conn_id=request.aws_conn_id,
        action=request.action,
    )


def _unanswered(error: Exception, request: AnyRequest) -> NeptuneMLUnreachableError:
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
    return code not in _FAILED_QUERY_CODES and (
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
