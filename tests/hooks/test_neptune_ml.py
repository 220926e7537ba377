"""The hook, against the simulator over HTTP."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Barrier, Event, Thread
from typing import Any

import pytest
from botocore.exceptions import ClientError, NoCredentialsError

from airflow_provider_neptune_ml import cancellation
from airflow_provider_neptune_ml.exceptions import (
    NeptuneMLConfigurationError,
    NeptuneMLError,
    NeptuneMLNotFoundError,
    NeptuneMLServiceError,
    NeptuneMLTimeoutError,
    NeptuneMLUnreachableError,
)
from airflow_provider_neptune_ml.hooks import clients
from airflow_provider_neptune_ml.hooks import neptune_ml as hooks
from airflow_provider_neptune_ml.hooks.errors import Request, is_call_error, translate
from airflow_provider_neptune_ml.hooks.neptune_ml import NeptuneMLHook, shared_hook
from airflow_provider_neptune_ml.kinds import EXPORT, KINDS, MODEL_TRAINING, ResourceKind
from airflow_provider_neptune_ml.simulator import Fault, Simulator
from airflow_provider_neptune_ml.triggers.neptune_ml import NeptuneMLJobTrigger
from tests.certificates import self_signed_certificate
from tests.conftest import ONCE, connect
from tests.modes import Clock, first_event
from tests.sdk import BaseHook

REQUESTS: dict[str, dict[str, Any]] = {
    "dataprocessing": {
        "input_data_s3_location": "s3://bucket/in",
        "processed_data_s3_location": "s3://bucket/out",
    },
    "modeltraining": {"data_processing_job_id": "data-1", "train_model_s3_location": "s3://bucket/model"},
    "modeltransform": {
        "data_processing_job_id": "data-1",
        "ml_model_training_job_id": "model-1",
        "model_transform_output_s3_location": "s3://bucket/transform",
    },
    "endpoints": {"ml_model_training_job_id": "model-1"},
}


ROLE = "arn:aws:iam::1:role/n"
# As they are for users: tests have more time.
BUDGETS = cancellation.BUDGETS
KILL_CONFIG: Any = clients.KILL_CONFIG


@pytest.fixture
def hook(connection: dict[str, Any], simulator: Simulator) -> NeptuneMLHook:
    """A hook on a cluster that has a completed data processing and a completed training job."""
    simulator.seed("dataprocessing", "data-1", status="Completed")
    simulator.seed("modeltraining", "model-1", status="Completed")
    return NeptuneMLHook()


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> ResourceKind:
    """Each kind of resource."""
    return KINDS[request.param]


def test_four_verbs(hook: NeptuneMLHook, simulator: Simulator, kind: ResourceKind) -> None:
    """Every kind can be started, described, listed and stopped."""
    reply = hook.start(kind, id="mine", **REQUESTS[kind.name])
    running = hook.describe(kind, "mine")

    assert reply["id"] == "mine"
    assert "ResponseMetadata" not in reply
    assert running["status"] == kind.statuses.running
    assert "mine" in hook.list_ids(kind, max_items=100)
    assert hook.stop(kind, "mine", clean=True) is True

    assert hook.describe(kind, "mine")["status"] == kind.statuses.stopping
    [stopped] = simulator.calls(kind.stop_operation)
    assert stopped.query["clean"] == "true"


def test_takes_kind_by_name(hook: NeptuneMLHook) -> None:
    """A kind can be given by its name; a wrong one is told with the choices."""
    assert hook.describe("modeltraining", "model-1")["status"] == "Completed"
    for kind in ("training", "export", EXPORT):
        with pytest.raises(ValueError, match=r"kind='(training|export)' is not .* modeltraining"):
            hook.describe(kind, "model-1")


@pytest.mark.parametrize("config", [None, {"retries": {"total_max_attempts": 5}}])
@pytest.mark.parametrize(
    ("fault", "ambiguous"),
    [
        (Fault("internal_failure", when="after"), True),
        (Fault("reset", when="after"), True),
        (Fault("too_many_requests"), False),
        (Fault("expired_token"), False),
        (Fault("refused", seconds=3600), False),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else None,
)
def test_start_is_sent_once(
    hook: NeptuneMLHook,
    simulator: Simulator,
    config: dict[str, Any] | None,
    fault: Fault,
    ambiguous: bool,
) -> None:
    """Botocore never sends a start again, and the error tells whether the job may have been started."""
    hook = NeptuneMLHook(config=config)
    simulator.add_fault(fault)

    with pytest.raises(NeptuneMLError, match=r"^Model training job 'mine': ") as caught:
        hook.start("modeltraining", id="mine", **REQUESTS["modeltraining"])

    assert caught.value.transient
    assert caught.value.ambiguous is ambiguous
    assert len(simulator.calls("StartMLModelTrainingJob")) == (fault.kind != "refused")


@pytest.mark.parametrize("wrong", ["", None, "a/b", "my_job", "None", "{{ job }}", "x" * 49])
@pytest.mark.parametrize(
    "call",
    [
        lambda hook, wrong: hook.describe("modeltraining", wrong),
        lambda hook, wrong: hook.stop("modeltraining", wrong),
        lambda hook, wrong: hook.wait("modeltraining", wrong),
        lambda hook, wrong: hook.start("modeltraining", id=wrong or "", **REQUESTS["modeltraining"]),
    ],
    ids=["describe", "stop", "wait", "start"],
)
def test_wrong_ids_are_not_sent(
    hook: NeptuneMLHook, simulator: Simulator, call: Callable[[Any, Any], object], wrong: Any
) -> None:
    """What can't be the id of a job is told by its argument, value and rule."""
    with pytest.raises(ValueError, match=r"id=('.*'|None) must be 1-48 letters, digits or hyphens"):
        call(hook, wrong)

    assert not simulator.journal


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ({"timeout": "x"}, "timeout='x' must be a number of seconds, 0 or more, or a timedelta"),
        ({"timeout": -1}, "timeout=-1 must be a number"),
        ({"poll_interval": "x"}, "poll_interval='x' must be a number"),
        ({"poll_interval": 0}, "poll_interval=0 must be more than 0"),
        ({"unreachable_timeout": True}, "unreachable_timeout=True must be a number"),
        ({"target_statuses": ["Done"]}, "target_statuses has 'Done'"),
    ],
    ids=str,
)
def test_wrong_times_of_a_wait(
    hook: NeptuneMLHook, simulator: Simulator, argument: dict[str, Any], words: str
) -> None:
    """What can't be a time is told by its argument, value and rule, and nothing is sent."""
    with pytest.raises(ValueError, match=words):
        hook.wait("modeltraining", "model-1", **argument)

    assert not simulator.journal


