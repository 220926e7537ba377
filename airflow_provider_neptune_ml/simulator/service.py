"""The sixteen operations, the export service's three, and queries: what is checked, changed and answered."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from airflow_provider_neptune_ml import kinds
from airflow_provider_neptune_ml.simulator import errors
from airflow_provider_neptune_ml.simulator.account import Account
from airflow_provider_neptune_ml.simulator.model import instance_types
from airflow_provider_neptune_ml.simulator.planning import plan
from airflow_provider_neptune_ml.simulator.preconditions import check_preconditions
from airflow_provider_neptune_ml.simulator.queries import Queries
from airflow_provider_neptune_ml.simulator.settings import STOP, Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_neptune_ml.simulator.model import Operation
    from airflow_provider_neptune_ml.simulator.resources import Resource
    from airflow_provider_neptune_ml.simulator.store import Store

_S3_URL = re.compile(r"s3://[^/\s]+(/.*)?", re.DOTALL)
# https://docs.aws.amazon.com/neptune/latest/userguide/machine-learning-api-endpoints.html
_MODELS = ("rgcn", "kge", "transe", "distmult", "rotate")
_MAX_ITEMS = 1024
_DEFAULT_ITEMS = 10
# What the same engine answers to the cancellation of a Gremlin query; the word for ML is unknown.
_ACKNOWLEDGED = {"status": "200 OK"}


@dataclass(frozen=True)
class Call:
    """
    A client's call of an operation.

    :param operation: the operation.
    :param id: the id in the path; for a start the one to use when the body has none.
    :param query: the query parameters; unknown ones are ignored.
    :param body: the parsed body of a start.
    """

    operation: Operation
    id: str
    query: Mapping[str, str]
    body: Any


class Service:
    """
    Answer operations from the store, by the cluster's settings.

    :param settings: the cluster's settings.
    :param store: its resources.
    """

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store
        url = settings.aws_endpoint_url
        self._account = Account(url, settings.region) if url else None
        self._queries = Queries(settings, store)
        self._verbs = {"start": self._start, "get": self._get, "list": self._list, "stop": self._stop}

    def answer(self, call: Call) -> dict[str, Any]:
        """Carry out a call and return its reply, or raise the service's error."""
        verb = call.operation.verb
        if verb == "query":
            return self._queries.answer(call.body)
        if call.operation.kind is kinds.EXPORT:
            return self._answer_export(verb, call)
        if verb == "start" and not isinstance(call.body, dict):
            raise errors.bad_request(errors.BAD_BODY)
        self._check_role((call.body if verb == "start" else call.query).get("neptuneIamRoleArn"))
        with self._store.lock:
            return self._verbs[verb](call)

    def _answer_export(self, verb: str, call: Call) -> dict[str, Any]:
        """Answer for the export service; what it says to a cancellation, and of an unknown id, is assumed."""
        with self._store.lock:
            if verb == "start":
                return self._start_export(call)
            resource, now = self._visible(call), self._store.clock.now()
            if verb == "stop" and not resource.has_ended(now):
                resource.stop(now, self._settings.seconds(resource.kind, STOP))
                self._store.save(resource)
            return {"jobId": resource.id} if verb == "stop" else self._described(resource, now)

    def _start_export(self, call: Call) -> dict[str, Any]:
        if not isinstance(call.body, dict):
            raise errors.bad_request(errors.BAD_BODY)
        known = call.operation.input_shape.members
        members = call.operation.read_body({name: call.body[name] for name in call.body if name in known})
        if not _S3_URL.fullmatch(members["outputS3Path"]):
            raise errors.bad_request(errors.BAD_S3_URL)
        resource = self._make(call.operation.row, call.id, members)
        return {"jobName": resource.runs[0].name, "jobId": resource.id}

    def new_id(self, kind: kinds.ResourceKind) -> str:
        """Return an id for a start without one: a UUID for jobs, a timestamped name for endpoints."""
        if kind.name != kinds.ENDPOINTS.name:
            return str(uuid.uuid4())
        moment = datetime.fromtimestamp(self._store.clock.now(), tz=timezone.utc)
        return f"endpoint-{moment:%Y-%m-%d-%H-%M-%S}-{uuid.uuid4().hex[:6]}"

    def _check_role(self, role: Any) -> None:
        if not role and not self._settings.default_role:
            raise errors.missing_parameter(errors.NO_ROLE)
        if role and self._settings.allowed_roles is not None and role not in [*self._settings.allowed_roles]:
            raise errors.invalid_parameter(errors.ROLE_NOT_LISTED)

    def _start(self, call: Call) -> dict[str, Any]:
        kind, members = call.operation.row, call.operation.read_body(call.body)
        _check_members(members)
        if kind.name == kinds.ENDPOINTS.name and members.get("modelName", _MODELS[0]) not in _MODELS:
            raise errors.invalid_parameter(f"Invalid modelName. Valid values are {', '.join(_MODELS)}.")
        id_ = members.get("id", call.id)
        existing = self._store.get(kind.name, id_)
        if members.get("update"):
            return _started(self._update(members, existing))
        if existing:
            raise errors.invalid_parameter(errors.DUPLICATE_ID)
        check_preconditions(kind, members, self._store, self._settings)
        return _started(self._make(kind, id_, members))

    def _make(self, kind: kinds.ResourceKind, id_: str, members: dict[str, Any]) -> Resource:
        script = self._store.take_script(kind.name, id_)
        now = self._store.clock.now()
        resource = plan(kind, id_, members, now, self._settings, script, self._store.made)
        self._store.put(resource)
        return resource

    def _update(self, members: dict[str, Any], existing: Resource | None) -> Resource:
        now = self._store.clock.now()
        if "id" not in members:
            raise errors.missing_parameter(errors.UPDATE_NEEDS_ID)
        if existing is None or existing.is_stopping(now):
            raise errors.not_found(self._settings.not_found)
        check_preconditions(existing.row, members, self._store, self._settings)
        script = self._store.take_script(existing.kind, existing.id)
        existing.update(
            now, self._settings.seconds(existing.kind, existing.row.stages[0].member), members, script
        )
        self._store.save(existing)
        return existing

    def _get(self, call: Call) -> dict[str, Any]:
        resource, now = self._visible(call), self._store.clock.now()
        return self._described(resource, now)

    def _described(self, resource: Resource, now: float) -> dict[str, Any]:
        if self._account:
            self._account.write(resource, now)
        return resource.describe(now)

    def _list(self, call: Call) -> dict[str, Any]:
        count = _read_max_items(call.query.get("maxItems"))
        now = self._store.clock.now()
        found = [resource for resource in self._store.all(call.operation.row.name) if now >= resource.visible]
        if self._settings.lists == "active":
            found = [resource for resource in found if resource.is_active(now)]
        # The newest first, or a fresh job would be missing from the default ten. The real order is unknown.
        return {"ids": [resource.id for resource in reversed(found)][:count]}

    def _stop(self, call: Call) -> dict[str, Any]:
        resource = self._visible(call)
        now = self._store.clock.now()
        if resource.is_stopping(now):
            return _ACKNOWLEDGED
        if resource.has_ended(now) and resource.row.statuses.stopped:
            raise errors.invalid_parameter(errors.ALREADY_ENDED)
        resource.stop(now, self._settings.seconds(resource.kind, STOP))
        self._store.save(resource)
        return _ACKNOWLEDGED

    def _visible(self, call: Call) -> Resource:
        resource = self._store.get(call.operation.row.name, call.id)
        if resource is None or self._store.clock.now() < resource.visible:
            raise errors.not_found(self._settings.not_found)
        return resource


