"""What the service says of a caller: expired credentials, throttling, and each other reason for a 403."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_provider_neptune_ml.exceptions import (
    NeptuneMLError,
    NeptuneMLNotFoundError,
    NeptuneMLServiceError,
)
from airflow_provider_neptune_ml.hooks.neptune_ml import NeptuneMLHook
from tests.conftest import ONCE, connect
from tests.raw_server import reply, serve

EXPIRED = "The security token included in the request is expired"
NOT_AUTHORIZED = (
    "User: arn:aws:sts::123456789012:assumed-role/Ops/jane@corp.example is not authorized to perform:"
    " neptune-db:GetMLModelTrainingJobStatus"
)
MISMATCH = (
    "The request signature we calculated does not match the signature you provided. The Canonical String"
    " should have been 'GET\n/ml/modeltraining/x\n\nx-amz-security-token:IQoJb3JpZ2luX2Vj\n"
)
PERMISSION = r"needs the permission neptune-db:GetMLModelTrainingJobStatus on the cluster\."


@pytest.fixture
def refused(connection: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Return the error of a Get that is answered with an error."""
    said = [b""]
    with serve(lambda *_: said[0]) as (port, _):
        connect(monkeypatch, connection, port=port)
        hook = NeptuneMLHook(config=ONCE)

        def call(status: int, body: object) -> NeptuneMLError:
            said[0] = reply(status, body)
            with pytest.raises(NeptuneMLServiceError) as caught:
                hook.describe("modeltraining", "mine")
            return caught.value

        yield call


@pytest.mark.parametrize(
    ("code", "text", "advice"),
    [
        ("AccessDeniedException", NOT_AUTHORIZED, PERMISSION),
        ("AccessDeniedException", "The caller is not authorized to perform this operation.", PERMISSION),
        ("AccessDeniedException", "... with an explicit deny in a service control policy", PERMISSION),
        ("AccessDeniedException", MISMATCH, "Check the secret access key of aws_conn_id"),
        (
            "AccessDeniedException",
            "'x-amz-security-token' is named as a SignedHeader, but it does not exist in the HTTP request.",
            "tunnel or load balancer",
        ),
        (
            "AccessDeniedException",
            "Credential should be scoped to a valid region, not 'us-east-1'.",
            "for another region than the cluster's: check region_name",
        ),
        ("AccessDeniedException", "Missing Authentication Token", "set iam_auth .* to true"),
        (
            "AccessDeniedException",
            "Credential should be scoped to correct service: 'execute-api'.",
            "API Gateway answered, not Neptune: host, port and schema .* must be those of the cluster",
        ),
        (
            "AccessDeniedException",
            "Signature expired: 20260101T000000Z is now earlier than 20260101T001000Z",
            "Check the clock of this machine",
        ),
        (
            "AccessDeniedException",
            "The security token included in the request is invalid.",
            "Check the access key and session token of aws_conn_id",
        ),
        ("AccessDeniedException", "Not today.", "Check the credentials of aws_conn_id .* and their policy"),
        ("", "Not today.", "Check the credentials of aws_conn_id .* and their policy"),
    ],
)
def test_advice(refused: Callable[..., Any], code: str, text: str, advice: str) -> None:
    """Each reason for a 403 has its own advice; the permission is named only where one is missing."""
    error = refused(403, {"code": code, "detailedMessage": text, "requestId": "r-1"})

    assert re.search(advice, str(error))
    assert ("needs the permission" in str(error)) is (advice is PERMISSION)
    assert not error.transient
    assert "IQoJb3JpZ2luX2Vj" not in str(error)


