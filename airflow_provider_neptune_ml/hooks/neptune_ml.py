"""The hook: a boto3 client for one cluster's ML API, and the four verbs that every kind of resource has."""

from __future__ import annotations

import json
import math
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook, AwsGenericHook
from airflow.providers.amazon.aws.utils.connection_wrapper import AwsConnectionWrapper
from boto3.session import Session
from botocore import UNSIGNED, xform_name
from botocore.config import Config
from botocore.exceptions import ParamValidationError
from botocore.loaders import Loader, create_loader

from airflow_provider_neptune_ml import cancellation
from airflow_provider_neptune_ml.compat import AIRFLOW_V_3_0_PLUS, AirflowNotFoundException
from airflow_provider_neptune_ml.exceptions import (
    NeptuneMLConfigurationError,
    NeptuneMLError,
    NeptuneMLServiceError,
    NeptuneMLUnreachableError,
)
from airflow_provider_neptune_ml.get_provider_info import connection_form
from airflow_provider_neptune_ml.hooks import handlers, keep_alive
from airflow_provider_neptune_ml.hooks.clients import TRIGGER_CONFIG, Clients
from airflow_provider_neptune_ml.hooks.connection import (
    NeptuneMLConnection,
    checked_region,
    checked_verify,
    client_config,
    missing,
)
from airflow_provider_neptune_ml.hooks.errors import (
    AnyRequest,
    QueryRequest,
    Request,
    is_call_error,
    is_expired,
    is_unsigned,
    not_neptunes,
    not_sent,
    translate,
    translate_setup,
)
from airflow_provider_neptune_ml.hooks.graphson import plain
from airflow_provider_neptune_ml.hooks.handlers import ADDITIONAL, members_of, unquoted
from airflow_provider_neptune_ml.hooks.limits import bound_replies, within
from airflow_provider_neptune_ml.hooks.metrics import MetricsFiles, MetricsHook
from airflow_provider_neptune_ml.kinds import (
    DATA_PROCESSING,
    GREMLIN,
    KINDS,
    MODEL_TRAINING,
    ResourceKind,
    find_kind,
)
from airflow_provider_neptune_ml.polling import (
    DEFAULT_POLL_INTERVAL_SECONDS,
    DEFAULT_TIMEOUT_SECONDS,
    Wait,
    Watch,
)
from airflow_provider_neptune_ml.retries import (
    DEFAULT_QUERY_TIMEOUT_SECONDS,
    DEFAULT_UNREACHABLE_TIMEOUT_SECONDS,
)
from airflow_provider_neptune_ml.text import one_line
from airflow_provider_neptune_ml.validation import (
    is_id,
    normalized,
    validate,
    validate_id,
    validate_seconds,
)

if TYPE_CHECKING:
    from botocore.client import BaseClient

    from airflow_provider_neptune_ml.compat import Connection
    from airflow_provider_neptune_ml.hooks.logs import LogSource

T = TypeVar("T")

# Airflow users expect an edited connection to be used soon, and a wait may last for days.
RENEWAL_SECONDS = 900.0
# A client costs tens of milliseconds; what is renewed and still expired will not be better at once.
_RENEWAL_PAUSE_SECONDS = 60.0


@cache
def _data_loader(data_path: str | None) -> Loader:
    """Return what all clients of this process read botocore's data with, and the models that it lacks."""
    loader = create_loader(data_path)
    loader.search_paths.append(str(Path(__file__).parent / "models"))
    return loader