def test_times_of_a_wait_as_timedelta(
    hook: NeptuneMLHook, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Times can be timedeltas."""
    simulator.seed("modeltraining", "mine", status="InProgress")
    began = simulator.now()
    Clock(simulator).install(monkeypatch)

    with pytest.raises(NeptuneMLTimeoutError):
        hook.wait(
            "modeltraining",
            "mine",
            poll_interval=timedelta(minutes=1),
            timeout=timedelta(minutes=5),
            unreachable_timeout=timedelta(minutes=2),
        )

    assert simulator.now() - began == pytest.approx(300)


def test_stop_of_an_ended_job(hook: NeptuneMLHook) -> None:
    """Stopping a job that has ended is no error, and says so."""
    assert hook.stop("modeltraining", "model-1") is False


def test_stop_of_a_finished_endpoint_deletes_it(hook: NeptuneMLHook, simulator: Simulator) -> None:
    """An endpoint in service is not over: it costs money until it is gone."""
    simulator.seed("endpoints", "live", status="InService")

    assert hook.stop("endpoints", "live") is True


@pytest.mark.parametrize("not_found", ["404", "400"])
def test_stop_of_a_job_that_is_just_being_started(monkeypatch: pytest.MonkeyPatch, not_found: str) -> None:
    """A job that appears after "no such id" and before the look at it is stopped, not reported as refused."""
    with Simulator(clock="manual", not_found=not_found, appears_after=30) as simulator:
        connect(monkeypatch, simulator.connection)
        hook = NeptuneMLHook()
        hook.start("dataprocessing", id="mine", **REQUESTS["dataprocessing"])
        hook.conn.meta.events.register(
            "before-call.neptunedata.GetMLDataProcessingJob", lambda **_: simulator.advance(30)
        )

        assert hook.stop("dataprocessing", "mine") is True
        assert hook.describe("dataprocessing", "mine")["status"] == "Stopping"


def test_stop_that_is_refused_for_another_reason(hook: NeptuneMLHook, simulator: Simulator) -> None:
    """A refusal while the job runs is asked about once more, not for ever, and told."""
    hook.start("modeltraining", id="mine", **REQUESTS["modeltraining"])
    simulator.add_fault(Fault(kind="read_only", operation="CancelMLModelTrainingJob", times=None))

    with pytest.raises(NeptuneMLServiceError, match="ReadOnlyViolationException"):
        hook.stop("modeltraining", "mine")

    assert len(simulator.calls("CancelMLModelTrainingJob")) == 2


@pytest.mark.parametrize("not_found", ["404", "400"])
def test_unknown_id(monkeypatch: pytest.MonkeyPatch, kind: ResourceKind, not_found: str) -> None:
    """An id that does not exist is NotFound in both shapes that AWS documents, to describe and to stop."""
    with Simulator(clock="manual", not_found=not_found) as simulator:
        connect(monkeypatch, simulator.connection)
        hook = NeptuneMLHook()

        with pytest.raises(
            NeptuneMLNotFoundError, match=r"^No .* 'nobody' on cluster 127\.0\.0\.1 \(neptune_ml_default\): "
        ):
            hook.describe(kind, "nobody")
        with pytest.raises(NeptuneMLNotFoundError):
            hook.stop(kind, "nobody")


def test_service_error_has_all_the_service_said(hook: NeptuneMLHook) -> None:
    """A refusal carries the code, the detailed message and the request id; botocore's own text is empty."""
    with pytest.raises(NeptuneMLServiceError) as caught:
        hook.start("modeltraining", id="model-1", **REQUESTS["modeltraining"])

    error = caught.value
    assert (error.http_status, error.code) == (400, "InvalidParameterException")
    assert error.detail == "Another resource with same ID already exists. Please use a new ID."
    assert error.request_id
    assert not error.transient
    assert error.detail in str(error)
    assert error.request_id in str(error)
    assert "Model training job 'model-1' not started: 400" in str(error)


def test_additional_parameters_reach_the_service(hook: NeptuneMLHook, simulator: Simulator) -> None:
    """Members that boto3's model does not know are sent with the rest."""
    hook.start(
        "modeltraining", id="mine", additional_parameters={"modelName": "custom"}, **REQUESTS["modeltraining"]
    )

    [request] = simulator.calls("StartMLModelTrainingJob")
    assert request.body["modelName"] == "custom"
    assert request.body["id"] == "mine"


def test_additional_parameters_can_not_override(hook: NeptuneMLHook, simulator: Simulator) -> None:
    """What has an argument of its own is refused in additional_parameters, and nothing is sent."""
    with pytest.raises(ValueError, match="additional_parameters has id, which has an argument"):
        hook.start("modeltraining", additional_parameters={"id": "x"}, **REQUESTS["modeltraining"])

    assert not simulator.calls("StartMLModelTrainingJob")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"instance": "ml.m5.large"}, "takes no instance"),
        ({"training_time_out_in_seconds": "long"}, "trainingTimeOutInSeconds"),
    ],
)
def test_wrong_parameters_are_not_sent(
    hook: NeptuneMLHook, simulator: Simulator, wrong: dict[str, Any], words: str
) -> None:
    """A parameter that boto3 does not take, or not like this, is a ValueError that names it."""
    with pytest.raises(ValueError, match=words):
        hook.start("modeltraining", **REQUESTS["modeltraining"], **wrong)

    assert not simulator.calls("StartMLModelTrainingJob")


