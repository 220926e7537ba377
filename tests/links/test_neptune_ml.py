"""The links from a task to the consoles of what is behind its job."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from typing import Any

import pytest
from airflow.providers_manager import ProvidersManager

from airflow_provider_neptune_ml import compat
from airflow_provider_neptune_ml.compat import AIRFLOW_V_3_0_PLUS, AirflowFailException
from airflow_provider_neptune_ml.exceptions import NeptuneMLError, NeptuneMLKilledError
from airflow_provider_neptune_ml.kinds import (
    ALL_KINDS,
    DATA_PROCESSING,
    ENDPOINTS,
    EXPORT,
    KINDS,
    MODEL_TRAINING,
    MODEL_TRANSFORM,
    ResourceKind,
)
from airflow_provider_neptune_ml.links.neptune_ml import LINKS, links_of, urls_of
from airflow_provider_neptune_ml.operators.neptune_ml import (
    NeptuneMLCreateEndpointOperator,
    NeptuneMLDeleteEndpointOperator,
)
from airflow_provider_neptune_ml.sensors.neptune_ml import (
    NeptuneMLEndpointSensor,
    NeptuneMLModelTrainingJobSensor,
)
from airflow_provider_neptune_ml.simulator import Simulator
from tests.contexts import KEY, TaskInstance, context
from tests.interruptions import interrupted
from tests.leaf_classes import LEAVES
from tests.modes import first_event
from tests.operators.tasks import GET, start
from tests.sdk import DAG
from tests.triggers.waits import trigger

pytestmark = pytest.mark.usefixtures("connection", "airflow_database")

LOG = "https://us-east-1.console.aws.amazon.com/cloudwatch/home?region=us-east-1#logStream:group=/x;prefix=y"
PARTITIONS = {
    "aws": ("us-east-1", "https://console.aws.amazon.com"),
    "aws-cn": ("cn-north-1", "https://console.amazonaws.cn"),
    "aws-us-gov": ("us-gov-west-1", "https://console.amazonaws-us-gov.com"),
}


def part(
    resource: str = "processing-job", name: str = "mine-1", *, partition: str = "aws", **changes: Any
) -> Any:
    """Return what a reply says of a stage."""
    region = PARTITIONS.get(partition, ("eu-west-1",))[0]
    arn = f"arn:{partition}:sagemaker:{region}:123456789012:{resource}/{name}"
    return {"name": name, "arn": arn, "status": "InProgress", **changes}


def urls(kind: ResourceKind, reply: dict[str, Any]) -> dict[str, str]:
    """Return the links that a reply shows, by their buttons."""
    found = urls_of(kind, reply)
    return {str(link.name): found[link.key] for link in links_of(kind) if link.key in found}


# Which


@pytest.mark.parametrize(
    ("kind", "stages"),
    [
        (DATA_PROCESSING, ["processing job"]),
        (MODEL_TRAINING, ["processing job", "tuning job", "transform job"]),
        (MODEL_TRANSFORM, ["processing job", "transform job"]),
        (ENDPOINTS, ["endpoint"]),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_links_of_every_kind(kind: ResourceKind, stages: list[str]) -> None:
    """Every operator and sensor has the links of its kind, mapped ones as well."""
    buttons = ["CloudWatch log", "S3 output", *(f"SageMaker {stage}" for stage in stages)]
    leaves = [leaf for leaf in LEAVES if getattr(leaf, "kind", None) is kind]

    assert len(leaves) >= 3
    for leaf in leaves:
        links: Any = leaf.operator_extra_links
        assert [link.name for link in links] == buttons
    with DAG("mapping", schedule=None):
        mapped: Any = NeptuneMLModelTrainingJobSensor.partial(task_id="wait").expand(job_id=["a"])
    assert [link.name for link in mapped.operator_extra_links][-1] == "SageMaker transform job"


def test_airflow_knows_them() -> None:
    """Airflow trusts them after serialization, and looks for them where they are pushed."""
    ours = [name for name in ProvidersManager().extra_links_class_names if "neptune_ml" in name]

    assert sorted(ours) == sorted(f"{link.__module__}.{link.__name__}" for link in LINKS)
    for link in LINKS:
        if AIRFLOW_V_3_0_PLUS:
            assert link().xcom_key == link.key


# Their URLs


@pytest.mark.parametrize("partition", PARTITIONS)
def test_urls_by_partition(partition: str) -> None:
    """The consoles are those of the partition in the ARN."""
    region, console = PARTITIONS[partition]
    description = {
        "status": "InProgress",
        "processingJob": part(partition=partition, outputLocation="s3://bucket/model", status="Completed"),
        "hpoJob": part("hyper-parameter-tuning-job", "mine-hpo", partition=partition),
        "modelTransformJob": part("transform-job", "mine-t", partition=partition, status="Pending"),
    }

    assert urls(MODEL_TRAINING, description) == {
        "CloudWatch log": f"{console}/cloudwatch/home?region={region}"
        "#logStream:group=/aws/sagemaker/TrainingJobs;prefix=mine-hpo;streamFilter=typeLogStreamPrefix",
        "S3 output": f"{console}/s3/buckets/bucket?region={region}&prefix=model%2F",
        "SageMaker processing job": f"{console}/sagemaker/home?region={region}#/processing-jobs/mine-1",
        "SageMaker tuning job": f"{console}/sagemaker/home?region={region}#/hyper-tuning-jobs/mine-hpo",
        "SageMaker transform job": f"{console}/sagemaker/home?region={region}#/transform-jobs/mine-t",
    }


def test_endpoint() -> None:
    """The name of an endpoint is the reply's: its ARN has it in lower case."""
    arn = "arn:aws:sagemaker:eu-west-1:1:endpoint/my-endpoint"

    assert urls(ENDPOINTS, {"status": "InService", "endpoint": {"arn": arn, "name": "My-Endpoint"}}) == {
        "SageMaker endpoint": "https://console.aws.amazon.com/sagemaker/home?region=eu-west-1"
        "#/endpoints/My-Endpoint"
    }