class NeptuneMLHook(AwsBaseHook):
    """
    Interact with Amazon Neptune ML through the data API of a Neptune cluster.

    A thin wrapper around :external+boto3:py:class:`boto3.client("neptunedata") <NeptuneData.Client>`, the
    property ``conn``. ``neptune_ml_conn_id`` has the cluster endpoint, ``aws_conn_id`` the AWS credentials;
    both are read again every 15 minutes. Every method takes a kind of resource: ``dataprocessing``,
    ``modeltraining``, ``modeltransform`` or ``endpoints`` (or the row of
    :data:`~airflow_provider_neptune_ml.kinds.KINDS`).

    .. seealso::
        - https://docs.aws.amazon.com/neptune/latest/userguide/machine-learning-api-reference.html
        - :class:`airflow.providers.amazon.aws.hooks.base_aws.AwsBaseHook`

    :param neptune_ml_conn_id: The connection with the cluster endpoint (default: ``neptune_ml_default``).
    :param aws_conn_id: The connection with the AWS credentials (default: ``aws_default``). None or empty:
        boto3's own credential chain. Not read at all when the cluster's connection has ``iam_auth`` false.
    :param region_name: AWS region. Default: that of the cluster's connection, of the AWS connection, or the
        one in the host name, in this order.
    :param verify: Whether to verify the TLS certificate, or the path of a CA bundle (default: as the AWS
        connection says, else True).
    :param config: Configuration of the botocore client, or a dict of its arguments.
    """

    conn_name_attr = "neptune_ml_conn_id"
    default_conn_name = "neptune_ml_default"
    conn_type = "neptune_ml"
    hook_name = "Amazon Neptune ML"
    kinds: ClassVar[Mapping[str, ResourceKind]] = KINDS
    # Begins the paths whose replies are bounded.
    bounded_path: ClassVar[str] = "/ml/"
    request_class: ClassVar[type[Request]] = Request

    def __init__(
        self,
        neptune_ml_conn_id: str = default_conn_name,
        *,
        aws_conn_id: str | None = "aws_default",
        region_name: str | None = None,
        verify: bool | str | None = None,
        config: Config | dict[str, Any] | None = None,
        client_type: str = "neptunedata",
    ) -> None:
        # A trigger has what a template made of them.
        given: dict[str, Any] = {
            "neptune_ml_conn_id": neptune_ml_conn_id,
            "aws_conn_id": aws_conn_id,
            "region_name": region_name,
            "verify": verify,
        }
        given = {name: normalized(name, value) for name, value in given.items()}
        try:
            validate(given, rendered=True)
        except ValueError as error:
            raise NeptuneMLConfigurationError(f"{error}.") from None
        self.neptune_ml_conn_id: str = given.pop("neptune_ml_conn_id")
        super().__init__(**given, config=client_config("botocore_config", config), client_type=client_type)
        self._clients = Clients(self, time.monotonic())
        self._logs: LogSource | None = None
        self._logs_lock = threading.Lock()
        self._renewing = threading.Lock()
        self._renewal_tried_at = -math.inf

    # Connecting

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the connection form's fields, for Airflow before 3.2, which reads no ``conn-fields``."""
        from flask_appbuilder.fieldwidgets import BS3TextFieldWidget
        from wtforms import BooleanField, StringField

        def widget(field: Mapping[str, Any]) -> Any:
            if "boolean" in field["schema"]["type"]:
                return BooleanField(field["label"], description=field["description"], default=True)
            return StringField(field["label"], description=field["description"], widget=BS3TextFieldWidget())

        # Airflow 2 shows a stored false as the default, true, and stores that with any change of the rest.
        return {
            name: widget(field)
            for name, field in connection_form()["conn-fields"].items()
            if AIRFLOW_V_3_0_PLUS or "boolean" not in field["schema"]["type"]
        }

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return what the connection form hides and calls by another name, for Airflow before 3.2."""
        behaviour = connection_form()["ui-field-behaviour"]
        return {key.replace("-", "_"): value for key, value in behaviour.items()}

    @classmethod
    def get_connection(cls, conn_id: str) -> Connection:
        """
        Look a connection up.

        :raises NeptuneMLUnreachableError: the look-up failed, and may succeed a moment later.
        """
        try:
            return super().get_connection(conn_id)
        except (AirflowNotFoundException, ImportError, ValueError):
            raise
        except Exception as error:  # whatever a backend raises, with who knows what secret in its words
            raise not_sent(
                f"Connection {conn_id!r} can't be looked up: Airflow, or its secrets backend, raised"
                f" {type(error).__name__}.",
                transient=True,
            ) from None

    @property
    def cluster(self) -> NeptuneMLConnection:
        """
        The settings of the cluster, from ``neptune_ml_conn_id``.

        :raises NeptuneMLConfigurationError: the connection is missing, or a setting in it can't be used.
        """
        return self._clients.cluster

    @property
    def conn_config(self) -> AwsConnectionWrapper:
        """The AWS connection, with the cluster's endpoint and region in it."""
        return self._clients.conn_config

    @property
    def conn(self) -> BaseClient:
        """The client."""
        return self._clients.conn

    @property
    def _client(self) -> BaseClient:
        # Amazon's own name for it, which its waiters use.
        return self.conn

    @property
    def start_conn(self) -> BaseClient:
        """The client for starts: it sends a request once."""
        return self._clients.start_conn

    @property
    def query_conn(self) -> BaseClient:
        """The client for queries: it sends a request once, and waits as long as its caller does."""
        return self._clients.query_conn

    @property
    def urgent_conn(self) -> BaseClient:
        """The client of a kill: short time-outs, one attempt. Build it ahead: a kill has no time for it."""
        return self._clients.urgent_conn

    @property
    def logs(self) -> LogSource:
        """What reads CloudWatch Logs with the same settings; as of the last time they were read."""
        from airflow_provider_neptune_ml.hooks.logs import LogSource

        with self._logs_lock:
            clients = self._clients
            if self._logs is None or self._logs.clients is not clients:
                self._logs = LogSource(self, clients)
            return self._logs

    # What the clients are built of, see clients.py

    def read_cluster(self) -> NeptuneMLConnection:
        """Read the cluster's connection."""
        try:
            connection = self.get_connection(self.neptune_ml_conn_id)
        except (AirflowNotFoundException, ValueError):
            raise missing(self.neptune_ml_conn_id) from None
        return NeptuneMLConnection.parse(connection)

    def region_of(self, cluster: NeptuneMLConnection, aws: AwsConnectionWrapper) -> str | None:
        """Return the region: the argument's, the connections', or the one in the host name."""
        return self._region_name or cluster.region_name or aws.region_name or cluster.region_in_host

    def read_aws_connection(self) -> AwsConnectionWrapper:
        """Read the AWS connection, and put the cluster's endpoint and region into it."""
        return self.aws_settings(signed=self.cluster.iam_auth)

    def aws_settings(self, *, signed: bool) -> AwsConnectionWrapper:
        """
        Return the settings of clients.

        :param signed: whether their requests are signed, so that the AWS connection has to be read.
        """
        cluster = self.cluster
        if signed:
            try:
                # Not by the attribute, which is the clients' here.
                wrapper: AwsConnectionWrapper = vars(AwsGenericHook)["conn_config"].func(self)
            except RecursionError as error:
                raise translate_setup(error, aws_conn_id=self.aws_conn_id) from None
        else:
            wrapper = AwsConnectionWrapper(conn=None, botocore_config=self._config, verify=self._verify)
        region_name = self.region_of(cluster, wrapper)
        if not region_name:
            raise NeptuneMLConfigurationError(
                f"No AWS region: give region_name as an argument, in connection {self.neptune_ml_conn_id!r}"
                " (neptune_ml_conn_id) or in the AWS connection (aws_conn_id);"
                f" the host of {cluster.endpoint_url} doesn't tell it."
            )
        wrapper.region_name = checked_region(region_name, self.neptune_ml_conn_id)
        wrapper.verify = checked_verify(self._verify, wrapper.verify, self.aws_conn_id)
        # Amazon's takes the task's or the connection's; proxies may only be in a connection.
        aws = client_config(
            f"Connection {self.aws_conn_id!r} (aws_conn_id): config_kwargs",
            wrapper.extra_config.get("config_kwargs"),
        )
        wrapper.botocore_config = aws.merge(cluster.config).merge(self._config or Config())
        name = str(self.client_type)
        service = wrapper.service_config.get(name, {})
        wrapper.service_config = {
            **wrapper.service_config,
            name: {**service, "endpoint_url": cluster.endpoint_url},
        }
        return wrapper

    def get_session(self, region_name: str | None = None, deferrable: bool = False) -> Session:
        """Build a session; one without the search for credentials when ``iam_auth`` is false."""
        if self.cluster.iam_auth:
            session: Session = super().get_session(region_name=region_name, deferrable=deferrable)
        else:
            session = Session(region_name=region_name)
        return self.share_data(session)

    @staticmethod
    def share_data(session: Session) -> Session:
        """Have a session share what it reads of botocore's data: most of what a client costs."""
        core = session._session
        core.register_component("data_loader", _data_loader(core.get_config_variable("data_path")))
        return session

    def get_client_type(
        self, region_name: str | None = None, config: Config | None = None, deferrable: bool = False
    ) -> BaseClient:
        """Build a client whose requests go to the cluster, signed unless ``iam_auth`` is false."""
        # The endpoint is always given, and botocore refuses to combine that with the variants of its own
        # endpoints.
        ours: dict[str, Any] = {"use_fips_endpoint": False, "use_dualstack_endpoint": False}
        if not self.cluster.iam_auth:
            ours["signature_version"] = UNSIGNED
        merged = (config or self.config).merge(Config(**ours))
        try:
            client: BaseClient = super().get_client_type(
                region_name=region_name, config=merged, deferrable=deferrable
            )
        except Exception as error:
            if not is_call_error(error):
                raise
            unsigned = self.request_class.unsigned
            raise translate_setup(error, aws_conn_id=self.aws_conn_id, unsigned=unsigned) from None
        handlers.register(client, self.reshape)
        keep_alive.register(client)
        bound_replies(client, self.bounded_path)
        return client

    def reshape(self, operation: str, http_status: int, body: Any) -> Any:  # noqa: ARG002
        """
        Return a reply in the form of the client's model.

        :param operation: The operation.
        :param http_status: The HTTP status.
        :param body: What the JSON of the reply says; None where it is none.
        """
        return body

    # The four verbs

    def start(
        self,
        kind: ResourceKind | str,
        *,
        additional_parameters: Mapping[str, Any] | None = None,
        **parameters: Any,
    ) -> dict[str, Any]:
        """
        Start a job, or create or update an endpoint.

        The request is sent once, whatever the configuration says of retries. Where there is no usable answer,
        as when the connection breaks, the error has ``ambiguous`` true: the job may have been started, and
        whether it was, :meth:`describe` tells.

        :param kind: The kind of resource.
        :param additional_parameters: Members of the request that the HTTP API takes and boto3 doesn't know
            yet, by their name in the API: ``{"modelName": "custom"}``.
        :param parameters: The members of boto3's request in snake_case; those that are None are left out. The
            roles default to those of the connection, ``id`` to a new UUID.
        :return: The reply: ``id``, ``arn`` and ``creationTimeInMillis``.
        :raises ValueError: when the id breaks its rule, or boto3 does not take a parameter; nothing is sent.
        :raises NeptuneMLError: when the service refuses, or does not answer.
        """
        kind = find_kind(kind, self.kinds)
        model = self.start_conn.meta.service_model.operation_model(kind.start_operation)
        shapes = members_of(model)
        members = {xform_name(member): member for member in shapes}
        defaults = {
            name: getattr(self.cluster, name)
            for name in ("neptune_iam_role_arn", "sagemaker_iam_role_arn")
            if name in members
        }
        given = {name: value for name, value in parameters.items() if value is not None}
        if "id" in members:
            validate_id("id", given.setdefault("id", str(uuid.uuid4())))
        if unknown := sorted(given.keys() - members.keys()):
            raise ValueError(
                f"{kind.start_operation} takes no {', '.join(unknown)}: it takes"
                f" {', '.join(sorted(members))}; give what boto3 does not know yet as additional_parameters"
            )
        request = {
            members[name]: unquoted(shapes[members[name]], value)
            for name, value in (defaults | given).items()
            if value is not None
        }
        if additional_parameters:
            request[ADDITIONAL] = dict(additional_parameters)
        return self._call(kind, kind.start_operation, given.get("id"), request, client=self.start_conn)

    def describe(
        self,
        kind: ResourceKind | str,
        resource_id: str,
        *,
        urgent: bool = False,
        seconds: float | None = None,
    ) -> dict[str, Any]:
        """
        Describe a job or endpoint.

        :param kind: The kind of resource.
        :param resource_id: Its id.
        :param urgent: Whether the task is being killed: one request with short time-outs (default: False).
        :param seconds: Time in seconds after which no answer is waited for any longer, whatever botocore's
            time-outs are (default: none).
        :return: The reply: ``id``, ``status`` and what is known of each stage. Any of it may be missing.
        :raises ValueError: when the id breaks its rule; nothing is sent.
        :raises NeptuneMLNotFoundError: when there is no resource with that id.
        :raises NeptuneMLError: when the service refuses, or does not answer.
        """
        kind = find_kind(kind, self.kinds)
        validate_id("resource_id", resource_id)
        if not urgent:
            self._renew(RENEWAL_SECONDS)
        members = {"id": resource_id, **self._role()}
        client = self._client_for(urgent)
        return self._call(kind, kind.get_operation, resource_id, members, client=client, seconds=seconds)

    def list_ids(self, kind: ResourceKind | str, max_items: int | None = None) -> list[str]:
        """
        List the ids of jobs or endpoints.

        :param kind: The kind of resource.
        :param max_items: How many at most, 1 to 1024 (default: the service's, 10). The service has no next
            page: an id that is not in the list may still exist.
        :return: The ids.
        :raises NeptuneMLError: when the service refuses, or does not answer.
        """
        kind = find_kind(kind, self.kinds)
        self._renew(RENEWAL_SECONDS)
        limit = {} if max_items is None else {"maxItems": max_items}
        reply = self._call(kind, kind.list_operation, None, {**limit, **self._role()})
        return [resource_id for resource_id in reply.get("ids") or () if is_id(resource_id)]

    def stop(self, kind: ResourceKind | str, resource_id: str, *, clean: bool = False) -> bool:
        """
        Request the cancellation of a job, or the deletion of an endpoint.

        :param kind: The kind of resource.
        :param resource_id: Its id.
        :param clean: Whether its artifacts in S3 are deleted too (default: False).
        :return: True when the request was accepted, False when the job was already in a terminal status.
        :raises ValueError: when the id breaks its rule; nothing is sent.
        :raises NeptuneMLNotFoundError: when there is no resource with that id.
        :raises NeptuneMLError: when the service refuses, or does not answer.
        """
        validate_id("resource_id", resource_id)
        return cancellation.cancel(self, find_kind(kind, self.kinds), resource_id, clean=clean)

    def request_cancellation(
        self, kind: ResourceKind, resource_id: str, *, clean: bool = False, urgent: bool = False
    ) -> None:
        """
        Send one request to cancel a job or delete an endpoint; :meth:`stop` also tells what a refusal means.

        :param kind: The kind of resource.
        :param resource_id: Its id.
        :param clean: Whether its artifacts in S3 are deleted too (default: False).
        :param urgent: Whether the task is being killed: short time-outs (default: False).
        :raises NeptuneMLError: when the service refuses, or does not answer.
        """
        members = {"id": resource_id, "clean": clean, **self._role()}
        self._call(kind, kind.stop_operation, resource_id, members, client=self._client_for(urgent))

    def wait(
        self,
        kind: ResourceKind | str,
        resource_id: str,
        *,
        target_statuses: Iterable[str] | None = None,
        poll_interval: float | timedelta = DEFAULT_POLL_INTERVAL_SECONDS,
        timeout: float | timedelta = DEFAULT_TIMEOUT_SECONDS,
        unreachable_timeout: float | timedelta = DEFAULT_UNREACHABLE_TIMEOUT_SECONDS,
    ) -> Mapping[str, Any]:
        """
        Wait until a job has completed, or an endpoint is in service.

        :param kind: The kind of resource.
        :param resource_id: Its id.
        :param target_statuses: Terminal statuses that count as success (default: the kind's status of
            success).
        :param poll_interval: Time in seconds, or a timedelta, between two polls (default: 60).
        :param timeout: Time in seconds, or a timedelta, after which the wait fails (default: 7 days).
        :param unreachable_timeout: Time in seconds, or a timedelta, of transient errors alone after which
            it fails (default: 600).
        :return: The last description.
        :raises ValueError: names the argument, the value and the rule; nothing is sent.
        :raises NeptuneMLFailedError: when the resource ended otherwise.
        :raises NeptuneMLTimeoutError: when ``timeout`` has passed.
        :raises NeptuneMLError: when the service refuses, or was out of reach for too long.
        """
        kind = find_kind(kind, self.kinds)
        validate_id("resource_id", resource_id)
        now, seconds = time.time(), validate_seconds("timeout", timeout)
        wait = Wait(
            kind,
            resource_id,
            now,
            now + seconds,
            f"timeout={seconds:g}",
            target_statuses=None if target_statuses is None else tuple(target_statuses),
            poll_interval=validate_seconds("poll_interval", poll_interval, zero=False),
            unreachable_timeout=validate_seconds("unreachable_timeout", unreachable_timeout),
        )
        watch = Watch(wait, log=self.log)
        return watch.wait(
            lambda left: self.describe(kind, resource_id, seconds=left), sleep=time.sleep, now=time.time
        )

    def gremlin(self, query: str, *, timeout: float | timedelta = DEFAULT_QUERY_TIMEOUT_SECONDS) -> list[Any]:
        """
        Run a Gremlin query, such as one that asks an inference endpoint.

        The request is sent once, whatever the configuration says of retries. The error has ``transient`` true
        where the same query may well succeed a moment later; not where one that changes the graph may have
        been carried out. Needs the permission ``neptune-db:ReadDataViaQuery``, and for changes
        ``neptune-db:WriteDataViaQuery`` and ``neptune-db:DeleteDataViaQuery``.

        https://docs.aws.amazon.com/neptune/latest/userguide/machine-learning-gremlin-inference-queries.html

        :param query: The query: ``g.V().count()``.
        :param timeout: Time in seconds, or a timedelta, for which the answer is waited for, whatever
            botocore's time-outs are (default: 150; Neptune's own limit, ``neptune_query_timeout``, is 120 by
            default).
        :return: The result as plain JSON values, without GraphSON's types: see :func:`plain()
            <airflow_provider_neptune_ml.hooks.graphson.plain>`. At most 4,000,000 bytes are read.
        :raises ValueError: when an argument breaks its rule; nothing is sent.
        :raises NeptuneMLTimeoutError: when ``timeout`` has passed; Neptune may still run the query.
        :raises NeptuneMLError: when the service refuses, or does not answer, or the result is too large.
        """
        validate({"query": query}, rendered=True)
        seconds = validate_seconds("timeout", timeout, zero=False)
        self._renew(RENEWAL_SECONDS)
        conn_ids = self.neptune_ml_conn_id, self.aws_conn_id
        request = QueryRequest(
            GREMLIN, GREMLIN.operation, query, seconds, self.cluster.endpoint_url, *conn_ids
        )
        call = getattr(self.query_conn, xform_name(GREMLIN.operation))
        try:
            return _values_of(self._send(request, partial(call, gremlinQuery=query), seconds), request)
        except NeptuneMLError as error:
            if request.changes and error.transient and error.ambiguous:
                error.transient = False
                error.add_sentence(
                    "It changes the graph and may have been carried out: it is not sent again."
                )
            raise

    def model_metrics(self, job_id: str, *, description: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """
        Read the metrics of a trained model from S3, where the training has written them.

        They are in ``eval_metrics_info.json`` and ``test_metrics_info.json``, at the ``outputLocation`` of
        the training's processing job. Their names depend on the model, and they may be nested, as in the
        report of a classification. Needs the permission ``s3:GetObject`` there, for the credentials of
        ``aws_conn_id``, also when ``iam_auth`` is false.

        :param job_id: The id of the completed training job.
        :param description: What :meth:`describe` returned of it (default: it is described first).
        :return: ``{"eval": {...}, "test": {...} or None}``: None where there is no file. Numbers that JSON
            doesn't know, such as NaN, are texts.
        :raises ValueError: when the id breaks its rule; nothing is sent.
        :raises NeptuneMLNotFoundError: when there is no job with that id.
        :raises NeptuneMLError: when the service refuses, or does not answer; when there is no file of
            ``eval``, or one that can't be read, isn't a JSON object, or is longer than 1 MB.
        """
        known = self.describe(MODEL_TRAINING, job_id) if description is None else description
        try:
            client = MetricsHook(self).conn
        except Exception as error:
            if not is_call_error(error):
                raise
            raise translate_setup(error, aws_conn_id=self.aws_conn_id) from None
        name = MODEL_TRAINING.name_of(job_id)
        return MetricsFiles(client, name, known, self.aws_conn_id, self.log).read()

    def test_connection(self) -> tuple[bool, str]:
        """
        List one data processing job, and return what is wrong if that fails.

        Needs the permission ``neptune-db:ListMLDataProcessingJobs``.

        :return: Whether it went well, and what was found.
        """
        try:
            self.list_ids(DATA_PROCESSING, max_items=1)
        except NeptuneMLError as error:
            # A connection that is tested before it is saved has an id that Airflow made up.
            message = str(error).replace(f" {self.neptune_ml_conn_id!r}", "")
            message = message.replace(f" ({self.neptune_ml_conn_id})", "")
            if is_unsigned(error) and not self.cluster.iam_auth:
                return False, f"The cluster requires signed requests, and iam_auth is false. {message}"
            if isinstance(error, NeptuneMLServiceError) and error.http_status == 403 and error.code != "403":
                return False, f"Signature or permission refused. {message}"
            return False, message
        signed = "signed" if self.cluster.iam_auth else "unsigned"
        return True, f"{self.cluster.endpoint_url} answers {signed} requests to Neptune ML"

    # Calling

    def _call(
        self,
        kind: ResourceKind,
        operation: str,
        resource_id: str | None,
        members: Mapping[str, Any],
        *,
        client: BaseClient | None = None,
        seconds: float | None = None,
    ) -> dict[str, Any]:
        request = self._request(kind, operation, resource_id)
        send = partial(getattr(client or self.conn, xform_name(operation)), **members)
        reply = self._send(request, send, seconds)
        answered_id = reply.get("id", None if operation == kind.start_operation else resource_id)
        if resource_id and str(answered_id).casefold() != resource_id.casefold():
            # Of another resource, it is no answer.
            raise not_neptunes(request)
        return {member: value for member, value in reply.items() if member != "ResponseMetadata"}

    def _request(self, kind: ResourceKind, operation: str, resource_id: str | None) -> Request:
        conn_ids = self.neptune_ml_conn_id, self.aws_conn_id
        return self.request_class(kind, operation, resource_id, self.cluster.endpoint_url, *conn_ids)

    def _send(
        self, request: AnyRequest, send: Callable[[], dict[str, Any]], seconds: float | None
    ) -> dict[str, Any]:
        try:
            return send() if seconds is None else within(seconds, send, request.endpoint_url)
        except ParamValidationError as error:
            raise ValueError(f"{request.operation} can't be sent: {one_line(error)}") from None
        except Exception as error:
            if not is_call_error(error):
                raise
            translated = translate(error, request)
            if is_expired(error):
                self._renew(0.0)
            # What the service said is in our message: one block in the log, not two.
            raise translated from None

    def _client_for(self, urgent: bool) -> BaseClient:
        return self.urgent_conn if urgent else self.conn

    def _role(self) -> dict[str, str]:
        role = self.cluster.neptune_iam_role_arn
        return {"neptuneIamRoleArn": role} if role else {}

    def _renew(self, seconds: float) -> None:
        """
        Read the connections again, if that was done so long ago; keep what there is if it fails.

        At most once a minute, and by one thread: a thousand waits share a hook, and go on meanwhile.
        """
        if not self._renewing.acquire(blocking=False):
            return
        try:
            now, read_at = time.monotonic(), self._clients.read_at
            if now < read_at + seconds or now < self._renewal_tried_at + _RENEWAL_PAUSE_SECONDS:
                return
            is_first, self._renewal_tried_at = self._renewal_tried_at <= read_at, now
            self._clients = self._built_anew()
        except Exception as error:  # whatever Airflow's look-ups raise
            if is_first:
                reason = error if isinstance(error, NeptuneMLError) else f"{type(error).__name__} was raised."
                self.log.warning("Connections not read again, the earlier settings stay in use: %s", reason)
        finally:
            self._renewing.release()

    def _settings(self) -> dict[str, Any]:
        return {
            "neptune_ml_conn_id": self.neptune_ml_conn_id,
            "aws_conn_id": self.aws_conn_id,
            "region_name": self._region_name,
            "verify": self._verify,
            "config": self._config,
        }

    def _built_anew(self) -> Clients:
        fresh = type(self)(**self._settings())
        fresh._clients.build_as(self._clients)
        if self.conn_config and fresh.cluster.iam_auth and not fresh.conn_config:
            # Airflow says so where its secrets backend is down, too.
            raise NeptuneMLUnreachableError(f"Connection {self.aws_conn_id!r} (aws_conn_id) is missing.")
        return fresh._clients


def _values_of(reply: Mapping[str, Any], request: AnyRequest) -> list[Any]:
    """Return the result in the reply to a query; an error where there is none."""
    result = reply.get("result")
    data = result.get("data") if isinstance(result, dict) else None
    try:
        values = plain(data)
    except RecursionError:
        values = None
    if not isinstance(values, list):
        raise not_neptunes(request)
    return values


class SharedHook(NeptuneMLHook):
    """A hook of waits in the triggerer, where no operator is on the stack for Amazon's search to find."""

    @property
    def config(self) -> Config:
        """The configuration of clients: the user's, over one that holds a thread for seconds."""
        return TRIGGER_CONFIG.merge(super().config)

    def _get_caller(self, target_function_name: str = "execute") -> str:  # noqa: ARG002
        return "NeptuneMLJobTrigger"


# The hooks of this process by their settings, the one that was asked for last at the end, and when that was.
_SHARED: dict[str, tuple[SharedHook, float]] = {}
_SHARED_LOCK = threading.Lock()
# A hook whose clients are built costs about a megabyte; more settings than this build theirs again and again.
_SHARED_LIMIT = 32


def shared_hook(parameters: Mapping[str, Any], make: type[SharedHook] = SharedHook) -> NeptuneMLHook:
    """
    Return the hook that all waits of this process with the same settings share; safe to call from any thread.

    A client costs tens of milliseconds and a megabyte, and serves any number of threads. Nothing is looked up
    here: while one hook is at it, the waits of others go on. One that nobody has asked for in 15 minutes is
    dropped, and so is the one that nobody has asked for longest, where there are too many.

    :param parameters: The arguments of the hook, plain JSON.
    :param make: The class of the hook.
    """
    key, now = json.dumps(parameters, sort_keys=True), time.monotonic()
    with _SHARED_LOCK:
        known = _SHARED.pop(key, None)
        hook = known[0] if known else make(**parameters)
        for other, (_, asked_at) in tuple(_SHARED.items()):
            if len(_SHARED) < _SHARED_LIMIT and now < asked_at + RENEWAL_SECONDS:
                break
            del _SHARED[other]
        _SHARED[key] = hook, now
        return hook
