"""What the tests do again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from botocore import xform_name
from botocore.exceptions import ClientError

from airflow_provider_neptune_ml.kinds import (
    DATA_PROCESSING,
    ENDPOINTS,
    MODEL_TRAINING,
    MODEL_TRANSFORM,
    ResourceKind,
)

if TYPE_CHECKING:
    from airflow_provider_neptune_ml.simulator import Simulator

STARTS: dict[str, dict[str, Any]] = {
    DATA_PROCESSING.name: {
        "inputDataS3Location": "s3://bucket/in",
        "processedDataS3Location": "s3://bucket/out",
    },
    MODEL_TRAINING.name: {"dataProcessingJobId": "base-data", "trainModelS3Location": "s3://bucket/model"},
    MODEL_TRANSFORM.name: {
        "dataProcessingJobId": "base-data",
        "mlModelTrainingJobId": "base-training",
        "modelTransformOutputS3Location": "s3://bucket/transformed",
    },
    ENDPOINTS.name: {"mlModelTrainingJobId": "base-training"},
}
# More than the longest default life.
A_LONG_TIME = 3600.0


def call(client: Any, operation: str, **members: Any) -> dict[str, Any]:
    """Call an operation by the name in botocore's model; return the reply without its metadata."""
    reply: dict[str, Any] = getattr(client, xform_name(operation))(**members)
    return {name: value for name, value in reply.items() if name != "ResponseMetadata"}


def start(
    client: Any, simulator: Simulator, kind: ResourceKind, id_: str | None = "job-1", **members: Any
) -> dict[str, Any]:
    """Start a resource, with what it builds on in place."""
    for base, name in ((DATA_PROCESSING, "base-data"), (MODEL_TRAINING, "base-training")):
        if kind is not base:
            ensure(simulator, base, name)
    members = {**STARTS[kind.name], **({"id": id_} if id_ is not None else {}), **members}
    return call(client, kind.start_operation, **members)


def ensure(simulator: Simulator, kind: ResourceKind, id_: str) -> None:
    """Put an ended resource there unless it is."""
    try:
        simulator.describe(kind.name, id_)
    except KeyError:
        simulator.seed(kind.name, id_)


def get(client: Any, kind: ResourceKind, id_: str = "job-1") -> dict[str, Any]:
    """Describe a resource."""
    return call(client, kind.get_operation, id=id_)


def refusal(client: Any, operation: str, **members: Any) -> tuple[int, str, str]:
    """Call an operation that is refused; return the HTTP status, the code and the text."""
    with pytest.raises(ClientError) as caught:
        call(client, operation, **members)
    return refused(caught.value)


def refused(error: ClientError) -> tuple[int, str, str]:
    """Return the HTTP status, the code and the text of an error."""
    response: Any = error.response
    return (
        response["ResponseMetadata"]["HTTPStatusCode"],
        response["Error"]["Code"],
        response.get("detailedMessage", ""),
    )