@pytest.mark.parametrize(
    ("log", "console"),
    [
        (LOG, "https://console.aws.amazon.com"),
        (LOG.replace("aws.amazon.com", "amazonaws.cn"), "https://console.amazonaws.cn"),
        (None, "https://console.aws.amazon.com"),
    ],
)
def test_output_of_an_export(log: str | None, console: str) -> None:
    """An export, whose reply has no ARN, leads to its output too: in the console that its log is in."""
    job = {"name": "mine", "outputLocation": "s3://bucket/exports/1", "cloudwatchLogUrl": log}
    found = urls(EXPORT, {"id": "mine", "status": "succeeded", "exportJob": job})

    assert found["S3 output"] == f"{console}/s3/buckets/bucket?prefix=exports%2F1%2F"
    assert found.get("CloudWatch log") == log


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_reply_of_a_start(kind: ResourceKind) -> None:
    """The ARN alone, which is all that a start replies, leads to its stage."""
    stage = kind.stages[0]
    reply = {"id": "mine", "arn": part(stage.resource)["arn"], "creationTimeInMillis": 1}

    assert urls(kind, reply)[stage.link].endswith("/mine-1")


@pytest.mark.parametrize(
    ("first", "second", "shown"),
    [
        ("Completed", "InProgress", "second"),
        ("Completed", "Completed", "second"),
        ("Failed", "Stopped", "first"),
        ("Completed", "Failed", "second"),
        ("InProgress", None, "first"),
    ],
)
def test_stage_of_the_log(first: str, second: str | None, shown: str) -> None:
    """The log is that of the stage that failed, else of the one at work, else of the last."""
    description = {"processingJob": part(status=first, cloudwatchLogUrl=f"{LOG}-first")}
    if second:
        description["hpoJob"] = part(status=second, cloudwatchLogUrl=f"{LOG}-second")

    assert urls(MODEL_TRAINING, description)["CloudWatch log"] == f"{LOG}-{shown}"