def test_roles_come_from_the_connection(
    connection: dict[str, Any], simulator: Simulator, monkeypatch: pytest.MonkeyPatch, completed_data: str
) -> None:
    """The roles of the connection are sent where a request takes them, and an argument goes before them."""
    roles = {
        "neptune_iam_role_arn": "arn:aws:iam::1:role/n",
        "sagemaker_iam_role_arn": "arn:aws:iam::1:role/s",
    }
    connect(monkeypatch, connection, extra={**connection["extra"], **roles})
    hook = NeptuneMLHook()
    hook.start("modeltraining", id="a", **REQUESTS["modeltraining"])
    hook.start(
        "modeltraining", id="b", neptune_iam_role_arn="arn:aws:iam::1:role/x", **REQUESTS["modeltraining"]
    )
    hook.describe("modeltraining", "a")

    first, second = simulator.calls("StartMLModelTrainingJob")
    assert (first.body["neptuneIamRoleArn"], first.body["sagemakerIamRoleArn"]) == tuple(roles.values())
    assert second.body["neptuneIamRoleArn"] == "arn:aws:iam::1:role/x"
    [get] = simulator.calls("GetMLModelTrainingJob")
    assert get.query["neptuneIamRoleArn"] == roles["neptune_iam_role_arn"]


def test_kill_fits_into_airflows_time() -> None:
    """Airflow 3 sends SIGKILL 5 s after SIGTERM: two requests to cancel, or a question and one, fit in."""
    assert 2 * BUDGETS.kill_while_starting <= BUDGETS.kill < 5
    assert BUDGETS.kill_question < BUDGETS.kill_while_starting
    assert KILL_CONFIG.connect_timeout + KILL_CONFIG.read_timeout < BUDGETS.kill


def test_kill_fits_into_the_triggerers_time() -> None:
    """Airflow 3.3 gives a trigger's on_kill 30 s: what it looks at last, and its request, fit in."""
    look = KILL_CONFIG.connect_timeout + KILL_CONFIG.read_timeout

    assert BUDGETS.trigger + look < 30
    assert look < BUDGETS.trigger_request < BUDGETS.trigger


# Connecting


def test_missing_connection() -> None:
    """A connection that isn't there is told by its name and the argument."""
    with pytest.raises(
        NeptuneMLConfigurationError, match=r"Connection 'nowhere' \(neptune_ml_conn_id\) isn't defined"
    ):
        NeptuneMLHook("nowhere").list_ids("endpoints")


# Airflow 2 only warns of an extra that is no JSON object; 3.0 and 3.1 don't read such a connection.
@pytest.mark.filterwarnings("ignore:Encountered ")
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"host": ""}, "has no host"),
        ({"host": "https://cluster"}, "host='https://cluster', which must be a bare host name"),
        ({"host": "cluster:8182"}, "host='cluster:8182', which must be a bare host name"),
        (
            {"port": "none"},
            "can't be read from AIRFLOW_CONN_NEPTUNE_ML_DEFAULT: check that the port is a number",
        ),
        ({"port": 70000}, "port=70000, which must be a number from 1 to 65535"),
        ({"host": "my_sim"}, "host='my_sim', which must be a bare host name"),
        ({"schema": "ftp"}, "schema='ftp', which must be https"),
        ({"extra": "{broken"}, "an extra that isn't JSON|the extra a JSON object"),
        ({"extra": "[1]"}, "must be a JSON object, not list|the extra a JSON object"),
        ({"extra": {"iam_auth": "maybe"}}, "iam_auth='maybe' in its extra, which must be true or false"),
        ({"extra": {"region_name": 7}}, "region_name=7 in its extra, which must be a string"),
        ({"extra": {"iam_auth": False}}, "No AWS region: give region_name"),
    ],
)
def test_unusable_connection(
    connection: dict[str, Any],
    simulator: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    words: str,
) -> None:
    """Each mistake in the connection is one line with the field, the value and the rule; nothing is sent."""
    connect(monkeypatch, connection, **changes)

    with pytest.raises(ValueError, match=words) as caught:
        NeptuneMLHook().list_ids("endpoints")

    assert isinstance(caught.value, NeptuneMLConfigurationError)
    assert "\n" not in str(caught.value)
    assert not simulator.journal


