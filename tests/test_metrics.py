"""The metrics of a model: read from S3 by the hook, and compared with bounds by the operator."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_neptune_ml.compat import AirflowFailException, AirflowSkipException
from airflow_provider_neptune_ml.exceptions import (
    NeptuneMLError,
    NeptuneMLNotFoundError,
    NeptuneMLServiceError,
    NeptuneMLUnreachableError,
)
from airflow_provider_neptune_ml.hooks.metrics import MetricsHook
from airflow_provider_neptune_ml.hooks.neptune_ml import NeptuneMLHook
from airflow_provider_neptune_ml.operators.neptune_ml import NeptuneMLModelMetricsOperator
from airflow_provider_neptune_ml.simulator import Simulator
from dev.aws import aws_connection, aws_server
from tests.conftest import ONCE, connect
from tests.contexts import context
from tests.raw_server import reply, serve
from tests.s3 import put_metrics, use_s3
from tests.sdk import DAG

# sklearn's report of a classification, as AWS's examples have it.
REPORT = {
    "accuracy": 0.9,
    "macro avg": {"f1-score": 0.7, "support": 10},
    "class 1.5": {"f1-score": 0.6},
}


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    """Where S3 is served."""
    with aws_server() as url:
        yield url


@pytest.fixture
def trained(
    simulator: Simulator, connection: dict[str, Any], monkeypatch: pytest.MonkeyPatch, s3_url: str
) -> Any:
    """A client for S3, and the training ``mine``, which has no metrics yet."""
    simulator.seed("modeltraining", "mine", status="Completed")
    return use_s3(monkeypatch, s3_url)


def check(**arguments: Any) -> NeptuneMLModelMetricsOperator:
    """Return an operator that checks the model of the training ``mine``."""
    return NeptuneMLModelMetricsOperator(**{"task_id": "check", "job_id": "mine", **arguments})


# The hook


def test_both_files_are_read(simulator: Simulator, trained: Any) -> None:
    """What the files have comes back as it is, nested or not."""
    put_metrics(trained, simulator, "mine", eval=REPORT, test={"mrr": 0.25})

    assert NeptuneMLHook().model_metrics("mine") == {"eval": REPORT, "test": {"mrr": 0.25}}


def test_a_model_may_be_without_test_metrics(simulator: Simulator, trained: Any) -> None:
    """Only the file of the evaluation is always there."""
    put_metrics(trained, simulator, "mine", eval={"MSE": 2})

    assert NeptuneMLHook().model_metrics("mine") == {"eval": {"MSE": 2}, "test": None}


def test_numbers_that_json_does_not_know_are_texts(simulator: Simulator, trained: Any) -> None:
    """Python writes them, and Airflow 3 can't store them as XCom; neither can it numbers that overflow."""
    numbers = b'{"a": NaN, "b": -Infinity, "c": 1e999, "d": 1e-3, "e": 3, "f": -12345678901234567890}'
    put_metrics(trained, simulator, "mine", eval=numbers)

    metrics = NeptuneMLHook().model_metrics("mine")["eval"]

    known = {"a": "NaN", "b": "-Infinity", "c": "1e999", "d": 0.001, "e": 3, "f": -1.2345678901234567e19}
    assert metrics == known
    assert json.dumps(metrics, allow_nan=False)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, r"has no metrics: there is no eval_metrics_info.json at s3://.*its status is Completed\."),
        (b"<html>", r"eval_metrics_info.json isn't JSON: Expecting value"),
        (b"\xff\xfe\xfd", "isn't JSON: "),
        (b"[" * 100_000, "isn't JSON: it is nested too deeply|isn't JSON: Expecting"),
        (b"[1]", "must be a JSON object with metrics, not list"),
        (b'"' + b"x" * 1_000_000 + b'"', "has 1000002 bytes or more, and metrics have 1000000 at most"),
    ],
    ids=["missing", "html", "binary", "nested", "list", "long"],
)
def test_files_that_have_no_metrics(
    simulator: Simulator, trained: Any, content: bytes | None, words: str
) -> None:
    """The error names the job, the file and what is wrong with it."""
    location = simulator.describe("modeltraining", "mine")["processingJob"]["outputLocation"]
    trained.delete_object(
        Bucket="neptune-ml-simulator", Key=location.split("/", 3)[3] + "/eval_metrics_info.json"
    )
    if content is not None:
        put_metrics(trained, simulator, "mine", eval=content)

    with pytest.raises(NeptuneMLError, match=rf"^Model training job 'mine'.*({words})") as caught:
        NeptuneMLHook().model_metrics("mine")

    assert not caught.value.transient