def test_stage_of_the_output() -> None:
    """The output of a training is where its model is, that of a transform where the last stage writes."""
    first, last = part(outputLocation="s3://bucket/first"), part(outputLocation="s3://bucket/last")

    training = urls(MODEL_TRAINING, {"processingJob": first, "modelTransformJob": last})
    transform = urls(MODEL_TRANSFORM, {"baseProcessingJob": first, "remoteModelTransformJob": last})

    assert training["S3 output"].endswith("prefix=first%2F")
    assert transform["S3 output"].endswith("prefix=last%2F")


@pytest.mark.parametrize(
    "url",
    [
        "http://console.aws.amazon.com/cloudwatch/home",
        "https://evil.example/cloudwatch/home",
        "https://evil.example/console.aws.amazon.com/",
        "https://evilconsole.aws.amazon.com/",
        "https://console.aws.amazon.com.evil.example/",
        "https://console.aws.amazon.com@evil.example/",
        "https://evil.example\\.console.aws.amazon.com/",
        "https://console.aws.amazon.com/\nhttps://evil.example/",
        "https://console.aws.amazon.com/a b",
        "javascript:alert(1)//https://console.aws.amazon.com/",
        ["https://console.aws.amazon.com/"],
        17,
    ],
)
def test_log_that_is_not_aws(url: object) -> None:
    """A URL of something else than an AWS console makes no link."""
    assert "CloudWatch log" not in urls(DATA_PROCESSING, {"processingJob": part(cloudwatchLogUrl=url)})


@pytest.mark.parametrize(
    "location",
    [
        "https://bucket/x",
        "s3://",
        "s3:///x",
        "s3://b?x/y",
        "s3://b@evil.example",
        "javascript:x",
        17,
        ["s3://b"],
    ],
)
def test_output_that_is_not_in_s3(location: object) -> None:
    """Neither does a location that is not in S3."""
    assert "S3 output" not in urls(DATA_PROCESSING, {"processingJob": part(outputLocation=location)})


@pytest.mark.parametrize(
    "arn", [None, 17, "mine", "arn:aws-x:sagemaker:eu-west-1:1:processing-job/a", "arn:aws"]
)
def test_arn_of_somewhere_else(arn: object) -> None:
    """Without an ARN of a known partition there is nothing to build a link of; the reply's own is one."""
    described = {"processingJob": part(arn=arn, outputLocation="s3://b/c", cloudwatchLogUrl=LOG)}

    assert urls(DATA_PROCESSING, described) == {"CloudWatch log": LOG}


def test_values_are_encoded() -> None:
    """What a reply says can't leave its place in the URL."""
    evil = "a/../b?c#d&e;f \x1b[31m\n\ud800"
    found = urls(DATA_PROCESSING, {"processingJob": part(name=evil, outputLocation=f"s3://bucket/{evil}")})

    encoded = "a%2F..%2Fb%3Fc%23d%26e%3Bf%20%1B%5B31m%0A%3F"
    assert found["SageMaker processing job"].endswith(f"#/processing-jobs/{encoded}")
    assert found["S3 output"].endswith(f"&prefix={encoded}%2F")
    assert f";prefix={encoded};" in found["CloudWatch log"]
    assert not urls(DATA_PROCESSING, {"processingJob": part(name="x" * 10_000)})


_MEMBERS = ("name", "arn", "status", "outputLocation", "failureReason", "cloudwatchLogUrl")


