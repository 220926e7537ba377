"""No value, wherever it comes in, breaks what is shown, kept or started afterwards."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_neptune_ml.hooks.neptune_ml import NeptuneMLHook
from airflow_provider_neptune_ml.kinds import DATA_PROCESSING, ENDPOINTS, MODEL_TRAINING
from airflow_provider_neptune_ml.simulator import Fault, Simulator
from airflow_provider_neptune_ml.simulator.intake import MOST_BODY_BYTES
from airflow_provider_neptune_ml.simulator.journal import MOST_BYTES
from tests.simulator.steps import start
from tests.simulator.wire import control, send

if TYPE_CHECKING:
    from tests.simulator.conftest import ClientMaker

JOB = {"kind": MODEL_TRAINING.name, "id": "mine"}
HALF = "\ud800"


def assert_sound(simulator: Simulator, client: Any) -> None:
    """Everything that shows the cluster still does, and a job can be started."""
    for what in ("state", "journal", "faults"):
        assert send(simulator, "GET", f"/_simulator/{what}")[0] == 200
    assert start(client, simulator, DATA_PROCESSING, None)["id"]


@pytest.mark.parametrize(
    ("command", "arguments", "text"),
    [
        ("advance", '{"seconds": NaN}', "no number of JSON's"),
        ("advance", '{"seconds": 1e999}', "inf is no number"),
        ("advance", {"seconds": 1e18}, "seconds=1e+18: the clock"),
        ("advance", {"seconds": 10**400}, "seconds=1000"),
        ("advance", {"seconds": True}, "seconds=True: must be a valid float"),
        ("seed", {"kind": ENDPOINTS.name, "id": HALF}, "surrogates"),
        ("seed", {"kind": ENDPOINTS.name, "id": 5}, "id=5: must be a valid str"),
        ("seed", {"kind": ["endpoints"], "id": "a"}, "kind=['endpoints']"),
        ("seed", {"kind": ENDPOINTS.name, "id": "a", "status": 5}, "status=5"),
        ("set_status", {**JOB, "status": 5}, "status=5"),
        ("set_status", {**JOB, "status": HALF}, "surrogates"),
        ("fail", {**JOB, "reason": ["why"]}, "reason=['why']"),
        ("script", {**JOB, "seconds": {"hpoJob": "soon"}}, "seconds={'hpoJob': 'soon'}"),
        ("script", {**JOB, "seconds": {"hpoJob": -1}}, "seconds={'hpoJob': -1}"),
        ("script", {**JOB, "seconds": 5}, "seconds=5"),
        ("add_fault", {"kind": "slow", "seconds": "1"}, "seconds='1'"),
        ("add_fault", {"kind": ["slow"]}, "kind=['slow']"),
        ("describe", "[" * 100_000, "nested too deeply"),
        ("describe", '{"id": ' + "[" * 40 + "]" * 40 + "}", "nested too deeply"),
        ("describe", "{", "Expecting"),
        ("describe", [JOB], "must be a JSON object"),
    ],
)
def test_control_refuses(simulator: Simulator, client: Any, command: str, arguments: Any, text: str) -> None:
    """Values that could not be shown or kept are refused with their name, and change nothing."""
    simulator.seed(JOB["kind"], JOB["id"], MODEL_TRAINING.statuses.running)
    status, answer = control(simulator, command, arguments)

    assert status == 400
    assert text in answer["error"]
    assert_sound(simulator, client)


@pytest.mark.parametrize(
    "body",
    [
        b'{"id": "a", "volumeEncryptionKMSKey": NaN}',
        b'{"id": "a", "processingTimeOutInSeconds": 1e999}',
        b'{"id": "a", "modelType": "\\ud800"}',
        b'{"id": "\\ud800"}',
        b"[" * 100_000,
        b'{"subnets": ' + b"[" * 200 + b"]" * 200 + b"}",
    ],
)
def test_start_refuses(simulator: Simulator, client: Any, body: bytes) -> None:
    """A start whose body could not be shown again is refused as no JSON, and the journal has it."""
    status, answer = send(simulator, "POST", "/ml/dataprocessing", body=body)

    assert (status, answer["code"]) == (400, "BadRequestException")
    assert [request.status for request in simulator.journal] == [400]
    assert_sound(simulator, client)


@pytest.mark.parametrize(
    ("method", "arguments", "text"),
    [
        ("advance", {"seconds": float("nan")}, "seconds=nan"),
        ("advance", {"seconds": 1e18}, "year 9999"),
        ("seed", {"kind": ENDPOINTS.name, "id": HALF}, "id="),
        ("set_status", {**JOB, "status": 5}, "status=5: must be a valid str | None"),
        ("fail", {**JOB, "reason": HALF}, "reason="),
        ("script", {"kind": ENDPOINTS.name, "seconds": {"endpoint": float("nan")}}, "seconds="),
    ],
)
def test_python_side_refuses(simulator: Simulator, method: str, arguments: dict[str, Any], text: str) -> None:
    """The Python side refuses the same values as the HTTP one."""
    with pytest.raises(ValueError, match=text.replace("|", r"\|")):
        getattr(simulator, method)(**arguments)


def test_stage_without_end(simulator: Simulator, client: Any) -> None:
    """A stage that lasts for ever has no end in the page's data."""
    simulator.script(MODEL_TRAINING.name, seconds={"processingJob": float("inf")})
    start(client, simulator, MODEL_TRAINING)
    stages = next(
        one["stages"] for one in simulator.overview()["kinds"][MODEL_TRAINING.name] if one["id"] == "job-1"
    )

    assert [(stage["starts"] is None, stage["ends"] is None) for stage in stages] == [
        (False, True),
        (True, True),
        (True, True),
    ]
    assert_sound(simulator, client)


