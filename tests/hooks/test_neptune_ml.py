"""The hook, against the simulator over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest
from botocore.exceptions import ClientError

from airflow_provider_neptune_ml.exceptions import (
    NeptuneMLConfigurationError,
    NeptuneMLError,
    NeptuneMLNotFoundError,
    NeptuneMLServiceError,
    NeptuneMLUnreachableError,
)
from airflow_provider_neptune_ml.hooks import neptune_ml as hooks
from airflow_provider_neptune_ml.hooks.errors import translate
from airflow_provider_neptune_ml.hooks.neptune_ml import NeptuneMLHook, shared_hook
from airflow_provider_neptune_ml.kinds import KINDS, MODEL_TRAINING, ResourceKind
from airflow_provider_neptune_ml.simulator import Fault, Simulator
from tests.certificates import self_signed_certificate
from tests.conftest import connect
from tests.modes import Clock

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
    with pytest.raises(ValueError, match=r"kind='training' is not .* modeltraining"):
        hook.describe("training", "model-1")


def test_stop_of_an_ended_job(hook: NeptuneMLHook) -> None:
    """Stopping a job that has ended is no error, and says so."""
    assert hook.stop("modeltraining", "model-1") is False


def test_stop_of_a_finished_endpoint_deletes_it(hook: NeptuneMLHook, simulator: Simulator) -> None:
    """An endpoint in service is not over: it costs money until it is gone."""
    simulator.seed("endpoints", "live", status="InService")

    assert hook.stop("endpoints", "live") is True


@pytest.mark.parametrize("not_found", ["404", "400"])
def test_unknown_id(monkeypatch: pytest.MonkeyPatch, kind: ResourceKind, not_found: str) -> None:
    """An id that does not exist is NotFound in both shapes that AWS documents, to describe and to stop."""
    with Simulator(clock="manual", not_found=not_found) as simulator:
        connect(monkeypatch, simulator.connection)
        hook = NeptuneMLHook()

        with pytest.raises(NeptuneMLNotFoundError, match=r"of .* 'nobody' was refused"):
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
    assert "model training job 'model-1'" in str(error)


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


# Connecting


def test_missing_connection() -> None:
    """A connection that isn't there is told by its name and the argument."""
    with pytest.raises(
        NeptuneMLConfigurationError, match=r"Connection 'nowhere' \(neptune_ml_conn_id\) isn't defined"
    ):
        NeptuneMLHook("nowhere").list_ids("endpoints")


# Airflow 2 only warns of an extra that is no JSON object.
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
        ({"extra": "{broken"}, "an extra that isn't JSON"),
        ({"extra": "[1]"}, "must be a JSON object, not list"),
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
    error = translate(
        refused,
        kind=MODEL_TRAINING,
        operation=MODEL_TRAINING.get_operation,
        resource_id="mine",
        endpoint_url="https://cluster:8182",
        aws_conn_id="aws_default",
    )

    assert not error.transient
    assert "sts:AssumeRole" in str(error)
    assert "aws_conn_id ('aws_default')" in str(error)
    assert "cluster:8182" not in str(error)


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
        before = hook.conn, hook.urgent_conn
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
    assert "Credentials have expired, and can't be renewed: Connection" in capfd.readouterr().out
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


def test_forbidden_names_the_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    """A 403 names the permission that the operation needs, and test_connection says what was at fault."""
    with Simulator(clock="manual", iam_auth=True) as simulator:
        connect(monkeypatch, simulator.connection)
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", aws_connection("AKIAWRONG", "wrong-secret"))
        hook = NeptuneMLHook()

        with pytest.raises(NeptuneMLServiceError, match="neptune-db:GetMLModelTrainingJobStatus") as caught:
            hook.describe("modeltraining", "x")
        ok, message = hook.test_connection()

        assert caught.value.http_status == 403
        assert not caught.value.transient
        assert "wrong-secret" not in str(caught.value)
        assert not ok
        assert message.startswith("Signature or permission at fault.")