@pytest.mark.parametrize("kind", ALL_KINDS.values(), ids=lambda kind: kind.name)
@pytest.mark.parametrize(
    "value",
    [None, 17, "", "x", "\ud800", "x" * 100_000, LOG, [LOG], {"a": {}}],
    ids=lambda it: type(it).__name__,
)
def test_never_raises(kind: ResourceKind, value: Any) -> None:
    """Whatever a reply says, there is a link to an AWS console or none."""
    whole = dict.fromkeys(_MEMBERS, value)
    replies: list[dict[str, Any]] = [whole, dict.fromkeys((stage.member for stage in kind.stages), value)]
    for stage in kind.stages:
        good = part(stage.resource, outputLocation="s3://bucket/x", cloudwatchLogUrl=LOG)
        replies += [{stage.member: whole}, *({stage.member: {**good, name: value}} for name in _MEMBERS)]

    for reply in replies:
        assert all(url.startswith("https://") and "console." in url for url in urls_of(kind, reply).values())


# Airflow asks for one


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What XCom has of the task of ``KEY``, by Airflow's own class; an error is raised."""
    values: dict[str, Any] = {}

    def get_value(*, ti_key: Any, key: str) -> Any:
        assert ti_key.task_id == KEY["task_id"]
        if isinstance(values.get(key), Exception):
            raise values[key]
        return values.get(key)

    monkeypatch.setattr(compat.BaseXCom, "get_value", staticmethod(get_value))
    return values


@pytest.mark.parametrize(
    ("value", "url"), [(LOG, LOG), (None, ""), (RuntimeError("API server: 503"), "")], ids=repr
)
def test_link_of_a_task_elsewhere(stored: dict[str, Any], value: object, url: str) -> None:
    """A webserver, and a worker that resumes a task, answer with what was pushed; none of it raises."""
    stored["_link_CloudWatchLogLink"] = value
    task = NeptuneMLModelTrainingJobSensor(task_id="train", job_id="mine")
    [link, *_] = links_of(MODEL_TRAINING)

    assert link.get_link(task, ti_key=TaskInstance()) == url


def test_link_of_a_task_here(simulator: Simulator, stored: dict[str, Any]) -> None:
    """The worker that has waited knows better than XCom."""
    simulator.seed("modeltraining", "mine", status="Completed")
    task = NeptuneMLModelTrainingJobSensor(task_id="train", job_id="mine")
    task.execute(context())
    stored["_link_CloudWatchLogLink"] = "https://console.aws.amazon.com/old"

    shown = {link.key: link.get_link(task, ti_key=TaskInstance()) for link in links_of(MODEL_TRAINING)}

    assert shown == urls_of(MODEL_TRAINING, simulator.describe("modeltraining", "mine"))


def test_link_of_what_is_gone(stored: dict[str, Any]) -> None:
    """The last links of an endpoint that was deleted stay: its end describes nothing."""
    stored["_link_SageMakerEndpointLink"] = "https://console.aws.amazon.com/endpoint"
    task = NeptuneMLDeleteEndpointOperator(task_id="train", endpoint_id="mine")
    task.execute_complete(context(), {"status": "success", "resource_id": "mine", "description": {}})
    [*_, link] = links_of(ENDPOINTS)

    assert link.get_link(task, ti_key=TaskInstance()) == "https://console.aws.amazon.com/endpoint"


# Pushed while the task runs


class Events:
    """A task instance with what happens as something is pushed."""

    def __init__(self, happens: Any) -> None:
        self.happens = happens
        self.xcoms: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        """Let it happen, and keep the value."""
        self.happens()
        self.xcoms[key] = json.loads(json.dumps(value))

    def __getattr__(self, name: str) -> Any:
        if name == "task":
            raise AttributeError(name)
        return getattr(TaskInstance(), name)


def fail() -> None:
    """Fail as Airflow's API server does."""
    raise RuntimeError("API server: 503")


def test_kill(simulator: Simulator, completed_data: str) -> None:
    """A task that is killed in its wait leaves its links, and a description, behind."""
    task, where = start(wait_for_completion=True), context()

    with interrupted(simulator, GET, task.on_kill, calls=3), pytest.raises(NeptuneMLKilledError):
        task.execute(where)

    assert where["ti"].xcoms["description"]["status"] == "InProgress"
    assert where["ti"].xcoms.keys() >= {"_link_CloudWatchLogLink", "_link_SageMakerProcessingJobLink"}