@pytest.mark.parametrize(
    ("host", "in_connection", "in_aws", "argument", "expected"),
    [
        ("c.cluster-x.eu-west-2.neptune.amazonaws.com", None, None, None, "eu-west-2"),
        ("c.cluster-x.cn-north-1.neptune.amazonaws.com.cn", None, None, None, "cn-north-1"),
        ("c.cluster-x.us-gov-west-1.neptune.amazonaws.com", None, None, None, "us-gov-west-1"),
        ("c.cluster-x.eu-west-2.neptune.amazonaws.com", None, "eu-west-3", None, "eu-west-3"),
        ("c.cluster-x.eu-west-2.neptune.amazonaws.com", "eu-west-1", "eu-west-3", None, "eu-west-1"),
        ("c.cluster-x.eu-west-2.neptune.amazonaws.com", "eu-west-1", "eu-west-3", "us-east-2", "us-east-2"),
    ],
)
def test_region(
    monkeypatch: pytest.MonkeyPatch,
    host: str,
    in_connection: str | None,
    in_aws: str | None,
    argument: str | None,
    expected: str,
) -> None:
    """The region comes from the argument, the connection, the AWS connection or the host, in this order."""
    aws_extra = {"region_name": in_aws} if in_aws else {}
    monkeypatch.setenv(
        "AIRFLOW_CONN_AWS_DEFAULT", f'{{"conn_type": "aws", "extra": {aws_extra}}}'.replace("'", '"')
    )
    connect(monkeypatch, {"conn_type": "neptune_ml", "host": host, "extra": {"region_name": in_connection}})
    hook = NeptuneMLHook(region_name=argument)

    assert hook.region_name == expected
    assert hook.conn_client_meta.region_name == expected
    assert hook.conn_client_meta.endpoint_url == f"https://{host}:8182"


def test_endpoint_wins_over_the_variants_of_botocore(
    connection: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """FIPS and dual-stack settings, made for AWS's own endpoints, do not break calls to the cluster."""
    monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", "true")

    assert NeptuneMLHook().list_ids("endpoints") == []


def test_botocore_config_stays_as_it_was(connection: dict[str, Any]) -> None:
    """Botocore writes into the configuration it gets; what a Dag shares between tasks must not change."""
    config = {"retries": {"total_max_attempts": 1}}

    assert NeptuneMLHook(config=config).conn
    assert config == {"retries": {"total_max_attempts": 1}}


def test_botocore_config_that_botocore_does_not_take(connection: dict[str, Any]) -> None:
    """An option that botocore does not have is named."""
    with pytest.raises(NeptuneMLConfigurationError, match=r"botocore_config can't be used: .*nope"):
        NeptuneMLHook(config={"nope": 1})


# What can be at fault


def test_role_that_can_not_be_assumed() -> None:
    """What STS refused is not blamed on Neptune."""
    response: Any = {
        "Error": {"Code": "AccessDenied", "Message": "not authorized to perform: sts:AssumeRole"},
        "ResponseMetadata": {"HTTPStatusCode": 403},
    }
    refused = ClientError(response, "AssumeRole")
    request = Request(
        MODEL_TRAINING,
        MODEL_TRAINING.get_operation,
        "mine",
        "https://cluster:8182",
        "neptune_ml_default",
        "aws_default",
    )
    error = translate(refused, request)

    assert not error.transient
    assert str(error).startswith("Model training job 'mine': no AWS credentials to sign the request with: ")
    assert "sts:AssumeRole" in str(error)
    assert "Check aws_conn_id ('aws_default')" in str(error)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("Credentials were refreshed, but the refreshed credentials are still expired."), True),
        (RuntimeError("can't start new thread"), False),
        (RecursionError("maximum recursion depth exceeded"), False),
        (NotImplementedError("credentials"), False),
        (KeyError("credentials"), False),
        (NoCredentialsError(), True),
    ],
)
def test_what_is_botocores(error: Exception, expected: bool) -> None:
    """Of the errors that botocore raises bare, the one of expired credentials alone is an error of a call."""
    assert is_call_error(error) is expected


def test_missing_profile_is_told(monkeypatch: pytest.MonkeyPatch, connection: dict[str, Any]) -> None:
    """A mistake in the AWS connection is told as one."""
    connect(monkeypatch, connection, extra={"region_name": "us-east-1"})
    profile = '{"conn_type": "aws", "extra": {"profile_name": "nobody"}}'
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", profile)

    with pytest.raises(
        NeptuneMLUnreachableError, match=r"profile \(nobody\) could not be found.*aws_conn_id"
    ):
        NeptuneMLHook().list_ids("endpoints")


