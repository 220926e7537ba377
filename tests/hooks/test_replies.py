"""Replies that the service would not give, or with texts that would forge a line of the log."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from airflow_provider_neptune_ml.exceptions import (
    NeptuneMLError,
    NeptuneMLFailedError,
    NeptuneMLServiceError,
    NeptuneMLUnreachableError,
)
from airflow_provider_neptune_ml.hooks.neptune_ml import NeptuneMLHook
from airflow_provider_neptune_ml.kinds import KINDS, ResourceKind
from airflow_provider_neptune_ml.simulator import Simulator
from airflow_provider_neptune_ml.triggers.neptune_ml import NeptuneMLJobTrigger
from tests.conftest import ONCE, connect
from tests.modes import first_event
from tests.raw_server import reply, serve

NOT_NEPTUNES = "the reply is not one of Neptune's"
FOREIGN = "HTTP status {}, in a form that isn't Neptune's"
# Each JSON type, and what a parser stumbles over.
ODD: list[Any] = [
    None,
    True,
    0,
    -1,
    1.5,
    10**30,
    "",
    "soon",
    "\ud800\x00",
    [],
    [[]],
    ["x", 5, None],
    {},
    {"a": {}},
]
START: dict[str, Any] = {"data_processing_job_id": "data-1", "train_model_s3_location": "s3://bucket/model"}
Call = Callable[[NeptuneMLHook], Any]


def describe(hook: NeptuneMLHook) -> Any:
    """Describe a job."""
    return hook.describe("modeltraining", "mine")


def start(hook: NeptuneMLHook) -> Any:
    """Start a job."""
    return hook.start("modeltraining", id="mine", **START)


def list_ids(hook: NeptuneMLHook) -> Any:
    """List jobs."""
    return hook.list_ids("modeltraining")


def stop(hook: NeptuneMLHook) -> Any:
    """Request the cancellation of a job."""
    return hook.request_cancellation(KINDS["modeltraining"], "mine")


@pytest.fixture
def answered(connection: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Call a hook on a server that gives one reply."""
    said = [b""]
    with serve(lambda *_: said[0]) as (port, _):
        connect(monkeypatch, connection, port=port)
        hook = NeptuneMLHook(config=ONCE)

        def call(verb: Call, status: int, body: object) -> Any:
            said[0] = reply(status, body)
            return verb(hook)

        yield call


@pytest.mark.parametrize(
    ("body", "described"),
    [
        ({}, {}),
        ({"status": 5, "id": ["x"]}, {}),
        ({"status": "Failed", "hpoJob": []}, {"status": "Failed"}),
        ({"hpoJob": {"status": 5, "name": "n"}}, {"hpoJob": {"name": "n"}}),
        ({"hpoJob": {"failureReason": 5, "cloudwatchLogUrl": {}}, "mlModels": 7}, {"hpoJob": {}}),
        ({"mlModels": [{"name": "m", "arn": 0}, 5, None]}, {"mlModels": [{"name": "m"}]}),
        ({"status": "InProgress", "id": "mine", "new": [1]}, {"status": "InProgress", "id": "mine"}),
        # PostgreSQL takes no NUL in JSON, and no UTF-8 has half of a surrogate pair.
        ({"hpoJob": {"failureReason": "a\x00b\ud800\n"}}, {"hpoJob": {"failureReason": "ab?\n"}}),
        ({"status": "In\nERROR forged\x1b[31m"}, {"status": "In ERROR forged"}),
    ],
)
def test_members_of_another_type_are_dropped(
    answered: Callable[..., Any], body: object, described: dict[str, Any]
) -> None:
    """What a description has in another form than the model's counts as missing."""
    assert answered(describe, 200, body) == described


def test_other_operations_of_the_client(answered: Callable[..., Any]) -> None:
    """A query through the hook's client is answered as boto3 does it: with a stream, and at any length."""

    def query(hook: NeptuneMLHook) -> Any:
        client: Any = hook.conn
        return client.execute_gremlin_query(gremlinQuery="g.V()")["result"]

    def profile(hook: NeptuneMLHook) -> Any:
        client: Any = hook.conn
        return client.execute_gremlin_profile_query(gremlinQuery="g.V()")["output"].read()

    assert len(answered(query, 200, {"result": "x" * 5_000_000})) == 5_000_000
    assert answered(profile, 200, b"Gremlin profile") == b"Gremlin profile"


