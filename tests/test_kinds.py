"""The table, held against botocore's model of the service."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from botocore.model import ServiceModel, StructureShape
from botocore.session import get_session

import airflow_provider_neptune_ml
from airflow_provider_neptune_ml.kinds import (
    DATA_PROCESSING,
    ENDPOINTS,
    KINDS,
    MODEL_TRAINING,
    MODEL_TRANSFORM,
    Phase,
    ResourceKind,
    find_kind,
    is_valid_id,
)

PACKAGE = Path(airflow_provider_neptune_ml.__file__).parent

pytestmark = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
model: ServiceModel = get_session().get_service_model("neptunedata")


def output(operation: str) -> StructureShape:
    """Return the shape of an operation's reply."""
    shape = model.operation_model(operation).output_shape
    assert isinstance(shape, StructureShape)
    return shape


def test_operations_exist(kind: ResourceKind) -> None:
    """Each operation of a row is one of the service's, at the row's URL segment, with the expected method."""
    requests = {
        operation: model.operation_model(operation).http
        for operation in (kind.start_operation, kind.get_operation, kind.list_operation, kind.stop_operation)
    }

    assert [(http["method"], http["requestUri"]) for http in requests.values()] == [
        ("POST", f"/ml/{kind.name}"),
        ("GET", f"/ml/{kind.name}/{{id}}"),
        ("GET", f"/ml/{kind.name}"),
        ("DELETE", f"/ml/{kind.name}/{{id}}"),
    ]


def test_members_that_the_code_reads(kind: ResourceKind) -> None:
    """Replies have the id, the status and the ids, and every stage has what errors and logs are made of."""
    described = output(kind.get_operation).members

    assert {"id", "status"} <= set(described)
    assert set(output(kind.list_operation).members) == {"ids"}
    assert set(output(kind.start_operation).members) == {"id", "arn", "creationTimeInMillis"}
    for stage in kind.stages:
        part = described[stage.member]
        assert isinstance(part, StructureShape)
        assert {"status", "failureReason", "outputLocation", "cloudwatchLogUrl", "arn"} <= set(part.members)


def test_no_stage_is_missing(kind: ResourceKind) -> None:
    """Every member of a description that has a failure reason is a stage of the row."""
    reasons = {
        name
        for name, shape in output(kind.get_operation).members.items()
        if isinstance(shape, StructureShape) and "failureReason" in shape.members
    }

    assert reasons == {stage.member for stage in kind.stages}


def test_every_word_has_one_meaning(kind: ResourceKind) -> None:
    """No status is both an end and not one; the contract's words are placed as it says."""
    words = [word.casefold() for word in (*kind.statuses.terminal, *kind.statuses.non_terminal)]
    expected = {
        ENDPOINTS.name: ({"InService"}, {"Failed", "OutOfService", "UpdateRollbackFailed"}),
    }.get(kind.name, ({"Completed"}, {"Failed", "Stopped"}))

    assert len(words) == len(set(words))
    assert {word for word, phase in kind.statuses.terminal.items() if phase is Phase.SUCCEEDED} == expected[0]
    assert {word for word, phase in kind.statuses.terminal.items() if phase is Phase.FAILED} == expected[1]


def test_permissions(kind: ResourceKind) -> None:
    """Permissions are named after the operations, those to describe with Status behind."""
    assert kind.iam_action(kind.start_operation) == f"neptune-db:{kind.start_operation}"
    assert kind.iam_action(kind.get_operation) == f"neptune-db:{kind.get_operation}Status"


def test_statuses_are_spelled_in_the_table_alone(kind: ResourceKind) -> None:
    """No other module of the package has a status word or an operation name in its code."""
    words = {*kind.statuses.terminal, *kind.statuses.non_terminal, kind.start_operation, kind.get_operation}
    words |= {kind.list_operation, kind.stop_operation}
    pattern = re.compile("[\"'](" + "|".join(words) + ")[\"']")

    for path in PACKAGE.rglob("*.py"):
        if path != PACKAGE / "kinds.py":
            code = re.sub(r'"""[\s\S]*?"""|#.*', "", path.read_text())
            assert not pattern.search(code), path


def test_current_stage(kind: ResourceKind) -> None:
    """The stage that matters is the failed one, else the one at work, else the last; any may be missing."""
    first, last = kind.stages[0], kind.stages[-1]

    assert kind.current_stage({}) is None
    assert kind.current_stage({"status": "x", first.member: None}) is None
    assert kind.current_stage({first.member: {"name": "a"}}) == (first, {"name": "a"})
    done, failed = {"status": "Completed"}, {"status": "Failed"}
    everything = {stage.member: done for stage in kind.stages}
    assert kind.current_stage(everything) == (last, done)
    assert kind.current_stage({**everything, first.member: failed}) == (first, failed)


def test_can_be_found(kind: ResourceKind) -> None:
    """A kind is found by itself and by its name."""
    assert find_kind(kind) is find_kind(kind.name) is kind


@pytest.mark.parametrize(
    ("value", "valid"),
    [
        ("a", True),
        ("A-1", True),
        ("a" * 48, True),
        ("a" * 49, False),
        ("", False),
        ("a_b", False),
        ("é", False),
        ("a b", False),
        ("a\n", False),
        (7, False),
        (None, False),
    ],
)
def test_ids(kind: ResourceKind, value: object, valid: bool) -> None:
    """Ids are 1 to 48 letters, digits or hyphens."""
    assert is_valid_id(value) is valid


def test_the_four_kinds(kind: ResourceKind) -> None:
    """The table has the four kinds, under the names of the HTTP API."""
    assert list(KINDS) == ["dataprocessing", "modeltraining", "modeltransform", "endpoints"]
    assert kind in (DATA_PROCESSING, MODEL_TRAINING, MODEL_TRANSFORM, ENDPOINTS)
