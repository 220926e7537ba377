"""What the service refuses, with which code and text."""

from __future__ import annotations

import http.client
import json
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_neptune_ml.kinds import (
    DATA_PROCESSING,
    ENDPOINTS,
    KINDS,
    MODEL_TRAINING,
    MODEL_TRANSFORM,
    ResourceKind,
)
from airflow_provider_neptune_ml.simulator import Simulator
from airflow_provider_neptune_ml.simulator.model import HTTP_ONLY_MEMBERS, instance_types, operations
from tests.simulator.steps import STARTS, call, refusal, start

if TYPE_CHECKING:
    from tests.simulator.conftest import ClientMaker

UNKNOWN_ID = "Invalid ID provided. Please check whether a resource with the given ID exists."
INVALID = (400, "InvalidParameterException")
MISSING = (400, "MissingParameterException")
BAD = (400, "BadRequestException")
UNKNOWN_TRAINING = (*BAD, "Provided MLModelTraining job doesn't exist.")
UNKNOWN_TRANSFORM = (*BAD, "Provided ModelTransformJob doesn't exist.")
NO_DATA = (*BAD, "Provided MLDataProcessing job is not completed.")
NO_MODEL = (*BAD, "Provided ModelTraining job has not completed.")
NO_TRANSFORM = (*BAD, "Provided ModelTransformJob has not completed.")