def test_unsigned_request_to_a_cluster_with_iam(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unsigned request that is refused points at iam_auth."""
    with Simulator(clock="manual", iam_auth=True) as simulator:
        connect(monkeypatch, simulator.connection, extra={"iam_auth": False, "region_name": "us-east-1"})

        ok, message = NeptuneMLHook().test_connection()

    assert not ok
    assert message.startswith("Signature at fault: the cluster wants one and iam_auth is false.")


def test_no_credentials(connection: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without credentials nothing is sent, and the error names both ways out."""
    connect(monkeypatch, connection, extra={"region_name": "us-east-1"})

    with pytest.raises(
        NeptuneMLUnreachableError,
        match=r"no AWS credentials .* aws_conn_id \(None\), or set iam_auth to false",
    ):
        NeptuneMLHook(aws_conn_id=None).list_ids("endpoints")


@pytest.mark.parametrize("fault", ["access_denied", "read_only"])
def test_trouble_that_stays(connection: dict[str, Any], simulator: Simulator, fault: str) -> None:
    """A refusal for a reason that time does not heal is not taken for a hiccup."""
    simulator.add_fault(Fault(kind=fault))

    with pytest.raises(NeptuneMLServiceError) as caught:
        NeptuneMLHook().list_ids("endpoints")

    assert not caught.value.transient


@pytest.mark.parametrize(
    ("status", "words"), [(200, "a reply from {} that isn't Neptune's"), (503, "503 from {}, in a form")]
)
@pytest.mark.parametrize("body", [b"<html>welcome</html>", b"[]", b"null", b"\xe9t\xe9"])
def test_server_that_is_not_neptune(
    connection: dict[str, Any], monkeypatch: pytest.MonkeyPatch, status: int, words: str, body: bytes
) -> None:
    """A server that isn't Neptune is told as such, whatever it says; botocore breaks on some of it."""
    with web_server(status, body) as port:
        connect(monkeypatch, connection, port=port)

        with pytest.raises(NeptuneMLError, match=words.format(f"http://127.0.0.1:{port}")) as caught:
            NeptuneMLHook(config={"retries": {"total_max_attempts": 1}}).describe("modeltraining", "x")
        assert caught.value.transient


def test_untrusted_certificate(
    connection: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A certificate that can't be trusted is told with the reason; it does not pass with time."""
    certificate = self_signed_certificate(tmp_path, "localhost")
    with Simulator(clock="manual", ssl_certfile=str(certificate)) as simulator:
        connect(monkeypatch, {**simulator.connection, "host": "localhost"})

        with pytest.raises(
            NeptuneMLUnreachableError, match=r"TLS certificate of https://localhost:.*self.signed"
        ) as caught:
            NeptuneMLHook().list_ids("endpoints")
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


def test_shared_by_threads(clock: Clock) -> None:
    """Threads that ask for a hook at the same time get the same, fully built."""
    barrier = Barrier(8)

    def ask(_: int) -> NeptuneMLHook:
        barrier.wait(20)
        hook = shared_hook({})
        assert "conn" in vars(hook)
        return hook

    with ThreadPoolExecutor(8) as threads:
        assert len(set(map(id, threads.map(ask, range(8))))) == 1


def test_edited_connection_is_picked_up(
    connection: dict[str, Any], simulator: Simulator, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wait of days uses an edited connection after 15 minutes."""
    before = shared_hook({})
    role = "arn:aws:iam::1:role/n"
    connect(monkeypatch, connection, extra={**connection["extra"], "neptune_iam_role_arn": role})

    clock.sleep(15 * 60 - 1)
    assert shared_hook({}) is before
    clock.sleep(1)
    shared_hook({}).list_ids("endpoints")

    assert [request.query for request in simulator.journal] == [{"neptuneIamRoleArn": role}]
    assert shared_hook({}) is not before


def test_broken_connection_is_not_picked_up(
    connection: dict[str, Any],
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Waits go on with the connection that worked, say so, and use it once it is mended."""
    before = shared_hook({})
    connect(monkeypatch, connection, host="")
    clock.sleep(15 * 60)

    assert shared_hook({}) is before
    assert before.list_ids("endpoints") == []
    said = capfd.readouterr().out
    assert said.count("Going on with the settings there are: Connection") == 1

    connect(monkeypatch, connection)
    clock.sleep(15 * 60)
    assert shared_hook({}) is not before


def test_broken_connection_at_first(
    connection: dict[str, Any], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where none has worked the mistake is told, and the next wait looks again."""
    connect(monkeypatch, connection, host="")
    with pytest.raises(NeptuneMLConfigurationError, match="has no host"):
        shared_hook({})

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
    """A bundle that is missing is no trouble that may pass."""
    connect(monkeypatch, simulator.connection, schema="https")

    with pytest.raises(NeptuneMLUnreachableError, match=r"check `verify`: .*No such file") as caught:
        NeptuneMLHook(verify="/no/such.pem").list_ids("modeltraining")

    assert not caught.value.transient