def test_end_of_time(make_client: ClientMaker) -> None:
    """A clock that runs too fast stops in the year 9999, and jobs can be started then."""
    with Simulator(speed=1e300) as simulator:
        client = make_client(simulator)
        assert_sound(simulator, client)
        assert simulator.now() == 253402300799.0
        with pytest.raises(ValueError, match="year 9999"):
            simulator.advance(1)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"speed": float("nan")}, "speed=nan"),
        ({"speed": float("inf")}, "speed=inf"),
        ({"speed": "fast"}, "speed='fast'"),
        ({"appears_after": float("nan")}, "appears_after=nan"),
        ({"appears_after": -1.0}, "appears_after=-1.0"),
        ({"journal_size": 1.5}, "journal_size=1.5"),
        ({"port": "8182"}, "port='8182'"),
        ({"allowed_hosts": "name"}, "allowed_hosts='name'"),
        ({"region": HALF}, "region="),
        ({"durations": {"modeltraining": {"hpoJob": float("nan")}}}, "durations="),
        ({"durations": {"modeltraining": 5}}, "durations="),
    ],
)
def test_settings_refuse(settings: dict[str, Any], text: str) -> None:
    """Settings of wrong types, and NaN, are refused by name."""
    with pytest.raises(ValueError, match=text):
        Simulator(**settings)


@pytest.mark.parametrize(
    "arguments",
    [
        {"kind": "slow", "seconds": float("nan")},
        {"kind": "slow", "seconds": float("inf")},
        {"kind": "refused", "seconds": 1e300},
        {"kind": "throttling", "seconds": 5.0},
        {"kind": "throttling", "times": "2"},
        {"kind": "throttling", "times": True},
        {"kind": "throttling", "skip": 0.5},
        {"kind": "throttling", "status": 99},
        {"kind": "throttling", "status": 600},
        {"kind": "throttling", "status": 204},
        {"kind": "html", "status": 304},
        {"kind": "throttling", "status": "500"},
        {"kind": "throttling", "code": ""},
        {"kind": "throttling", "id": ""},
        {"kind": "throttling", "id": HALF},
        {"kind": "throttling", "text": HALF},
        {"kind": "garbled", "text": "text"},
        {"kind": "throttling", "operation": "ListMLEndpoints", "id": "one"},
        {"kind": "throttling", "operation": "GetMLEndpoint", "resource": "modeltraining"},
        {"kind": "refused", "times": 2},
        {"kind": "refused", "skip": 1},
        {"kind": "refused", "when": "after"},
    ],
)
def test_faults_refuse(arguments: dict[str, Any]) -> None:
    """A fault that could never do what it says is refused, with the name of the argument."""
    with pytest.raises(ValueError, match=f"{list(arguments)[-1]}\\b"):
        Fault(**arguments)


def test_outage_of_what_is_not_started() -> None:
    """Nobody can refuse connections before the simulator listens."""
    with pytest.raises(ValueError, match="isn't started"):
        Simulator().add_fault(Fault("refused"))


def test_control_body_is_bounded(simulator: Simulator, client: Any) -> None:
    """A body for the control API is not read beyond its limit."""
    status, answer = control(simulator, "seed", {**JOB, "status": "x" * MOST_BODY_BYTES})

    assert (status, answer) == (413, {"error": f"the body has more than {MOST_BODY_BYTES} bytes"})
    assert_sound(simulator, client)


def test_journal_is_bounded_by_bytes(simulator: Simulator) -> None:
    """The journal keeps the latest requests that have few enough bytes together, and counts all."""
    body = json.dumps({"id": "a b", "x": "y" * 500_000}).encode()
    for _ in range(12):
        send(simulator, "POST", "/ml/dataprocessing", body=body)

    assert len(simulator.journal) == MOST_BYTES // len(body)
    assert simulator.overview()["requests"] == 12
    simulator.reset()
    send(simulator, "POST", "/ml/dataprocessing", body=body)
    assert len(simulator.journal) == 1


def test_hook_takes_the_connection_of_an_ipv6_simulator(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a simulator on ::1 calls its connection, as JSON or as a URI, leads the hook to it."""
    with Simulator(host="::1") as simulator:
        for connection in (json.dumps(simulator.connection), simulator.connection_uri):
            monkeypatch.setenv("AIRFLOW_CONN_SIX", connection)
            hook = NeptuneMLHook(neptune_ml_conn_id="six")

            assert hook.list_ids("endpoints") == []
        assert len(simulator.calls(ENDPOINTS.list_operation)) == 2
        assert send(simulator, "GET", "/_simulator/state", [("Host", f"[::1]:{simulator.port}")])[0] == 200