def send(simulator: Simulator, method: str, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
    """Send a request as no SDK would; return the status and the parsed body."""
    connection = http.client.HTTPConnection(simulator.host, simulator.port, timeout=60)
    try:
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection.request(method, path, content, {"Content-Type": "application/json"})
        response = connection.getresponse()
        text = response.read()
        return response.status, json.loads(text) if text else {}
    finally:
        connection.close()


@pytest.mark.parametrize("verb", ["get_operation", "stop_operation"])
@pytest.mark.parametrize(
    ("shape", "expected"),
    [("404", (404, "MLResourceNotFoundException", UNKNOWN_ID)), ("400", (*INVALID, UNKNOWN_ID))],
)
def test_unknown_id(make_client: ClientMaker, verb: str, shape: str, expected: tuple[int, str, str]) -> None:
    """An unknown id is answered in the one shape or the other, as set."""
    with Simulator(not_found=shape) as simulator:
        client = make_client(simulator)
        answers = {refusal(client, getattr(kind, verb), id="nobody") for kind in KINDS.values()}

    assert answers == {expected}


@pytest.mark.parametrize(
    ("id_", "text"),
    [
        ("", "Invalid ID provided. ID can be 1-48 alphanumeric characters."),
        ("x" * 49, "Invalid ID provided. ID can be 1-48 alphanumeric characters."),
        ("run_1", "Invalid ID provided. Must contain only letters, digits, or hyphens."),
        ("manual:2026", "Invalid ID provided. Must contain only letters, digits, or hyphens."),
        ("é", "Invalid ID provided. Must contain only letters, digits, or hyphens."),
        ("line\n", "Invalid ID provided. Must contain only letters, digits, or hyphens."),
    ],
)
def test_ids_that_break_the_rule(client: Any, kind: ResourceKind, id_: str, text: str) -> None:
    """An id must be 1-48 letters, digits or hyphens."""
    assert refusal(client, kind.start_operation, **{**STARTS[kind.name], "id": id_}) == (*INVALID, text)


def test_id_of_48_characters(client: Any, simulator: Simulator, kind: ResourceKind) -> None:
    """The longest id is taken."""
    assert start(client, simulator, kind, "x" * 48)["id"] == "x" * 48


def test_id_that_is_taken(client: Any, simulator: Simulator, kind: ResourceKind) -> None:
    """A second start with an id is refused, even after the first has ended."""
    start(client, simulator, kind)
    text = "Another resource with same ID already exists. Please use a new ID."
    assert refusal(client, kind.start_operation, id="job-1", **STARTS[kind.name]) == (*INVALID, text)

    simulator.finish(kind.name, "job-1")
    assert refusal(client, kind.start_operation, id="job-1", **STARTS[kind.name]) == (*INVALID, text)


def test_training_needs_completed_data_processing(client: Any, simulator: Simulator) -> None:
    """A training is refused until its data processing job exists and has completed."""
    members = STARTS[MODEL_TRAINING.name]
    assert refusal(client, MODEL_TRAINING.start_operation, **members) == (*INVALID, UNKNOWN_ID)

    simulator.seed(DATA_PROCESSING.name, "base-data", DATA_PROCESSING.statuses.running)
    assert refusal(client, MODEL_TRAINING.start_operation, **members) == (
        *BAD,
        "Provided MLDataProcessing job is not completed.",
    )
    simulator.finish(DATA_PROCESSING.name, "base-data")
    assert call(client, MODEL_TRAINING.start_operation, **members)


@pytest.mark.parametrize(
    ("kind", "member", "other", "missing", "running"),
    [
        (DATA_PROCESSING, "previousDataProcessingJobId", DATA_PROCESSING, (*INVALID, UNKNOWN_ID), NO_DATA),
        (MODEL_TRAINING, "previousModelTrainingJobId", MODEL_TRAINING, UNKNOWN_TRAINING, NO_MODEL),
        (MODEL_TRANSFORM, "mlModelTrainingJobId", MODEL_TRAINING, UNKNOWN_TRAINING, NO_MODEL),
        (ENDPOINTS, "mlModelTrainingJobId", MODEL_TRAINING, UNKNOWN_TRAINING, NO_MODEL),
        (ENDPOINTS, "mlModelTransformJobId", MODEL_TRANSFORM, UNKNOWN_TRANSFORM, NO_TRANSFORM),
    ],
)
def test_what_a_start_builds_on(
    client: Any,
    simulator: Simulator,
    kind: ResourceKind,
    member: str,
    other: ResourceKind,
    missing: tuple[int, str, str],
    running: tuple[int, str, str],
) -> None:
    """A start that names another resource is refused while that one doesn't exist or hasn't completed."""
    simulator.seed(DATA_PROCESSING.name, "base-data")
    members = {name: value for name, value in STARTS[kind.name].items() if kind is not ENDPOINTS}
    members[member] = "other"
    assert refusal(client, kind.start_operation, **members) == missing

    simulator.seed(other.name, "other", other.statuses.running)
    assert refusal(client, kind.start_operation, **members) == running

    simulator.fail(other.name, "other")
    assert refusal(client, kind.start_operation, **members) == running


@pytest.mark.parametrize(
    "members", [{}, {"mlModelTrainingJobId": "base-training", "mlModelTransformJobId": "x"}]
)
def test_endpoint_needs_exactly_one_model(client: Any, simulator: Simulator, members: dict[str, str]) -> None:
    """An endpoint without a model, or with two, is refused."""
    assert refusal(client, ENDPOINTS.start_operation, **members)[:2] == INVALID


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, MISSING),
        ({"dataProcessingJobId": "base-data"}, INVALID),
        ({"dataProcessingJobId": "a", "mlModelTrainingJobId": "b", "trainingJobName": "c"}, INVALID),
        (
            {"trainingJobName": "nobody"},
            (*BAD, "Unable to find SageMaker AI resource. Please check your input."),
        ),
    ],
)
def test_transform_input_forms(client: Any, members: dict[str, str], expected: tuple[Any, ...]) -> None:
    """A transform takes two ids or one SageMaker name, not less and not both."""
    members = {"modelTransformOutputS3Location": "s3://bucket/out", **members}

    assert refusal(client, MODEL_TRANSFORM.start_operation, **members)[: len(expected)] == expected


def test_transform_by_a_declared_name(make_client: ClientMaker) -> None:
    """The name of a SageMaker training job that the simulator doesn't know can be declared."""
    with Simulator(training_job_names=["theirs"]) as simulator:
        members = {"modelTransformOutputS3Location": "s3://bucket/out", "trainingJobName": "theirs"}

        assert call(make_client(simulator), MODEL_TRANSFORM.start_operation, **members)["id"]