def test_a_job_without_output_has_no_metrics(connection: dict[str, Any], monkeypatch: Any) -> None:
    """AWS promises no member of a description."""
    with serve(reply(200, {"id": "mine", "status": "InProgress"})) as (port, _):
        connect(monkeypatch, connection, port=port)
        with pytest.raises(NeptuneMLError, match=r"names no output location .*status is InProgress"):
            NeptuneMLHook().model_metrics("mine")


def test_an_unknown_job_has_no_metrics(simulator: Simulator, connection: dict[str, Any]) -> None:
    """Nothing is asked of S3 then."""
    with pytest.raises(NeptuneMLNotFoundError, match="No model training job 'mine'"):
        NeptuneMLHook().model_metrics("mine")


def denied(code: str, text: str) -> bytes:
    """Return S3's refusal."""
    return b"<Error><Code>%s</Code><Message>%s</Message></Error>" % (code.encode(), text.encode())


@pytest.fixture
def answered(
    simulator: Simulator, connection: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[bytes | None]]:
    """What S3 answers, one after the other; the last one again and again."""
    simulator.seed("modeltraining", "mine", status="Completed")
    said: list[bytes | None] = []
    with serve(lambda _, __, number: said[min(number, len(said) - 1)]) as (port, _):
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(aws_connection(f"http://127.0.0.1:{port}")))
        yield said


@pytest.mark.parametrize(
    ("answer", "error", "words", "transient"),
    [
        (
            reply(403, denied("AccessDenied", "Access Denied"), x_amz_request_id="r-1"),
            NeptuneMLServiceError,
            r"mine': s3://.*/eval_metrics_info.json can't be read: 403 AccessDenied: Access Denied\. The IAM"
            r" principal of aws_conn_id \('aws_default'\) needs the permission s3:GetObject.*\[GetObject,"
            r" s3://.*, 403 AccessDenied, request id r-1\]$",
            False,
        ),
        (
            reply(403, denied("InvalidAccessKeyId", "Unknown.")),
            NeptuneMLServiceError,
            r"403 InvalidAccessKeyId: Unknown\. Check aws_conn_id \('aws_default'\)",
            False,
        ),
        (reply(404, denied("NoSuchBucket", "No.")), NeptuneMLServiceError, "404 NoSuchBucket: No", False),
        (reply(503, denied("SlowDown", "Slow.")), NeptuneMLServiceError, "503 SlowDown: Slow", True),
        (None, NeptuneMLUnreachableError, r"can't be read: .* Check aws_conn_id", True),
        (
            b"HTTP/1.1 200 X\r\nConnection: close\r\nContent-Length: 9\r\n\r\n{}",
            NeptuneMLUnreachableError,
            "can't be read: .* Check aws_conn_id",
            True,
        ),
        (
            b"HTTP/1.1 200 X\r\nContent-Length: 50000000\r\n\r\n{}",
            NeptuneMLError,
            "has 50000000 bytes or more",
            False,
        ),
        (
            b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n1e8480\r\n" + b"x" * 2_000_000,
            NeptuneMLError,
            "bytes or more",
            False,
        ),
    ],
    ids=["denied", "unknown-key", "no-bucket", "slow-down", "hang-up", "cut", "long", "endless"],
)
def test_what_s3_refuses(
    answered: list[bytes | None],
    answer: bytes | None,
    error: type[NeptuneMLError],
    words: str,
    transient: bool,
) -> None:
    """An error says what S3 said, where to look, and whether it may pass; a long file isn't read."""
    answered.append(answer)

    with pytest.raises(error, match=words) as caught:
        NeptuneMLHook(config=ONCE).model_metrics("mine")

    assert caught.value.transient is transient


def test_a_missing_file_may_be_refused(
    answered: list[bytes | None], capfd: pytest.CaptureFixture[str]
) -> None:
    """Without s3:ListBucket, S3 answers 403 for a file that isn't there: that of the test may not be."""
    answered.extend([reply(200, {"MSE": 2}), reply(403, denied("AccessDenied", "Access Denied"))])

    metrics = NeptuneMLHook(config=ONCE).model_metrics("mine")

    assert metrics == {"eval": {"MSE": 2}, "test": None}
    assert "no test metrics. S3 answers 403 for a missing file" in capfd.readouterr().out