@pytest.mark.parametrize("status", ["Completed", "Failed"])
def test_push_that_fails(simulator: Simulator, status: str, capfd: Any) -> None:
    """A push that fails fails no sensor, and is told once."""
    simulator.seed("modeltraining", "mine", status=status)
    task = NeptuneMLModelTrainingJobSensor(task_id="train", job_id="mine")
    where: Any = {"ti": Events(fail)}

    if status == "Failed":
        with pytest.raises(AirflowFailException, match="ended as Failed"):
            task.execute(where)
    else:
        assert task.execute(where)["status"] == status

    assert not where["ti"].xcoms
    said = "Links and description not pushed to XCom: RuntimeError: API server: 503"
    assert capfd.readouterr().out.count(said) == 1


@pytest.mark.skipif(
    not compat.TASK_MAY_ASK_FROM_THREADS, reason="this Airflow's tasks have one line to their supervisor"
)
def test_push_that_hangs(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A push that hangs holds up neither the polls of a worker nor the end."""
    for limit in ("_LONGEST_WAIT_SECONDS", "_LAST_PUSH_SECONDS"):
        monkeypatch.setattr(f"airflow_provider_neptune_ml.xcoms.{limit}", 0.01)
    simulator.seed("modeltraining", "mine", status="Completed")
    let_go = threading.Event()
    where: Any = {"ti": Events(let_go.wait)}

    task = NeptuneMLModelTrainingJobSensor(task_id="train", job_id="mine")

    try:
        assert task.execute(where)["status"] == "Completed"
        assert not where["ti"].xcoms
    finally:
        let_go.set()


@pytest.mark.parametrize("status", ["InService", "Failed"])
@pytest.mark.parametrize("task_class", [NeptuneMLEndpointSensor, NeptuneMLCreateEndpointOperator])
def test_push_that_is_slow(simulator: Simulator, monkeypatch: Any, task_class: Any, status: str) -> None:
    """What the last reply shows is in XCom when the task ends, once, also where a push takes its time."""
    monkeypatch.setattr("airflow_provider_neptune_ml.xcoms._LONGEST_WAIT_SECONDS", 0.01)
    pushed: list[tuple[str, Any]] = []

    class Slow(Events):
        def xcom_push(self, key: str, value: Any) -> None:
            pushed.append((key, value))
            self.happens()

    where: Any = {"ti": Slow(lambda: threading.Event().wait(0.1))}
    simulator.seed("endpoints", "mine", status=status)
    given = (
        {}
        if task_class is NeptuneMLEndpointSensor
        else {"ml_model_training_job_id": "model", "deferrable": False}
    )
    task = task_class(task_id="train", endpoint_id="mine", **given)

    with suppress(AirflowFailException, NeptuneMLError):
        if task_class is NeptuneMLEndpointSensor:
            task.execute(where)
        else:
            task._await(where, "mine")

    description = simulator.describe("endpoints", "mine")
    assert pushed.count(("description", description)) == 1
    assert [value for key, value in pushed if key == "endpoint_name"] == [description["endpoint"]["name"]]


@pytest.mark.parametrize("hangs", [True, False])
def test_push_from_the_triggerer(simulator: Simulator, monkeypatch: Any, hangs: bool) -> None:
    """Neither does one in the triggerer: the wait times out when it should."""
    monkeypatch.setattr("airflow_provider_neptune_ml.triggers.xcoms._LONGEST_WAIT_SECONDS", 0.01)
    simulator.seed("modeltraining", "mine", status="InProgress")
    let_go = threading.Event()
    waiting = trigger(started_at=simulator.now(), deadline=1.0)
    waiting.task_instance = Events(let_go.wait if hangs else fail)  # type: ignore[assignment]

    try:
        event = first_event(waiting)
    finally:
        let_go.set()

    assert event.payload["status"] == "timeout"


@pytest.mark.skipif(not compat.TRIGGERER_TAKES_XCOMS, reason="this Airflow's triggerer can't push")
def test_push_after_the_wait(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A push that hangs until the wait has ended leaves the rest: it may be the next try's by then."""
    monkeypatch.setattr("airflow_provider_neptune_ml.triggers.xcoms._LONGEST_WAIT_SECONDS", 0.01)
    simulator.seed("modeltraining", "mine", status="InProgress")
    let_go, has_pushed = threading.Event(), threading.Semaphore(0)

    class Hanging(Events):
        def xcom_push(self, key: str, value: Any) -> None:
            super().xcom_push(key, value)
            has_pushed.release()

    instance = Hanging(let_go.wait)
    waiting = trigger(started_at=simulator.now(), deadline=1.0)
    waiting.task_instance = instance  # type: ignore[assignment]

    assert first_event(waiting).payload["status"] == "timeout"
    let_go.set()

    assert has_pushed.acquire(timeout=10)
    assert not has_pushed.acquire(timeout=0.2)


@pytest.mark.skipif(not compat.TRIGGERER_TAKES_XCOMS, reason="this Airflow's triggerer can't push")
def test_pushed_while_deferred(simulator: Simulator) -> None:
    """Each stage is shown as soon as it is at work, from the triggerer."""
    simulator.seed("modeltraining", "mine", status="InProgress")
    waiting = trigger()
    instance = waiting.task_instance = TaskInstance()  # type: ignore[assignment]
    seen: list[dict[str, Any]] = []

    def push(key: str, value: Any) -> None:
        TaskInstance.xcom_push(instance, key, value)
        if key == "description" and len(seen) == 0:
            seen.append(dict(instance.xcoms))
            simulator.fail("modeltraining", "mine", reason="no", stage="hpoJob")

    instance.xcom_push = push  # type: ignore[method-assign]

    event = first_event(waiting)

    assert event.payload["status"] == "failed"
    assert seen[0].keys() >= {"_link_CloudWatchLogLink", "_link_SageMakerProcessingJobLink"}


@pytest.mark.skipif(not compat.CAN_RUN_WITHOUT_WORKER, reason="Airflow before 3.3 ends no task so")
@pytest.mark.parametrize("status", ["Completed", "Failed"])
@pytest.mark.parametrize("soft_fail", [True, False])
def test_end_in_the_triggerer(simulator: Simulator, status: str, soft_fail: bool) -> None:
    """The event that ends a task has the links and the description with it."""
    simulator.seed("modeltraining", "mine", status=status)
    ending: Any = first_event(trigger(end_from_trigger=True, fail_from_trigger=True, soft_fail=soft_fail))

    description = simulator.describe("modeltraining", "mine")
    expected = {"description": description, **urls_of(MODEL_TRAINING, description)}
    result = {"return_value": description} if status == "Completed" else {}
    assert ending.xcoms == {**expected, **result}


class Elsewhere(compat.BaseXCom):
    """A user's XCom backend, which keeps values elsewhere."""


def test_custom_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Links pass a user's XCom backend by: Airflow's server reads them as they are stored."""
    stored: list[tuple[type, str]] = []
    monkeypatch.setattr(compat, "XCom", Elsewhere, raising=False)
    monkeypatch.setattr(
        compat.BaseXCom, "set", classmethod(lambda cls, *, key, **_: stored.append((cls, key)))
    )
    instance = TaskInstance()

    compat.push_xcom(instance, "description", {"id": "mine"})
    compat.push_xcom(instance, "_link_CloudWatchLogLink", LOG)

    assert instance.xcoms == {"description": {"id": "mine"}}
    assert stored == [(compat.BaseXCom, "_link_CloudWatchLogLink")]


def test_serialized_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task instance in the triggerer, whose task was serialized, is not asked to push."""
    stored: list[str] = []
    monkeypatch.setattr(compat.XCom, "set", staticmethod(lambda *, key, **_: stored.append(key)))
    instance: Any = TaskInstance()
    instance.task = object()

    compat.push_xcom(instance, "description", {"id": "mine"})

    assert stored == ["description"]
    assert not instance.xcoms