def test_transform_by_the_name_of_a_running_training(client: Any, simulator: Simulator) -> None:
    """A SageMaker name is refused until its training has completed."""
    simulator.seed(MODEL_TRAINING.name, "other", MODEL_TRAINING.statuses.running)
    name = simulator.overview()["kinds"][MODEL_TRAINING.name][0]["training_jobs"][0]
    members = {"modelTransformOutputS3Location": "s3://bucket/out", "trainingJobName": name}

    assert refusal(client, MODEL_TRANSFORM.start_operation, **members) == (
        *BAD,
        "Provided SageMaker AI Training job has not completed.",
    )


@pytest.mark.parametrize("location", ["bucket/in", "https://bucket/in", "s3:/bucket", "s3://", ""])
def test_locations_that_are_not_s3(client: Any, location: str) -> None:
    """A location must be an s3:// URL."""
    members = {**STARTS[DATA_PROCESSING.name], "inputDataS3Location": location}

    assert refusal(client, DATA_PROCESSING.start_operation, **members) == (
        *BAD,
        "Invalid S3 URL or incorrect S3 permissions. Please check your S3 configuration.",
    )


def test_custom_parameters_are_checked_too(client: Any, simulator: Simulator) -> None:
    """The S3 path inside a structure must be an s3:// URL as well."""
    members = {
        **STARTS[MODEL_TRAINING.name],
        "customModelTrainingParameters": {"sourceS3DirectoryPath": "code/"},
    }

    assert refusal(client, MODEL_TRAINING.start_operation, **members)[:2] == BAD


def test_instance_types(client: Any, simulator: Simulator, kind: ResourceKind) -> None:
    """An instance type must look like ml.*."""
    members = operations()[kind.start_operation].input_shape.members
    names = [name for name in members if name.lower().endswith("instancetype")]
    assert names
    for name in names:
        for wrong in ("m5.large", "ml.nonsense.large", "ml.m5.2xlarge ", "ML.M5.XLARGE", "ml.m5", ""):
            answer = refusal(client, kind.start_operation, **{**STARTS[kind.name], name: wrong})
            assert answer == (*INVALID, "Invalid ML instance type.")
    assert start(client, simulator, kind, **dict.fromkeys(names, "ml.m5.xlarge"))


@pytest.mark.parametrize(
    ("member", "type_", "expected"),
    [
        ("trainingInstanceType", "ml.g5.2xlarge", True),
        ("trainingInstanceType", "ml.p3.2xlarge", True),
        ("processingInstanceType", "ml.r5.8xlarge", True),
        ("instanceType", "ml.inf1.xlarge", True),
        ("trainingInstanceType", "ml.inf1.xlarge", False),
        ("baseProcessingInstanceType", "ml.p4d.24xlarge", False),
    ],
)
def test_instance_types_are_those_of_the_work(member: str, type_: str, expected: bool) -> None:
    """SageMaker has other instance types for training than for processing or for an endpoint."""
    assert (type_ in instance_types(member)) is expected


@pytest.mark.parametrize("name", ["rgcn", "kge", "transe", "distmult", "rotate"])
def test_models_of_an_endpoint(client: Any, simulator: Simulator, name: str) -> None:
    """An endpoint takes the models of AWS's guide by name, and no others."""
    assert start(client, simulator, ENDPOINTS, modelName=name)
    for wrong in (name.upper(), "custom", "gpt", ""):
        members = {**STARTS[ENDPOINTS.name], "modelName": wrong}
        assert refusal(client, ENDPOINTS.start_operation, **members) == (
            *INVALID,
            "Invalid modelName. Valid values are rgcn, kge, transe, distmult, rotate.",
        )