def test_s3_is_asked_with_the_settings_of_the_hook(
    simulator: Simulator, connection: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Region, verify and options are the task's, then the cluster's, then those of the AWS connection."""
    extra = {"region_name": "eu-west-3", "config_kwargs": {"read_timeout": 7, "connect_timeout": 7}}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(aws_connection("http://127.0.0.1:1", **extra)))
    connect(
        monkeypatch,
        connection,
        extra={"iam_auth": False, "region_name": "eu-west-2", "config_kwargs": {"connect_timeout": 8}},
    )
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", json.dumps(aws_connection("http://127.0.0.1:2")))

    client: Any = MetricsHook(NeptuneMLHook(config={"read_timeout": 9}, verify=False)).conn
    options = vars(client.meta.config)
    assert client.meta.endpoint_url == "http://127.0.0.1:1"
    assert client.meta.region_name == "eu-west-2"
    assert (options["connect_timeout"], options["read_timeout"]) == (8, 9)
    assert client._endpoint.http_session._verify is False

    other: Any = MetricsHook(NeptuneMLHook(aws_conn_id="other", region_name="eu-west-1")).conn
    assert (other.meta.endpoint_url, other.meta.region_name) == ("http://127.0.0.1:2", "eu-west-1")


# The operator


def test_a_good_model_passes(simulator: Simulator, trained: Any) -> None:
    """Bounds are met when they are reached; the metrics are returned."""
    put_metrics(trained, simulator, "mine", eval=REPORT, test={"rmse": 2, "a.b": {"c": 1}})
    task = check(
        minimum={
            "eval.accuracy": 0.9,
            "eval.macro avg.f1-score": 0.7,
            "eval.class 1.5.f1-score": 0.6,
            "test.a.b.c": 1,
        },
        maximum={"test.rmse": 2},
    )

    assert task.execute(context()) == {"eval": REPORT, "test": {"rmse": 2, "a.b": {"c": 1}}}


def test_links_of_a_check(simulator: Simulator, trained: Any) -> None:
    """From a model that was turned down, the links lead to where it was trained."""
    put_metrics(trained, simulator, "mine", eval={"MSE": 2})
    where = context()

    with pytest.raises(AirflowFailException, match=r"eval\.MSE is 2, above the maximum of 1"):
        check(maximum={"eval.MSE": 1}).execute(where)

    assert where["ti"].xcoms["description"]["id"] == "mine"
    assert where["ti"].xcoms.keys() >= {"_link_CloudWatchLogLink", "_link_S3OutputLink"}


def test_without_bounds_the_metrics_are_returned(simulator: Simulator, trained: Any) -> None:
    """Whatever they are."""
    put_metrics(trained, simulator, "mine", eval={"mrr": 0.1, "names": ["a"]}, test=b"{}")

    assert check().execute({}) == {"eval": {"mrr": 0.1, "names": ["a"]}, "test": {}}


def test_an_exact_name_comes_first(simulator: Simulator, trained: Any) -> None:
    """A name with dots wins over nested names that look the same."""
    put_metrics(trained, simulator, "mine", eval={"a": {"b": 0}, "a.b": 1}, test=b"{}")

    assert check(minimum={"eval.a.b": 1}).execute(context())


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        ({"minimum": {"eval.accuracy": 0.91}}, r"eval\.accuracy is 0\.9, below the minimum of 0\.91\."),
        ({"maximum": {"test.rmse": 1.5}}, r"test\.rmse is 2, above the maximum of 1\.5\."),
        ({"minimum": {"test.nan": -1e9}}, r"test\.nan is NaN, no finite number: below the minimum of -1"),
        ({"maximum": {"test.infinite": 1}}, r"test\.infinite is Infinity, no finite number: above"),
        (
            {"minimum": {"eval.accuracy": 1}, "maximum": {"test.rmse": 1}},
            r"eval\.accuracy is 0\.9, below the minimum of 1; test\.rmse is 2, above the maximum of 1\.",
        ),
    ],
    ids=["minimum", "maximum", "nan", "infinite", "both"],
)
@pytest.mark.parametrize("soft", [False, True], ids=["fails", "skips"])
def test_a_missed_bound(
    simulator: Simulator, trained: Any, bounds: dict[str, Any], words: str, soft: bool
) -> None:
    """Fails without a retry, or skips; it names job, metric, value and bound."""
    numbers = b'{"rmse": 2, "nan": NaN, "infinite": Infinity}'
    put_metrics(trained, simulator, "mine", eval=REPORT, test=numbers)

    with pytest.raises(
        AirflowSkipException if soft else AirflowFailException, match=rf"^Model training job 'mine': {words}"
    ):
        check(**bounds, soft_fail=soft).execute(context())


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (
            "eval.acuracy",
            r"metric eval\.acuracy is not there\. Its metrics: eval\.accuracy=0\.9, ",
        ),
        ("test.accuracy", r"metric test\.accuracy is not there.*test=None\.$"),
        ("eval.macro avg", r"metric eval\.macro avg is no number"),
        ("eval.name", r"metric eval\.name is no number.*eval\.name=best"),
        ("eval.flag", r"metric eval\.flag is no number"),
    ],
)
def test_a_metric_that_is_not_there(simulator: Simulator, trained: Any, path: str, words: str) -> None:
    """A misspelled bound must neither pass nor skip: the task fails, and says which metrics there are."""
    put_metrics(trained, simulator, "mine", eval={**REPORT, "name": "best", "flag": True})
    location = simulator.describe("modeltraining", "mine")["processingJob"]["outputLocation"]
    test_key = location.split("/", 3)[3] + "/test_metrics_info.json"
    trained.delete_object(Bucket="neptune-ml-simulator", Key=test_key)

    with pytest.raises(AirflowFailException, match=rf"^Model training job 'mine': {words}"):
        check(maximum={path: 1}, soft_fail=True).execute(context())


def test_transient_errors_are_retried(answered: list[bytes | None], monkeypatch: pytest.MonkeyPatch) -> None:
    """They are no verdict on a model."""
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    answered.extend([reply(503, denied("SlowDown", "Slow.")), reply(200, {"mrr": 1})])

    assert check(botocore_config=ONCE, minimum={"eval.mrr": 1}).execute(context())

    assert len(pauses) == 1


@pytest.mark.parametrize("native", [False, True], ids=["text", "native"])
def test_bounds_may_be_templates(native: bool) -> None:
    """One, or all of them, and of text too."""
    with DAG("gate", schedule=None, render_template_as_native_obj=native):
        task = check(minimum={"eval.mrr": "{{ least }}"}, maximum="{{ most }}", job_id="{{ job }}")
    known: Any = {"least": "0.5", "most": {"eval.rmse": "2"}, "job": "mine"}
    task.render_template_fields(known)

    task.validate_arguments(rendered=True)
    assert (task.minimum, task.maximum) == ({"eval.mrr": 0.5}, {"eval.rmse": 2})


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        ({"minimum": {"eval.mrr": float("nan")}}, r"minimum=.*: the bound of 'eval.mrr' is nan"),
        ({"maximum": {"eval.mrr": "many"}}, r"maximum=.*: the bound of 'eval.mrr' is 'many'"),
        ({"minimum": {"eval.mrr": ""}}, "the bound of 'eval.mrr' is ''"),
        ({"minimum": {"eval.mrr": None}}, "the bound of 'eval.mrr' is None"),
        ({"minimum": {"eval.mrr": True}}, "the bound of 'eval.mrr' is True"),
        ({"minimum": {"eval.mrr": "1e999"}}, "the bound of 'eval.mrr' is inf"),
        ({"minimum": {"mrr": 1}}, r"metric 'mrr' must begin with eval\. or test\."),
        ({"minimum": {"eval.": 1}}, r"metric 'eval\.' must begin with eval\. or test\."),
        ({"minimum": 0.8}, r"minimum=0\.8 must be a dict of finite numbers by metric"),
        ({"soft_fail": "maybe"}, "soft_fail='maybe' must be True or False"),
        ({"job_id": ""}, "job_id='' must be 1-48 letters"),
    ],
)
def test_wrong_bounds(bounds: dict[str, Any], words: str) -> None:
    """They are told when the Dag is parsed; one that is not given doesn't open the gate."""
    with pytest.raises(ValueError, match=words):
        check(**bounds)


def test_a_bound_that_renders_to_nothing_is_an_error(connection: dict[str, Any]) -> None:
    """A template that finds nothing is no bound: nothing is read, and the gate stays shut."""
    task = check(minimum={"eval.mrr": "{{ nothing }}"})
    task.render_template_fields({})

    with pytest.raises(ValueError, match=r"the bound of 'eval\.mrr' is ''"):
        task.execute(context())