def _started(resource: Resource) -> dict[str, Any]:
    return {
        "id": resource.id,
        "arn": resource.runs[0].arn,
        "creationTimeInMillis": int(resource.created * 1000),
    }


def _check_members(members: Mapping[str, Any]) -> None:
    """Check what can be checked of each member by itself."""
    for name, value in members.items():
        if name == "id":
            _check_id(value)
        elif name.endswith("InstanceType") or name == "instanceType":
            if value not in instance_types(name):
                raise errors.invalid_parameter(errors.BAD_INSTANCE_TYPE)
        elif name.endswith("S3Location") or name == "sourceS3DirectoryPath":
            if not _S3_URL.fullmatch(value):
                raise errors.bad_request(errors.BAD_S3_URL)
        elif isinstance(value, dict):
            _check_members(value)


def _check_id(value: str) -> None:
    if not 1 <= len(value) <= kinds.ID_MAX_LENGTH:
        raise errors.invalid_parameter(errors.BAD_ID_LENGTH)
    if not kinds.is_valid_id(value):
        raise errors.invalid_parameter(errors.BAD_ID_LETTERS)


def _read_max_items(text: str | None) -> int:
    if text is None:
        return _DEFAULT_ITEMS
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and 1 <= int(text) <= _MAX_ITEMS):
        raise errors.invalid_parameter(errors.BAD_MAX_ITEMS)
    return int(text)