def test_members_that_boto3_does_not_know(simulator: Simulator, kind: ResourceKind) -> None:
    """Members that only the HTTP API has are taken, with their types checked; unknown ones are refused."""
    simulator.seed(DATA_PROCESSING.name, "base-data")
    simulator.seed(MODEL_TRAINING.name, "base-training")
    path = f"/ml/{kind.name}"
    examples: dict[str, list[Any]] = {
        "string": ["custom"],
        "integer": [90000, "90000"],
        "boolean": [True, "TRUE", "false"],
    }
    for name, type_ in HTTP_ONLY_MEMBERS.get(kind.name, {}).items():
        for example in examples[type_]:
            assert send(simulator, "POST", path, {**STARTS[kind.name], name: example})[0] == 200
        status, body = send(simulator, "POST", path, {**STARTS[kind.name], name: {}})
        assert (status, body["code"]) == INVALID
        assert name in body["detailedMessage"]
    status, body = send(simulator, "POST", path, {**STARTS[kind.name], "modelNme": "custom"})

    assert (status, body["code"]) == INVALID
    assert "modelNme" in body["detailedMessage"]


def test_words_and_digits_pass_for_what_they_mean(simulator: Simulator) -> None:
    """Numbers and booleans may come as strings, as graph-notebook's magics send them."""
    simulator.seed(DATA_PROCESSING.name, "base-data")
    loose = {"maxHPONumberOfTrainingJobs": "2", "enableManagedSpotTraining": "TRUE", "subnets": None}

    assert send(simulator, "POST", "/ml/modeltraining", {**STARTS[MODEL_TRAINING.name], **loose})[0] == 200
    assert (
        send(simulator, "POST", "/ml/modeltraining", {**STARTS[MODEL_TRAINING.name], "subnets": "one"})[0]
        == 400
    )


@pytest.mark.parametrize("body", [b"{", b"[]", b'"text"', b"\xff", b'{"id": "' + b"x" * (1 << 20) + b'"}'])
def test_bodies_that_are_no_json_object(simulator: Simulator, body: bytes) -> None:
    """A body that isn't a JSON object, or is far too large, is refused with the documented error body."""
    status, answer = send(simulator, "POST", "/ml/dataprocessing", body)

    assert (status, answer["code"]) == BAD
    assert set(answer) == {"requestId", "code", "detailedMessage"}


def test_members_that_are_missing(simulator: Simulator) -> None:
    """A required member that is missing is named."""
    status, answer = send(simulator, "POST", "/ml/dataprocessing", {"inputDataS3Location": "s3://bucket/in"})

    assert (status, answer["code"]) == MISSING
    assert "processedDataS3Location" in answer["detailedMessage"]


@pytest.mark.parametrize("count", ["0", "1025", "ten", "-1", "", "1.5"])
def test_max_items_out_of_range(simulator: Simulator, kind: ResourceKind, count: str) -> None:
    """A list takes maxItems from 1 to 1024."""
    status, answer = send(simulator, "GET", f"/ml/{kind.name}?maxItems={count}")

    assert (status, answer["code"]) == INVALID


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/ml", (404, "ResourceNotFoundException")),
        ("GET", "/ml/nothing", (404, "ResourceNotFoundException")),
        ("GET", "/status", (404, "ResourceNotFoundException")),
        ("GET", "/ml/endpoints/a/b", (404, "ResourceNotFoundException")),
        ("PUT", "/ml/endpoints", (405, "MethodNotAllowedException")),
        ("DELETE", "/ml/endpoints", (405, "MethodNotAllowedException")),
        ("POST", "/ml/endpoints/x", (405, "MethodNotAllowedException")),
        ("POST", "/", (404, "ResourceNotFoundException")),
    ],
)
def test_paths_and_methods_that_do_not_exist(
    simulator: Simulator, method: str, path: str, expected: tuple[int, str]
) -> None:
    """Whatever isn't an operation gets an error body like the service's own."""
    status, answer = send(simulator, method, path)

    assert (status, answer["code"]) == expected
    assert set(answer) == {"requestId", "code", "detailedMessage"}


def test_head_is_not_an_operation(simulator: Simulator, kind: ResourceKind) -> None:
    """HEAD is refused, without a body as HTTP has it."""
    assert send(simulator, "HEAD", f"/ml/{kind.name}") == (405, {})