NEPTUNES = r"'mine': 403: {}Check the credentials of aws_conn_id .* and their policy"
FOREIGN = r"HTTP status 403, in a form that isn't Neptune's.*any proxy or load balancer in between"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html><title>403 Forbidden</title></html>", FOREIGN),
        (b"", FOREIGN),
        (b'["requestId"]', FOREIGN),
        ({}, FOREIGN),
        ({"message": "Forbidden"}, FOREIGN),
        ({"code": 403, "message": "Forbidden"}, FOREIGN),
        ({"Message": "Not permitted: execute-api:Invoke"}, FOREIGN),
        ({"requestId": 5, "message": "Forbidden"}, FOREIGN),
        ({"requestId": "r-1", "detailedMessage": "Not today."}, NEPTUNES.format(r"Not today\. ")),
        ({"detailedMessage": "Not today."}, NEPTUNES.format(r"Not today\. ")),
        ({"requestId": "r-1", "message": "Not today."}, NEPTUNES.format(r"Not today\. ")),
        ({"requestId": "r-1", "code": 403, "message": "No."}, NEPTUNES.format(r"No\. ")),
        ({"requestId": "r-1", "message": NOT_AUTHORIZED}, PERMISSION),
        ({"requestId": "r-1"}, r"'mine': 403\. Check the credentials"),
        ({"code": "AccessDeniedException"}, r"'mine': 403 AccessDeniedException\. Check the credentials"),
    ],
)
def test_form_of_a_refusal(refused: Callable[..., Any], body: object, said: str) -> None:
    """A refusal is Neptune's if it has one of its members; of what stands before it, none is advised on."""
    error = str(refused(403, body))

    assert re.search(said, error)
    assert ("needs the permission" in error) is (said is PERMISSION)
    assert ("proxy or load balancer in between" in error) is (said is FOREIGN)


@pytest.mark.parametrize(
    ("status", "code", "text"),
    [
        (403, "AccessDeniedException", EXPIRED),
        (403, "AccessDeniedException", "The provided token has expired."),
        (400, "BadRequestException", "AmazonSageMakerException: ExpiredTokenException"),
        (403, "ExpiredTokenException", "T"),
        (403, "", EXPIRED),
    ],
)
def test_expired(refused: Callable[..., Any], status: int, code: str, text: str) -> None:
    """Expired credentials are a transient error, by their code or their text."""
    error = refused(status, {"code": code, "detailedMessage": text})

    assert error.transient
    assert not error.ambiguous
    assert "permission" not in str(error)


def test_expired_by_text_is_renewed(connection: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The connections are read again at once, and the next request has their credentials."""

    def answer(request: bytes, *_: int) -> bytes:
        if b"AKIAOLD" in request:
            return reply(403, {"code": "AccessDeniedException", "detailedMessage": EXPIRED})
        return reply(200, {"status": "Completed"})

    aws = '{{"conn_type": "aws", "login": "{}", "password": "secret"}}'
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", aws.format("AKIAOLD"))
    with serve(answer) as (port, _):
        connect(monkeypatch, connection, port=port, extra={"region_name": "us-east-1"})
        hook = NeptuneMLHook(config=ONCE)
        assert hook.conn
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", aws.format("AKIANEW"))

        with pytest.raises(NeptuneMLServiceError, match="is expired"):
            hook.describe("modeltraining", "mine")
        assert hook.describe("modeltraining", "mine") == {"status": "Completed"}


@pytest.mark.parametrize(
    "text",
    [
        "AmazonSageMakerException: Rate exceeded (Service: AmazonSageMaker; Status Code: 400)",
        "com.amazonaws.services.sagemaker.model.AmazonSageMakerException: ThrottlingException",
        "Too many requests, please wait.",
    ],
)
@pytest.mark.parametrize("code", ["InvalidParameterException", "BadRequestException"])
def test_throttling_inside_a_400(refused: Callable[..., Any], code: str, text: str) -> None:
    """SageMaker's throttling, which Neptune hands on as a 400, is transient, and is not "not found"."""
    error = refused(400, {"code": code, "detailedMessage": text})

    assert error.transient
    assert not error.ambiguous
    assert not isinstance(error, NeptuneMLNotFoundError)


@pytest.mark.parametrize(
    "text", ["Invalid ML instance type.", "ResourceLimitExceeded: The account-level service limit is 0."]
)
def test_400_that_stays(refused: Callable[..., Any], text: str) -> None:
    """Other refusals are not."""
    assert not refused(400, {"code": "BadRequestException", "detailedMessage": text}).transient
