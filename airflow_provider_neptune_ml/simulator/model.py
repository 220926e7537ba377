"""What botocore's service model says about the ML operations: routes, members, types and HTTP codes."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import botocore.session
from botocore.model import DenormalizedStructureBuilder
from botocore.validate import ParamValidator

from airflow_provider_neptune_ml.kinds import (
    ALL_KINDS,
    DATA_PROCESSING,
    EXPORT,
    GREMLIN,
    KINDS,
    MODEL_TRAINING,
    MODEL_TRANSFORM,
    QueryLanguage,
    ResourceKind,
)
from airflow_provider_neptune_ml.simulator.errors import invalid_parameter, missing_parameter
from airflow_provider_neptune_ml.simulator.settings import EXPORT_PATH

if TYPE_CHECKING:
    from collections.abc import Mapping

    from botocore.model import OperationModel, ServiceModel, Shape, StructureShape

# Members that AWS's guide has and botocore's model doesn't:
# https://docs.aws.amazon.com/neptune/latest/userguide/machine-learning-api-modeltraining.html
_ENCRYPTION = {"enableInterContainerTrafficEncryption": "boolean"}
HTTP_ONLY_MEMBERS: dict[str, dict[str, str]] = {
    DATA_PROCESSING.name: _ENCRYPTION,
    MODEL_TRAINING.name: {"modelName": "string", "maxWaitTime": "integer", **_ENCRYPTION},
    MODEL_TRANSFORM.name: _ENCRYPTION,
}
# Where botocore's model of SageMaker has the instance types that a member may name.
_INSTANCE_TYPE_SHAPES = {
    "processingInstanceType": "ProcessingInstanceType",
    "baseProcessingInstanceType": "ProcessingInstanceType",
    "trainingInstanceType": "TrainingInstanceType",
    "instanceType": "ProductionVariantInstanceType",
}
# Of the exceptions that we answer with and that botocore's model, or an older one, doesn't have.
_OTHER_STATUSES = {"ResourceNotFoundException": 404}
_BOOLEANS = {"true": True, "false": False}


@dataclass(frozen=True)
class Operation:
    """
    An operation on one kind.

    :param name: as botocore spells it.
    :param kind: the kind it works on; for a query its language.
    :param verb: ``start``, ``get``, ``list``, ``stop`` or ``query``.
    :param model: botocore's description of it.
    """

    name: str
    kind: ResourceKind | QueryLanguage
    verb: str
    model: OperationModel

    @property
    def route(self) -> tuple[str, str, bool]:
        """What tells its requests: the method, the path before the id, and whether there is an id."""
        uri = self.model.http["requestUri"]
        if self.kind is EXPORT:
            uri = EXPORT_PATH + uri.rstrip("/")
        path, _, rest = uri.partition("/{id}")
        return self.model.http["method"], path, bool(rest) or uri.endswith("/{id}")

    @property
    def row(self) -> ResourceKind:
        """The row of the table; a query has none."""
        if isinstance(self.kind, QueryLanguage):
            raise TypeError(f"{self.name} is for no kind of resource")
        return self.kind

    @property
    def input_shape(self) -> StructureShape:
        """The members that botocore knows."""
        if self.model.input_shape is None:
            raise TypeError(f"{self.name} has no input shape")
        return self.model.input_shape

    def read_body(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """
        Return a request body with its members' types set right, or raise the service's error.

        :param body: the JSON object; a null member counts as absent, and ``"TRUE"`` or ``"10"`` pass for what
            they mean, because clients in use send them.
        """
        shape, extra = self.input_shape, _http_only_shape(self.kind.name)
        given = {name: value for name, value in body.items() if value is not None}
        for name in shape.required_members:
            if name not in given:
                raise missing_parameter(f"Missing required parameter: {name}")
        known = {**extra.members, **shape.members}
        members = {name: _convert(value, known.get(name)) for name, value in given.items()}
        _validate({name: value for name, value in members.items() if name not in extra.members}, shape)
        _validate({name: value for name, value in members.items() if name in extra.members}, extra)
        return members


@functools.cache
def service_model() -> ServiceModel:
    """Return botocore's model of the service."""
    return botocore.session.get_session().get_service_model("neptunedata")


@functools.cache
def export_model() -> ServiceModel:
    """Return this package's model of the export service."""
    session = botocore.session.get_session()
    models = Path(__file__).parent.parent / "hooks" / "models"
    session.get_component("data_loader").search_paths.append(str(models))
    return session.get_service_model("neptuneexport")


@functools.cache
def instance_types(member: str) -> frozenset[str]:
    """Return the instance types that SageMaker has for what a member is about."""
    sagemaker = botocore.session.get_session().get_service_model("sagemaker")
    shape: Any = sagemaker.shape_for(_INSTANCE_TYPE_SHAPES[member])
    return frozenset(shape.enum)


@functools.cache
def _http_only_shape(kind: str) -> StructureShape:
    members = {name: {"type": type_} for name, type_ in HTTP_ONLY_MEMBERS.get(kind, {}).items()}
    shape: StructureShape = DenormalizedStructureBuilder().with_members(members).build_model()
    return shape


@functools.cache
def operations() -> dict[str, Operation]:
    """Return the ML operations by name."""
    models = {**dict.fromkeys(KINDS, service_model()), EXPORT.name: export_model()}
    return {
        name: Operation(name, kind, verb, models[kind.name].operation_model(name))
        for kind in ALL_KINDS.values()
        for verb, name in (
            ("start", kind.start_operation),
            ("get", kind.get_operation),
            ("list", kind.list_operation),
            ("stop", kind.stop_operation),
        )
        if name
    }


@functools.cache
def _routes() -> dict[tuple[str, str, bool], Operation]:
    query = Operation(GREMLIN.operation, GREMLIN, "query", service_model().operation_model(GREMLIN.operation))
    _, path, has_id = query.route
    # Of which boto3 sends the POST.
    queries = {(method, path, has_id): query for method in ("GET", "POST")}
    return queries | {operation.route: operation for operation in operations().values()}


@functools.cache
def _paths() -> set[tuple[str, bool]]:
    return {(path, has_id) for _, path, has_id in _routes()}


def find_operation(method: str, raw_path: str) -> tuple[Operation | None, str | None, bool]:
    """
    Return the operation that a request asks for, the id in its path, and whether the path itself is known.

    :param raw_path: the path as received, still percent-encoded.
    """
    path, id_ = raw_path.rstrip("/"), None
    if (path, False) not in _paths():
        path, _, segment = path.rpartition("/")
        id_ = unquote(segment)
    known = (path, id_ is not None) in _paths()
    return _routes().get((method, path, id_ is not None)), id_ if known else None, known


@functools.cache
def http_status(code: str) -> int:
    """Return the HTTP status that belongs to an exception name."""
    for shape in service_model().error_shapes:
        if shape.name == code:
            return int(shape.metadata["error"]["httpStatusCode"])
    return _OTHER_STATUSES[code]


def _convert(value: object, shape: Shape | None) -> object:
    if not isinstance(value, str) or shape is None:
        return value
    if shape.type_name == "boolean":
        return _BOOLEANS.get(value.casefold(), value)
    if shape.type_name in ("integer", "long") and value.isascii() and value.isdecimal():
        return int(value)
    return value


def _validate(members: dict[str, Any], shape: Shape) -> None:
    report = ParamValidator().validate(members, shape)
    if report.has_errors():
        raise invalid_parameter(report.generate_report())
