"""Any JSON in any place of a reply: an answer of the right shape, or an error of ours."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_neptune_ml.exceptions import NeptuneMLError
from airflow_provider_neptune_ml.hooks.neptune_ml import NeptuneMLHook
from airflow_provider_neptune_ml.kinds import KINDS
from airflow_provider_neptune_ml.triggers.neptune_ml import NeptuneMLJobTrigger
from tests.conftest import ONCE, connect
from tests.modes import first_event
from tests.raw_server import reply, serve

STAGE: dict[str, Any] = {
    "name": "n",
    "arn": "arn:aws:sagemaker:us-east-1:1:processing-job/n",
    "status": "Failed",
    "outputLocation": "s3://bucket/out",
    "failureReason": "AlgorithmError",
    "cloudwatchLogUrl": "https://us-east-1.console.aws.amazon.com/cloudwatch",
}
STAGES = [stage.member for kind in KINDS.values() for stage in kind.stages]
REPLY: dict[str, Any] = {
    "id": "mine",
    "ids": ["mine"],
    "status": "Failed",
    "creationTimeInMillis": 1,
    "code": "BadRequestException",
    "detailedMessage": "no",
    "requestId": "r",
    "mlModels": [{"name": "m", "arn": "a"}],
    **dict.fromkeys(STAGES, STAGE),
}
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
ANY = st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5)
STATUSES = st.sampled_from([200, 200, 200, 202, 400, 403, 404, 408, 429, 500, 503])


@st.composite
def replies(draw: st.DrawFn) -> Any:
    """Return a reply in which some members, at any depth, are something else, or not there."""

    def changed(value: Any) -> Any:
        if draw(st.integers(0, 5)) == 0:
            return draw(ANY)
        if isinstance(value, dict):
            kept = [name for name in value if draw(st.integers(0, 3))]
            return {name: changed(value[name]) for name in kept}
        return [changed(item) for item in value] if isinstance(value, list) else value

    return changed(REPLY)


def is_printable_line(error: NeptuneMLError) -> bool:
    """Tell whether no line of a message was forged."""
    return all(line.isprintable() and len(line) < 3000 for line in str(error).split("\n"))


def error_of(call: Callable[[], object]) -> NeptuneMLError | None:
    """Return the error of ours that a call raises, if it does."""
    try:
        call()
    except NeptuneMLError as error:
        return error
    return None


def checked_description(found: Any) -> None:
    """Check what describing returns."""
    assert isinstance(found, dict)
    assert found.get("id", "mine").casefold() == "mine"
    assert isinstance(found.get("status", ""), str)
    for member in STAGES:
        assert all(isinstance(value, str) for value in found.get(member, {}).values())


def test_replies(connection: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever comes: a description without what is of another type, or one of our errors on clean lines."""
    said = [b""]
    with serve(lambda *_: said[0]) as (port, _):
        connect(monkeypatch, connection, port=port)
        hook = NeptuneMLHook(config=ONCE)
        kind = KINDS["modeltraining"]

        @given(status=STATUSES, body=replies() | ANY | st.binary())
        def answer(status: int, body: Any) -> None:
            said[0] = reply(status, body)
            calls: dict[str, Callable[[], object]] = {
                "describe": lambda: checked_description(hook.describe(kind, "mine")),
                "list": partial(hook.list_ids, kind),
                "cancel": partial(hook.request_cancellation, kind, "mine"),
                "start": partial(hook.start, "endpoints", id="mine", ml_model_training_job_id="t"),
            }
            errors = {name: error for name, call in calls.items() if (error := error_of(call))}

            assert all(map(is_printable_line, errors.values()))
            # What was answered with success, and can't be read, may have been started.
            assert status >= 300 or "start" not in errors or errors["start"].ambiguous

        answer()


def test_replies_in_the_triggerer(connection: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever comes, a trigger ends with an event that Airflow can store."""
    said = [b""]
    with serve(lambda *_: said[0]) as (port, _):
        connect(monkeypatch, connection, port=port)

        @given(status=STATUSES, body=replies() | ANY)
        def answer(status: int, body: Any) -> None:
            said[0] = reply(status, body)
            trigger = NeptuneMLJobTrigger(
                kind="modeltraining",
                resource_id="mine",
                poll_interval=0.001,
                deadline=1.0,
                unreachable_timeout=0.0,
            )
            payload: Any = first_event(trigger).payload

            assert payload == json.loads(json.dumps(payload, allow_nan=False))
            assert payload["status"] in ("success", "failed", "timeout", "error")

        answer()