@pytest.mark.parametrize("make", [NeptuneMLHook, lambda: shared_hook({})], ids=["own", "shared"])
def test_expired_credentials_are_renewed(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[], NeptuneMLHook]
) -> None:
    """When a token has expired the connections are read again, for the client of a kill too."""
    monkeypatch.setattr(hooks, "_SHARED", {})
    with Simulator(clock="manual", iam_auth=True) as simulator:
        connect(monkeypatch, simulator.connection)
        credential = simulator.credentials[0]
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", aws_connection("AKIAOLD", "old-secret"))
        hook = make()
        before = hook.conn, hook.urgent_conn, hook.start_conn
        monkeypatch.setenv(
            "AIRFLOW_CONN_AWS_DEFAULT", aws_connection(credential.access_key, credential.secret_key)
        )
        simulator.add_fault(Fault(kind="expired_token"))

        with pytest.raises(NeptuneMLServiceError) as caught:
            hook.list_ids("endpoints")

        assert caught.value.transient
        assert hook.list_ids("endpoints") == []
        assert hook.conn is not before[0]
        assert hook.urgent_conn is not before[1]
        assert hook.start_conn is not before[2]


def test_credentials_that_can_not_be_renewed(
    connection: dict[str, Any],
    simulator: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Where the connections can't be read either, the client there is goes on, and that is told."""
    hook = NeptuneMLHook()
    before = hook.conn
    connect(monkeypatch, connection, host="")
    simulator.add_fault(Fault("expired_token"))

    with pytest.raises(NeptuneMLServiceError) as caught:
        hook.list_ids("endpoints")

    assert caught.value.transient
    assert (
        "Connections not read again, the earlier settings stay in use: Connection" in capfd.readouterr().out
    )
    assert hook.conn is before
    assert hook.list_ids("endpoints") == []


def test_signs_for_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """With iam_auth requests are signed for neptune-db with the AWS connection's credentials."""
    with Simulator(clock="manual", iam_auth=True) as simulator:
        connect(monkeypatch, simulator.connection)
        credential = simulator.credentials[0]
        monkeypatch.setenv(
            "AIRFLOW_CONN_AWS_DEFAULT", aws_connection(credential.access_key, credential.secret_key)
        )
        hook = NeptuneMLHook()

        assert hook.list_ids("endpoints") == []
        ok, message = hook.test_connection()
        assert ok
        assert "signed" in message


def test_forbidden_names_the_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """A 403 for unknown credentials names them, and test_connection says what was at fault."""
    with Simulator(clock="manual", iam_auth=True) as simulator:
        connect(monkeypatch, simulator.connection)
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", aws_connection("AKIAWRONG", "wrong-secret"))
        hook = NeptuneMLHook()

        with pytest.raises(
            NeptuneMLServiceError, match="access key and session token of aws_conn_id"
        ) as caught:
            hook.describe("modeltraining", "x")
        ok, message = hook.test_connection()

        assert caught.value.http_status == 403
        assert not caught.value.transient
        assert "wrong-secret" not in str(caught.value)
        assert not ok
        assert message.startswith("Signature or permission refused.")


def test_unsigned_request_to_a_cluster_with_iam(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unsigned request that is refused points at iam_auth."""
    with Simulator(clock="manual", iam_auth=True) as simulator:
        connect(monkeypatch, simulator.connection, extra={"iam_auth": False, "region_name": "us-east-1"})

        ok, message = NeptuneMLHook().test_connection()

    assert not ok
    assert message.startswith("The cluster requires signed requests, and iam_auth is false.")


def test_no_credentials(connection: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without credentials nothing is sent, and the error names both ways out."""
    connect(monkeypatch, connection, extra={"region_name": "us-east-1"})

    with pytest.raises(
        NeptuneMLUnreachableError,
        match=r"no AWS credentials .* aws_conn_id \(None\), or set iam_auth to false",
    ):
        NeptuneMLHook(aws_conn_id=None).list_ids("endpoints")


@pytest.mark.parametrize("fault", ["access_denied", "read_only"])
def test_errors_that_are_not_transient(connection: dict[str, Any], simulator: Simulator, fault: str) -> None:
    """A refusal for a reason that time does not heal is not taken for a hiccup."""
    simulator.add_fault(Fault(kind=fault))

    with pytest.raises(NeptuneMLServiceError) as caught:
        NeptuneMLHook().list_ids("endpoints")

    assert not caught.value.transient


@pytest.mark.parametrize(
    ("status", "words"), [(200, "the reply is not one of Neptune's"), (503, "HTTP status 503, in a form")]
)
@pytest.mark.parametrize("body", [b"<html>welcome</html>", b"[]", b"null", b"\xe9t\xe9"])
def test_server_that_is_not_neptune(
    connection: dict[str, Any], monkeypatch: pytest.MonkeyPatch, status: int, words: str, body: bytes
) -> None:
    """A server that isn't Neptune is told as such, whatever it says; botocore breaks on some of it."""
    with web_server(status, body) as port:
        connect(monkeypatch, connection, port=port)

        with pytest.raises(NeptuneMLError, match=words.format(f"http://127.0.0.1:{port}")) as caught:
            NeptuneMLHook(config=ONCE).describe("modeltraining", "x")
        assert caught.value.transient


def test_untrusted_certificate(
    connection: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A certificate that can't be trusted is told with the reason; it does not pass with time."""
    certificate = self_signed_certificate(tmp_path, "localhost")
    with Simulator(clock="manual", ssl_certfile=str(certificate)) as simulator:
        connect(monkeypatch, {**simulator.connection, "host": "localhost"})

        with pytest.raises(
            NeptuneMLUnreachableError, match=r"the TLS certificate can't be trusted \(self.signed"
        ) as caught:
            NeptuneMLHook(config=ONCE).list_ids("endpoints")
        assert not caught.value.transient
        assert NeptuneMLHook(verify=str(certificate)).list_ids("endpoints") == []


# Sharing


@pytest.fixture
def clock(connection: dict[str, Any], simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of a process that shares no hook yet."""
    clock = Clock(simulator)
    monkeypatch.setattr(hooks, "time", clock)
    monkeypatch.setattr(hooks, "_SHARED", {})
    return clock


def test_shared_by_settings(clock: Clock) -> None:
    """Waits with the same settings share a hook, and no others do."""
    one = shared_hook({"region_name": "eu-west-1", "verify": False})

    assert shared_hook({"verify": False, "region_name": "eu-west-1"}) is one
    assert shared_hook({"verify": True, "region_name": "eu-west-1"}) is not one


def test_clients_of_many_settings(clock: Clock) -> None:
    """However many settings there are, few hooks are kept; one that nobody asks for any longer goes."""
    for number in range(100):
        shared_hook({"region_name": f"region-{number}"})
    assert len(hooks._SHARED) == 32
    assert json.dumps({"region_name": "region-99"}) in hooks._SHARED

    clock.sleep(hooks.RENEWAL_SECONDS)
    shared_hook({})
    assert list(hooks._SHARED) == ["{}"]


def test_what_clients_share(clock: Clock) -> None:
    """Clients with other settings read botocore's data, which is most of what they cost, once."""
    loaders = {
        shared_hook({"config": {"read_timeout": seconds}}).get_session()._session.get_component("data_loader")
        for seconds in (10, 11)
    }

    assert len(loaders) == 1


def test_shared_by_threads(clock: Clock) -> None:
    """Threads that ask for a client at the same time get the same."""
    barrier = Barrier(8)

    def ask(_: int) -> object:
        barrier.wait(20)
        return shared_hook({}).conn

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(ask, range(8)))) == 1


@pytest.mark.parametrize("make", [NeptuneMLHook, lambda: shared_hook({})], ids=["own", "shared"])
def test_edited_connection_is_picked_up(
    connection: dict[str, Any],
    simulator: Simulator,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[], NeptuneMLHook],
) -> None:
    """A hook that is used for days uses an edited connection after 15 minutes."""
    hook = make()
    hook.list_ids("endpoints")
    connect(monkeypatch, connection, extra={**connection["extra"], "neptune_iam_role_arn": ROLE})

    clock.sleep(15 * 60 - 1)
    hook.list_ids("endpoints")
    clock.sleep(1)
    hook.list_ids("endpoints")

    assert [request.query for request in simulator.journal] == [{}, {}, {"neptuneIamRoleArn": ROLE}]


def test_edited_connection_is_picked_up_by_a_wait(
    connection: dict[str, Any], simulator: Simulator, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wait in a worker, which holds one hook for days, uses it too."""
    simulator.seed("modeltraining", "mine", status="InProgress")
    clock.then = [
        lambda: connect(monkeypatch, connection, extra={**connection["extra"], "neptune_iam_role_arn": ROLE})
    ]

    NeptuneMLHook().wait("modeltraining", "mine")

    began = simulator.journal[0].at
    ages: dict[bool, list[float]] = {True: [], False: []}
    for request in simulator.journal:
        ages[bool(request.query)].append(request.at - began)
    assert max(ages[False]) < 15 * 60 <= min(ages[True])


def test_broken_connection_is_not_picked_up(
    connection: dict[str, Any],
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Waits go on with the connection that worked, say so once, and use it a minute after it is mended."""
    hook = shared_hook({})
    before = hook.conn
    connect(monkeypatch, connection, host="")
    clock.sleep(15 * 60)
    for _ in range(5):
        assert hook.list_ids("endpoints") == []
        clock.sleep(30)

    assert hook.conn is before
    assert (
        capfd.readouterr().out.count(
            "Connections not read again, the earlier settings stay in use: Connection"
        )
        == 1
    )

    connect(monkeypatch, connection)
    clock.sleep(60)
    hook.list_ids("endpoints")
    assert hook.conn is not before


def test_renewal_pauses(connection: dict[str, Any], clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that can't be read are read again after a minute, not at each request."""
    hook = shared_hook({})
    hook.list_ids("endpoints")
    left = fail_look_ups(monkeypatch, "neptune_ml_default", 9)
    clock.sleep(15 * 60)

    for _ in range(5):
        hook.list_ids("endpoints")
        clock.sleep(11)
    assert len(left) == 8

    clock.sleep(60)
    hook.list_ids("endpoints")
    assert len(left) == 7


def test_renewal_replaces_all_clients(connection: dict[str, Any], clock: Clock) -> None:
    """Each client that was built is built anew, that which Amazon's waiters use among them."""
    hook: Any = shared_hook({})
    names = ("cluster", "conn_config", "conn", "start_conn", "urgent_conn", "_client")
    before = {name: getattr(hook, name) for name in names}
    clock.sleep(15 * 60)

    hook.list_ids("endpoints")

    assert [name for name, part in before.items() if getattr(hook, name) is part] == []
    assert hook._client is hook.conn


def test_aws_connection_that_can_not_be_found_again(
    connection: dict[str, Any],
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Credentials that worked are not given up where Airflow finds none: its backend may just be down."""
    connect(monkeypatch, connection, extra={"region_name": "us-east-1"})
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", aws_connection("AKIA", "secret"))
    hook = shared_hook({})
    hook.list_ids("endpoints")
    monkeypatch.delenv("AIRFLOW_CONN_AWS_DEFAULT")
    clock.sleep(15 * 60)

    assert hook.list_ids("endpoints") == []
    assert (
        "Connections not read again, the earlier settings stay in use: Connection 'aws_default'"
        in capfd.readouterr().out
    )


class SlowLookUp:
    """A backend that keeps whoever looks a connection up waiting."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked, self.answer = Event(), Event()
        look_up = BaseHook.get_connection.__func__  # type: ignore[attr-defined]

        def slowly(cls: type[BaseHook], conn_id: str) -> Any:
            if conn_id == "slow":
                self.asked.set()
                assert self.answer.wait(30)
            return look_up(cls, conn_id)

        monkeypatch.setattr(BaseHook, "get_connection", classmethod(slowly))

    @contextmanager
    def holds(self, hook: NeptuneMLHook) -> Iterator[None]:
        """Have another thread use a hook, and look its connection up until this is over."""
        with ThreadPoolExecutor(1) as thread:
            call = thread.submit(hook.list_ids, "endpoints")
            try:
                assert self.asked.wait(30)
                yield
                assert not call.done()
            finally:
                self.answer.set()
            assert call.result(30) == []


@pytest.fixture
def slow_connection(connection: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The arguments of a hook on a connection of its own, to the same cluster."""
    monkeypatch.setenv("AIRFLOW_CONN_SLOW", json.dumps(connection))
    return {"neptune_ml_conn_id": "slow"}


def test_slow_look_up_holds_up_no_other(
    slow_connection: dict[str, Any], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one hook looks its connection up, others do what they have to, for the first time too."""
    backend = SlowLookUp(monkeypatch)

    with backend.holds(shared_hook(slow_connection)):
        assert shared_hook({}).list_ids("endpoints") == []


@pytest.mark.parametrize("why", ["edited", "expired"])
def test_slow_renewal_holds_up_nobody(
    slow_connection: dict[str, Any],
    clock: Clock,
    simulator: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    why: str,
) -> None:
    """While one thread looks a connection up again, others go on with what was known of it."""
    hook = shared_hook(slow_connection)
    hook.list_ids("endpoints")
    backend = SlowLookUp(monkeypatch)
    if why == "edited":
        clock.sleep(15 * 60)
        with backend.holds(hook):
            assert hook.list_ids("endpoints") == []
        return
    simulator.add_fault(Fault("expired_token", times=2))
    with ThreadPoolExecutor(1) as thread:
        call = thread.submit(hook.list_ids, "endpoints")
        assert backend.asked.wait(30)
        try:
            with pytest.raises(
                NeptuneMLServiceError, match="security token included in the request is expired"
            ):
                hook.list_ids("endpoints")
            assert hook.list_ids("endpoints") == []
        finally:
            backend.answer.set()
        assert isinstance(call.exception(30), NeptuneMLServiceError)


def fail_look_ups(monkeypatch: pytest.MonkeyPatch, conn_id: str, times: int) -> list[str]:
    """Have a connection's look-ups fail some times, in words with a secret; return what is left of them."""
    failures = [conn_id] * times
    look_up = BaseHook.get_connection.__func__  # type: ignore[attr-defined]

    def badly(cls: type[BaseHook], conn_id: str) -> Any:
        if conn_id in failures:
            failures.pop()
            raise RuntimeError("can't connect to postgresql://airflow:pa55w0rd@db")
        return look_up(cls, conn_id)

    monkeypatch.setattr(BaseHook, "get_connection", classmethod(badly))
    return failures


@pytest.mark.parametrize("conn_id", ["neptune_ml_default", "aws_default"])
def test_look_up_that_fails(
    connection: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    conn_id: str,
) -> None:
    """Whatever Airflow's look-up raises is a transient error, reported without its words."""
    connect(monkeypatch, connection, extra={"region_name": "us-east-1"})
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", aws_connection("AKIA", "secret"))
    fail_look_ups(monkeypatch, conn_id, 1)
    hook = NeptuneMLHook()

    with pytest.raises(
        NeptuneMLUnreachableError, match=f"Connection '{conn_id}' can't be looked up.*RuntimeError"
    ) as caught:
        hook.list_ids("endpoints")

    assert caught.value.transient
    assert not caught.value.ambiguous
    assert "pa55w0rd" not in "".join(traceback.format_exception(caught.value))
    assert hook.list_ids("endpoints") == []


def test_wait_retries_a_look_up_that_fails(
    connection: dict[str, Any], simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A triggerer that is restarted while Airflow's look-ups fail takes its waits up all the same."""
    simulator.seed("modeltraining", "mine", status="Completed")
    left = fail_look_ups(monkeypatch, "neptune_ml_default", 2)
    trigger = NeptuneMLJobTrigger(kind="modeltraining", resource_id="mine", poll_interval=0.01)

    assert first_event(trigger).payload["status"] == "success"
    assert not left


def test_look_up_that_fails_after_an_expiry(
    connection: dict[str, Any],
    simulator: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Where the connections can't be read again the expired credentials are told, not the look-up."""
    hook = NeptuneMLHook()
    hook.list_ids("endpoints")
    fail_look_ups(monkeypatch, "neptune_ml_default", 1)
    simulator.add_fault(Fault("expired_token"))

    with pytest.raises(NeptuneMLServiceError, match="security token included in the request is expired"):
        hook.list_ids("endpoints")

    assert hook.list_ids("endpoints") == []
    said = capfd.readouterr().out
    assert "the earlier settings stay in use: Connection 'neptune_ml_default' can't be looked up" in said
    assert "pa55w0rd" not in said


def test_helper_that_gives_expired_credentials(
    connection: dict[str, Any], simulator: Simulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Expired credentials from a helper are a transient error, though botocore raises a bare error."""
    expiry = tmp_path / "expiry"
    credentials = '{"Version": 1, "AccessKeyId": "a", "SecretAccessKey": "b", "Expiration": "%s"}'
    expiry.write_text(credentials % "2020-01-01T00:00:00Z")
    config = tmp_path / "config"
    config.write_text(f"[default]\ncredential_process = cat {expiry}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    connect(monkeypatch, connection, extra={"region_name": "us-east-1"})
    hook = NeptuneMLHook(aws_conn_id=None)

    with pytest.raises(
        NeptuneMLUnreachableError, match=r"no AWS credentials to sign the request with: .* are still expired"
    ) as caught:
        hook.list_ids("endpoints")

    assert caught.value.transient
    assert not caught.value.ambiguous
    expiry.write_text(credentials % "2099-01-01T00:00:00Z")
    assert hook.list_ids("endpoints") == []


@pytest.mark.parametrize(
    ("argument", "in_aws", "expected"),
    [
        (None, {}, (5, 15, 1)),
        ({"read_timeout": 7}, {}, (5, 7, 1)),
        ({"connect_timeout": 8, "retries": {"total_max_attempts": 2}}, {}, (8, 15, 2)),
        (None, {"config_kwargs": {"read_timeout": 9}}, (5, 9, 1)),
    ],
)
def test_triggers_are_not_held_up_for_long(
    connection: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    argument: dict[str, Any] | None,
    in_aws: dict[str, Any],
    expected: tuple[int, int, int],
) -> None:
    """A call of a shared hook gives up after seconds, unless the user wants it otherwise; others' don't."""
    connect(monkeypatch, connection, extra={"region_name": "us-east-1"})
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps({"conn_type": "aws", "extra": in_aws}))

    config: Any = shared_hook({"config": argument}).conn.meta.config
    own: Any = NeptuneMLHook(config=argument).conn.meta.config

    assert (config.connect_timeout, config.read_timeout, config.retries["total_max_attempts"]) == expected
    assert own.connect_timeout == (argument or {}).get("connect_timeout", 60)


def test_broken_connection_at_first(
    connection: dict[str, Any], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where none has worked the mistake is told, and the next wait looks again."""
    connect(monkeypatch, connection, host="")
    with pytest.raises(NeptuneMLConfigurationError, match="has no host"):
        shared_hook({}).list_ids("endpoints")

    connect(monkeypatch, connection)
    assert shared_hook({}).list_ids("endpoints") == []


def aws_connection(access_key: str, secret_key: str) -> str:
    """Return an AWS connection for the environment."""
    return f'{{"conn_type": "aws", "login": "{access_key}", "password": "{secret_key}"}}'


@contextmanager
def web_server(status: int, page: bytes) -> Iterator[int]:
    """Answer every GET with a status and a page, and yield the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("verify", "taken"), [("False", False), ("true", True), ("/bundle.pem", "/bundle.pem"), (None, None)]
)
def test_verify_from_a_template(verify: Any, taken: Any) -> None:
    """A flag that a template has turned into text is a flag."""
    assert NeptuneMLHook(verify=verify)._verify == taken


def test_verify_that_is_not_there(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bundle that is missing is no transient error."""
    connect(monkeypatch, simulator.connection, schema="https")

    with pytest.raises(NeptuneMLUnreachableError, match=r"check `verify`: .*No such file") as caught:
        NeptuneMLHook(verify="/no/such.pem", config=ONCE).list_ids("modeltraining")

    assert not caught.value.transient


@pytest.mark.parametrize("fault", [Fault("refused", seconds=3600), Fault("access_denied"), None])
def test_connection_that_is_not_saved(
    monkeypatch: pytest.MonkeyPatch, simulator: Simulator, connection: dict[str, Any], fault: Fault | None
) -> None:
    """A connection that is tested before it is saved has an id that Airflow made up: no message has it."""
    made_up = "qjzkxwvb"
    settings = connection if fault else {**connection, "host": ""}
    monkeypatch.setenv(f"AIRFLOW_CONN_{made_up.upper()}", json.dumps(settings))
    if fault:
        simulator.add_fault(fault)

    works, message = NeptuneMLHook(made_up, config=ONCE).test_connection()

    assert not works
    assert made_up not in message