@pytest.mark.parametrize(
    "body", [{}, {"creationTimeInMillis": 5}, {"id": 5}, {"id": None}, [], 0, b"", b"{", b"x"]
)
def test_start_without_an_id(answered: Callable[..., Any], body: object) -> None:
    """A start whose answer can't be read may have been carried out."""
    with pytest.raises(NeptuneMLUnreachableError, match=NOT_NEPTUNES) as caught:
        answered(start, 200, body)

    assert caught.value.transient
    assert caught.value.ambiguous


@pytest.mark.parametrize("other", ["other", ""])
@pytest.mark.parametrize("verb", [describe, start])
def test_reply_about_another_resource(answered: Callable[..., Any], verb: Call, other: str) -> None:
    """A reply about another id than was asked for is no answer; upper and lower case make no other one."""
    with pytest.raises(NeptuneMLUnreachableError, match=NOT_NEPTUNES) as failed:
        answered(verb, 200, {"id": other, "status": "Completed"})

    assert failed.value.transient
    assert failed.value.ambiguous
    assert answered(verb, 200, {"id": "MINE", "status": "Completed"})["id"] == "MINE"


@pytest.mark.parametrize("time", ["soon", [], True, 10**30, 1.5])
def test_start_at_no_time(answered: Callable[..., Any], time: object) -> None:
    """The id is what counts of a start's answer."""
    assert answered(start, 200, {"id": "mine", "creationTimeInMillis": time}) == {"id": "mine"}


def test_ids_that_are_none(answered: Callable[..., Any]) -> None:
    """A list has the ids alone that can be asked for."""
    assert answered(list_ids, 200, {"ids": 0}) == []
    assert answered(list_ids, 200, {"ids": ["mine", 5, None, "../x", "a\nb", "None", ["x"]]}) == ["mine"]


@pytest.mark.parametrize("verb", [describe, start, list_ids, stop])
@pytest.mark.parametrize("status", [200, 400, 503])
def test_any_json(answered: Callable[..., Any], verb: Call, status: int) -> None:
    """Whatever stands where, the call returns or raises an error of ours."""
    members = ("status", "id", "ids", "hpoJob", "creationTimeInMillis", "mlModels")
    errors = ("code", "Code", "__type", "message", "detailedMessage", "requestId")
    for odd in ODD:
        for body in (
            odd,
            dict.fromkeys((*members, *errors), odd),
            {"hpoJob": {"status": odd, "failureReason": odd}},
        ):
            raised = _error_of(partial(answered, verb, status, body))
            assert raised is None or raised.transient or status == 400
            assert "\n" not in str(raised)


def _error_of(call: Callable[[], object]) -> NeptuneMLError | None:
    try:
        call()
    except NeptuneMLError as error:
        return error
    return None


def test_deeply_nested(answered: Callable[..., Any]) -> None:
    """JSON that no parser reads is a reply that isn't Neptune's."""
    deep = b"[" * 100_000
    with pytest.raises(NeptuneMLUnreachableError, match=NOT_NEPTUNES):
        answered(describe, 200, deep)
    with pytest.raises(NeptuneMLServiceError, match=FOREIGN.format(500)):
        answered(describe, 500, b'{"code":' + deep)


@pytest.mark.parametrize("broken", [b'{"hpoJob": []}', b'{"status": "x", "mlModels": 7}', b"[]"])
def test_what_the_parser_raises(
    answered: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, broken: bytes
) -> None:
    """Where botocore stumbles all the same, that is told as a reply that isn't Neptune's."""

    def spoiled(hook: NeptuneMLHook) -> Any:
        def spoil(response_dict: dict[str, Any], **_: Any) -> None:
            response_dict["body"] = broken

        hook.conn.meta.events.register_last("before-parse.neptunedata", spoil)
        return describe(hook)

    with pytest.raises(NeptuneMLUnreachableError, match=NOT_NEPTUNES) as caught:
        answered(spoiled, 200, {})
    assert caught.value.transient


def test_own_mistakes_are_not_hidden(answered: Callable[..., Any]) -> None:
    """What is raised outside of botocore's parser stays what it is."""

    def wrong(hook: NeptuneMLHook) -> Any:
        def fail(**_: Any) -> None:
            raise AttributeError("ours")

        hook.conn.meta.events.register("before-call.neptunedata", fail)
        return describe(hook)

    with pytest.raises(AttributeError, match="ours"):
        answered(wrong, 200, {})


@pytest.mark.parametrize("body", [{"code": ["x"]}, {"code": {"a": 1}, "message": 5}, {"detailedMessage": []}])
@pytest.mark.parametrize(("status", "transient"), [(503, True), (400, False)])
def test_error_of_no_form(answered: Callable[..., Any], status: int, transient: bool, body: object) -> None:
    """The status says what an error means that has nothing else to say."""
    with pytest.raises(NeptuneMLServiceError, match=FOREIGN.format(status)) as caught:
        answered(describe, status, body)

    assert caught.value.transient is transient


