"""The hook of the Neptune-Export service, and what its requests, replies and errors look like."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from airflow_provider_neptune_ml.exceptions import (
    NeptuneMLConfigurationError,
    NeptuneMLError,
    NeptuneMLNotFoundError,
)
from airflow_provider_neptune_ml.hooks.connection import NeptuneMLConnection
from airflow_provider_neptune_ml.hooks.errors import KEY_ADVICE, SIGNING_ADVICE, Request, not_neptunes
from airflow_provider_neptune_ml.hooks.neptune_ml import NeptuneMLHook, SharedHook, shared_hook
from airflow_provider_neptune_ml.kinds import EXPORT, Phase, ResourceKind
from airflow_provider_neptune_ml.validation import is_id, normalized, validate

if TYPE_CHECKING:
    from airflow.providers.amazon.aws.utils.connection_wrapper import AwsConnectionWrapper

# <api>.execute-api.<region>.amazonaws.com, or that of a VPC endpoint; China has another suffix.
_REGION_IN_HOST = re.compile(
    r"\.execute-api\.([a-z]{2,}(?:-[a-z]+)+-\d)\.(?:vpce\.)?amazonaws\.(?:com|com\.cn|eu)$"
)
_PROFILE = "neptune_ml"
# What a description has a place for. The rest is what the service says of a failure.
_KNOWN = ("jobId", "jobName", "status", "logs", "outputS3Uri")
_OWN_ADVICE = (
    (
        re.compile("Missing ?Authentication ?Token", re.I),
        "API Gateway answers this for a path that the API doesn't have, and for an unsigned request: check"
        " that {address} is the full invoke URI, and export_iam_auth of connection {conn_id!r}.",
    ),
    (
        re.compile("scoped to correct service", re.I),
        "Another service answered, not API Gateway: check {address}.",
    ),
    (
        re.compile("not authorized|unauthorized|explicit deny|permission|not allowed", re.I),
        "The IAM principal of aws_conn_id ({aws_conn_id!r}) needs the permission {action} on the API, and the"
        " API's resource policy must let it in.",
    ),
    (
        re.compile("Forbidden", re.I),
        "Check {address}; the API of a VPCOnly stack is reachable only from its VPC.",
    ),
)


class ExportRequest(Request):
    """What was requested of which export service, for messages."""

    service: ClassVar[str] = "the Neptune-Export service"
    advice: ClassVar[Sequence[tuple[re.Pattern[str], str]]] = (
        *_OWN_ADVICE,
        *SIGNING_ADVICE,
        *KEY_ADVICE,
        (
            re.compile(""),
            "Check the credentials of aws_conn_id ({aws_conn_id!r}) and their policy, and whether the stack"
            " uses IAM authentication (export_iam_auth).",
        ),
    )
    unsigned: ClassVar[str] = "export_iam_auth to false for a stack without IAM authentication"
    whereabouts: ClassVar[str] = "the service (export_api_url)"

    @property
    def cluster(self) -> str:
        """The host of the service, and the connection."""
        return f"export service {urlsplit(self.endpoint_url).hostname} ({self.neptune_ml_conn_id})"

    @property
    def address(self) -> str:
        """What to check where something else answers, or nothing."""
        return f"export_api_url (of the task or of connection {self.neptune_ml_conn_id!r})"

    def means_absent(self, http_status: int, code: str) -> bool:  # noqa: ARG002
        """Tell whether a refusal of a Get says that there is no such job; its code is not documented."""
        return http_status == 404


@dataclass(frozen=True)
class ExportConnection(NeptuneMLConnection):
    """
    The settings of an export service, in the place of those of its cluster.

    :param cluster: the settings of the cluster that is exported.
    """

    cluster: NeptuneMLConnection | None = None


def _reason(body: Mapping[str, Any]) -> str:
    """Return what the service says of a failure, in its own words: which ones is not documented."""
    said = {name: value for name, value in body.items() if name not in _KNOWN}
    status = body.get("status")
    is_failed = isinstance(status, str) and EXPORT.phase_of(status) is Phase.FAILED
    return json.dumps(said, ensure_ascii=False) if said and is_failed else ""


def _error(body: Any) -> Any:
    if not isinstance(body, dict) or not body:
        return body
    texts = (body.get(name) for name in ("detailedMessage", "message", "Message"))
    detail = next((text for text in texts if isinstance(text, str) and text), None)
    return {**body, "detailedMessage": detail or json.dumps(body, ensure_ascii=False)}


class NeptuneMLExportHook(NeptuneMLHook):
    """
    Interact with the Neptune-Export service, which writes a graph to S3 in the form that Neptune ML reads.

    The methods are those of :class:`~airflow_provider_neptune_ml.hooks.neptune_ml.NeptuneMLHook`; the kind is
    ``export``. The service is an API of Amazon API Gateway in the user's account; its invoke URI is
    ``export_api_url`` in the extra of the connection. Requests are signed for ``execute-api`` unless
    ``export_iam_auth`` in the extra is false. boto3 has no client for it: ``conn`` is one of this package's
    own model.

    .. seealso::
        - https://docs.aws.amazon.com/neptune/latest/userguide/machine-learning-data-export-service.html

    :param neptune_ml_conn_id: The connection with the cluster, and with ``export_api_url`` in its extra
        (default: ``neptune_ml_default``).
    :param export_api_url: The full invoke URI of the service, over that of the connection (default: the
        connection's).
    :param settings: The other arguments of ``NeptuneMLHook``. The region defaults to that of the host name of
        the invoke URI, that of the cluster's connection, that of the AWS connection, and that of the
        cluster's host name, in this order.
    """

    kinds: ClassVar[Mapping[str, ResourceKind]] = {EXPORT.name: EXPORT}
    bounded_path: ClassVar[str] = ""
    request_class: ClassVar[type[Request]] = ExportRequest

    def __init__(
        self,
        neptune_ml_conn_id: str = NeptuneMLHook.default_conn_name,
        *,
        export_api_url: str | None = None,
        **settings: Any,
    ) -> None:
        url = normalized("export_api_url", export_api_url)
        _check_url(url, "")
        self._export_api_url: str | None = url
        super().__init__(neptune_ml_conn_id, **settings, client_type="neptuneexport")

    def read_cluster(self) -> ExportConnection:
        """Read the connection, and put the service in the place of the cluster."""
        cluster = super().read_cluster()
        where = f"connection {self.neptune_ml_conn_id!r} (neptune_ml_conn_id)"
        url = self._export_api_url or cluster.export_api_url
        if not url:
            raise NeptuneMLConfigurationError(
                "No export service: give export_api_url, the full invoke URI of the Neptune-Export service,"
                f" as an argument or in the extra of {where}."
            )
        _check_url(url, "" if self._export_api_url else f", in the extra of {where},")
        in_host = _REGION_IN_HOST.search(urlsplit(url).hostname or "")
        ours = {
            "endpoint_url": url.rstrip("/"),
            "region_in_host": in_host and in_host.group(1),
            "iam_auth": cluster.export_iam_auth,
        }
        return ExportConnection(**{**vars(cluster), **ours}, cluster=cluster)

    def region_of(self, cluster: NeptuneMLConnection, aws: AwsConnectionWrapper) -> str | None:
        """Return the region; that of the host name is certain, the others are the cluster's."""
        service: Any = cluster
        return self._region_name or service.region_in_host or super().region_of(service.cluster, aws)

    def start(
        self,
        kind: ResourceKind | str = EXPORT,
        *,
        additional_parameters: Mapping[str, Any] | None = None,
        **parameters: Any,
    ) -> dict[str, Any]:
        """
        Start an export job. The service gives the id.

        The request is sent once. Where there is no usable answer, the error has ``ambiguous`` true: a job may
        have been started, and nothing tells its id.

        :param kind: ``export``.
        :param additional_parameters: Members of the request that are not known here, by their name in the
            API.
        :param parameters: The members of the request in snake_case: ``output_s3_path``, ``command`` (default:
            ``export-pg``), ``job_size``, ``params``, ``additional_params``, ``expected_bucket_owner``. What
            ``params`` lacks is filled in: ``endpoint`` by the connection's host, ``profile`` by
            ``neptune_ml``, and ``useIamAuth`` by true where the connection has ``iam_auth``.
        :return: The reply: ``id``, ``jobId`` and ``jobName``.
        :raises ValueError: when a parameter is not known; nothing is sent.
        :raises NeptuneMLError: when the service refuses, or does not answer.
        """
        given = {
            "command": "export-pg",
            **{key: value for key, value in parameters.items() if value is not None},
        }
        given["params"] = {**self._export_defaults(), **(given.get("params") or {})}
        reply = super().start(kind, additional_parameters=additional_parameters, **given)
        if not is_id(reply.get("id")):
            raise not_neptunes(self._request(EXPORT, EXPORT.start_operation, None))
        return reply

    def reshape(self, operation: str, http_status: int, body: Any) -> Any:
        """
        Return a reply in the form of the client's model, a Get reply of Neptune ML; None where it can't be.

        Bodies of errors are API Gateway's, or those of the function behind it. What a cancellation is
        answered is not documented: nothing of it is used.

        :param operation: The operation.
        :param http_status: The HTTP status.
        :param body: What the JSON of the reply says; None where it is none.
        """
        if http_status >= 300:
            return _error(body)
        if operation == EXPORT.stop_operation:
            return {}
        if not isinstance(body, dict):
            return None
        parts = {
            "name": body.get("jobName") or body.get("jobId"),
            "outputLocation": body.get("outputS3Uri"),
            "cloudwatchLogUrl": body.get("logs"),
            "failureReason": _reason(body),
        }
        job = {key: value for key, value in parts.items() if value}
        return {**body, "id": body.get("jobId"), "exportJob": job}

    def request_cancellation(
        self,
        kind: ResourceKind,
        resource_id: str,
        *,
        clean: bool = False,  # noqa: ARG002
        urgent: bool = False,
    ) -> None:
        """
        Send one request to cancel a job; :meth:`stop` also tells what a refusal means.

        :param kind: ``export``.
        :param resource_id: The id of the job.
        :param clean: Without effect: the service deletes nothing.
        :param urgent: Whether the task is being killed: short time-outs (default: False).
        :raises NeptuneMLError: when the service refuses, or does not answer.
        """
        client = self._client_for(urgent)
        self._call(kind, kind.stop_operation, resource_id, {"id": resource_id}, client=client)

    def list_ids(self, kind: ResourceKind | str = EXPORT, max_items: int | None = None) -> list[str]:
        """Raise an error: the service has no list of its jobs."""
        raise NotImplementedError("The Neptune-Export service has no list of its jobs")

    def test_connection(self) -> tuple[bool, str]:
        """
        Ask for a job that does not exist, and return what is wrong if that fails.

        :return: Whether it went well, and what was found.
        """
        try:
            self.describe(EXPORT, "test-of-the-connection")
        except NeptuneMLNotFoundError:
            pass
        except NeptuneMLError as error:
            return False, str(error)
        return True, f"{self.cluster.endpoint_url} answers"

    def _export_defaults(self) -> dict[str, Any]:
        connection: Any = self.cluster
        host = urlsplit(connection.cluster.endpoint_url).hostname
        signed = {"useIamAuth": True} if connection.cluster.iam_auth else {}
        return {"endpoint": host, "profile": _PROFILE, **signed}

    def _role(self) -> dict[str, str]:
        return {}

    def _settings(self) -> dict[str, Any]:
        return {**super()._settings(), "export_api_url": self._export_api_url}


class SharedExportHook(NeptuneMLExportHook, SharedHook):
    """A hook of waits in the triggerer."""


def hook_of_trigger(parameters: Mapping[str, Any]) -> NeptuneMLHook:
    """Return the hook that waits with the same settings share; those of an export say where it is."""
    return shared_hook(parameters, SharedExportHook if "export_api_url" in parameters else SharedHook)


def _check_url(url: str | None, where: str) -> None:
    try:
        validate({"export_api_url": url}, rendered=True)
    except ValueError as error:
        raise NeptuneMLConfigurationError(f"{str(error).replace(' must', f'{where} must', 1)}.") from None