def test_role_is_needed_without_a_default(make_client: ClientMaker) -> None:
    """Every operation needs neptuneIamRoleArn on a cluster without a default role."""
    text = (
        "Required credentials are missing. "
        "Please add IAM role to the cluster or pass as a parameter to this request."
    )
    role = "arn:aws:iam::123456789012:role/neptune-ml"
    with Simulator(default_role=False, clock="manual") as simulator:
        client = make_client(simulator)
        for kind in KINDS.values():
            assert refusal(client, kind.start_operation, **STARTS[kind.name]) == (*MISSING, text)
            assert refusal(client, kind.list_operation) == (*MISSING, text)
            for operation in (kind.get_operation, kind.stop_operation):
                assert refusal(client, operation, id="job-1") == (*MISSING, text)
            assert start(client, simulator, kind, neptuneIamRoleArn=role)
            assert call(client, kind.get_operation, id="job-1", neptuneIamRoleArn=role)
            assert call(client, kind.list_operation, neptuneIamRoleArn=role)
            assert call(client, kind.stop_operation, id="job-1", neptuneIamRoleArn=role)


def test_content_types(simulator: Simulator) -> None:
    """Errors have another content type than replies: that of AWS's page on error codes."""
    expected = {"/ml/endpoints": "application/json", "/ml/endpoints/nobody": "application/x-amz-json-1.0"}
    for path, media_type in expected.items():
        with closing(http.client.HTTPConnection(simulator.host, simulator.port, timeout=60)) as connection:
            connection.request("GET", path)
            assert connection.getresponse().headers["Content-Type"] == media_type


def test_role_must_be_allowed(make_client: ClientMaker) -> None:
    """With allowed_roles any other role is refused."""
    with Simulator(allowed_roles={"arn:aws:iam::123456789012:role/good"}) as simulator:
        client = make_client(simulator)
        operation = DATA_PROCESSING.list_operation

        assert call(client, operation, neptuneIamRoleArn="arn:aws:iam::123456789012:role/good")
        assert (
            refusal(client, operation, neptuneIamRoleArn="arn:aws:iam::123456789012:role/bad")[:2] == INVALID
        )
        assert call(client, operation)
        body = {**STARTS[DATA_PROCESSING.name], "neptuneIamRoleArn": ["good"]}
        assert send(simulator, "POST", "/ml/dataprocessing", body)[0] == 400


def test_journal_keeps_what_was_asked(client: Any, simulator: Simulator, kind: ResourceKind) -> None:
    """The journal has every request with its operation, id, body, answer and time, in order."""
    start(client, simulator, kind)
    simulator.advance(5.0)
    call(client, kind.stop_operation, id="job-1", clean=True, neptuneIamRoleArn="arn:aws:iam::1:role/x")
    refusal(client, kind.get_operation, id="other id")
    made, stopped, missed = simulator.journal

    assert (made.operation, made.kind, made.id, made.method) == (
        kind.start_operation,
        kind.name,
        "job-1",
        "POST",
    )
    assert made.body == {"id": "job-1", **STARTS[kind.name]}
    assert (made.status, made.code, made.path) == (200, None, f"/ml/{kind.name}")
    assert stopped.query == {"clean": "true", "neptuneIamRoleArn": "arn:aws:iam::1:role/x"}
    assert stopped.at - made.at == pytest.approx(5.0)
    assert (missed.id, missed.status, missed.code) == ("other id", 404, "MLResourceNotFoundException")
    assert missed.caller.startswith("Boto3/")
    assert simulator.calls(kind.get_operation) == [missed]


def test_journal_is_bounded(make_client: ClientMaker) -> None:
    """The journal keeps the latest requests only."""
    with Simulator(journal_size=3) as simulator:
        client = make_client(simulator)
        for number in range(5):
            refusal(client, ENDPOINTS.get_operation, id=f"e-{number}")

        assert [request.id for request in simulator.journal] == ["e-2", "e-3", "e-4"]
