"""boto3 clients that check every reply against botocore's model."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import boto3
import botocore
import pytest
from botocore.config import Config
from botocore.validate import ParamValidator

from airflow_provider_neptune_ml.kinds import KINDS, ResourceKind

if TYPE_CHECKING:
    from botocore.model import OperationModel

    from airflow_provider_neptune_ml.simulator import Credential, Simulator
from airflow_provider_neptune_ml.simulator.pytest_plugin import (  # noqa: F401 - fixtures
    neptune_ml_connection,
    neptune_ml_simulator,
)

# Airflow 2.11 warns about its own default as soon as a model is used.
os.environ.setdefault("AIRFLOW__METRICS__TIMER_UNIT_CONSISTENCY", "True")

ClientMaker = Callable[..., Any]


@pytest.fixture(scope="session")
def session() -> boto3.session.Session:
    """A boto3 session, kept because it caches the service model."""
    return boto3.session.Session()


@pytest.fixture
def make_client(session: boto3.session.Session) -> Iterator[ClientMaker]:
    """Make boto3 clients without retries, unsigned unless a credential is given."""
    clients = []

    def make(simulator: Simulator, credential: Credential | None = None, **settings: Any) -> Any:
        config = {"retries": {"total_max_attempts": 1}, "read_timeout": 60, **settings.pop("config", {})}
        if credential is None:
            config["signature_version"] = botocore.UNSIGNED
        keys = {
            "aws_access_key_id": credential and credential.access_key,
            "aws_secret_access_key": credential and credential.secret_key,
            "aws_session_token": credential and credential.session_token,
        }
        arguments = {"endpoint_url": simulator.url, "region_name": simulator.region, **keys, **settings}
        client = session.client("neptunedata", config=Config(**config), **arguments)
        client.meta.events.register("before-parse.neptunedata", check_reply)
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def client(simulator: Simulator, make_client: ClientMaker) -> Any:
    """A boto3 client of the simulator."""
    return make_client(simulator)


@pytest.fixture(params=list(KINDS.values()), ids=list(KINDS))
def kind(request: pytest.FixtureRequest) -> ResourceKind:
    """Each kind in turn."""
    row: ResourceKind = request.param
    return row


def check_reply(operation_model: OperationModel, response_dict: dict[str, Any], **_: Any) -> None:
    """Fail when botocore's own validator rejects a reply of the service's."""
    if "x-amzn-requestid" not in {name.lower() for name in response_dict["headers"]}:
        return  # a proxy's reply, played by a fault
    try:
        body = json.loads(response_dict["body"])
    except ValueError:
        return  # garbled by a fault
    shape: Any = operation_model.output_shape
    media_type = "application/json"
    if response_dict["status_code"] >= 300:
        shape, media_type = operation_model.error_shapes[0], "application/x-amz-json-1.0"
        assert response_dict["headers"]["x-amzn-RequestId"] == body["requestId"]
    report = ParamValidator().validate(body, shape)
    assert not report.has_errors(), report.generate_report()
    assert response_dict["headers"]["content-type"] == media_type