@pytest.mark.parametrize("code", [{"code": 400}, {"code": None}, {}, {"code": []}])
def test_error_without_a_code(answered: Callable[..., Any], code: dict[str, Any]) -> None:
    """The text of an error is kept where its code is a number, or missing."""
    with pytest.raises(NeptuneMLServiceError, match="not started: 400: Invalid ML instance type") as caught:
        answered(start, 400, {**code, "detailedMessage": "Invalid ML instance type.", "requestId": "r-1"})

    assert (caught.value.detail, caught.value.request_id) == ("Invalid ML instance type.", "r-1")
    assert not caught.value.ambiguous


def test_error_with_a_code_that_boto3_does_not_know(answered: Callable[..., Any]) -> None:
    """Nothing of it is lost."""
    body = {"code": "BrandNewException", "detailedMessage": "So it is.", "requestId": "r-1"}
    with pytest.raises(
        NeptuneMLServiceError, match=r"400 BrandNewException: So it is\..* request id r-1"
    ) as caught:
        answered(describe, 400, body)

    assert (caught.value.code, caught.value.detail) == ("BrandNewException", "So it is.")


def test_text_of_an_error_that_is_not_neptunes(answered: Callable[..., Any]) -> None:
    """What a gateway says is shown behind what it is."""
    with pytest.raises(NeptuneMLServiceError, match=FOREIGN.format(404) + r": No such route\. Check host"):
        answered(describe, 404, {"message": "No such route"})


FORGED = "a\n[2026-01-01] ERROR b\x1b[31m\u202e\x00" + "x" * 5000


def test_error_is_one_line(answered: Callable[..., Any]) -> None:
    """Nothing that a reply says forges a line of the log, or fills it."""
    body = {"code": FORGED, "detailedMessage": FORGED, "requestId": FORGED}
    with pytest.raises(NeptuneMLServiceError) as caught:
        answered(describe, 400, body)

    for text in (str(caught.value), caught.value.code, caught.value.detail, caught.value.request_id):
        assert text.isprintable()
        assert len(text) < 5000
    assert caught.value.detail.startswith("a [2026-01-01] ERROR bxxx")


@pytest.mark.parametrize("member", ["status", "failureReason", "cloudwatchLogUrl", "name"])
def test_failure_is_one_line(answered: Callable[..., Any], member: str) -> None:
    """Nor does what it says of a stage; a link that isn't https is not shown."""
    description = {"status": "Failed", "hpoJob": {"status": "Failed", "failureReason": "No.", member: FORGED}}

    with pytest.raises(NeptuneMLFailedError) as caught:
        answered(lambda hook: hook.wait("modeltraining", "mine"), 200, description)

    first, second = str(caught.value).split("\n")
    assert first.isprintable()
    assert second.isprintable()
    assert second.startswith("CloudWatch log group ")
    assert len(str(caught.value)) < 2500


def test_link_that_is_not_https(answered: Callable[..., Any]) -> None:
    """A link that isn't https is not shown; one that is, is."""
    for url, shown in (("http://evil.example/", False), ("https://console.aws.amazon.com/x#a:b", True)):
        description = {"status": "Failed", "hpoJob": {"status": "Failed", "cloudwatchLogUrl": url}}
        with pytest.raises(NeptuneMLFailedError) as caught:
            answered(lambda hook: hook.wait("modeltraining", "mine"), 200, description)
        assert (url in str(caught.value)) is shown


@pytest.mark.parametrize("body", [{"hpoJob": {"status": 5}}, {"status": 5}, {"hpoJob": []}, []])
def test_wait_in_the_triggerer(
    connection: dict[str, Any], monkeypatch: pytest.MonkeyPatch, body: object
) -> None:
    """A trigger goes on after an odd reply, and ends with an event."""

    def answer(_: bytes, __: int, before: int) -> bytes:
        return reply(200, {"status": "Completed"} if before else body)

    with serve(answer) as (port, requests):
        connect(monkeypatch, connection, port=port)
        trigger = NeptuneMLJobTrigger(kind="modeltraining", resource_id="mine", poll_interval=0.01)

        assert first_event(trigger).payload["status"] == "success"
        assert len(requests) == 2


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_good_replies_stay_as_they_are(
    connection: dict[str, Any], simulator: Simulator, kind: ResourceKind
) -> None:
    """What the service says rightly is handed on whole."""
    simulator.seed(kind.name, "mine")

    assert NeptuneMLHook().describe(kind, "mine") == json.loads(
        json.dumps(simulator.describe(kind.name, "mine"))
    )
