"""The simulator as a thing that starts, listens, stops and remembers."""

from __future__ import annotations

import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from airflow.models.connection import Connection
from botocore.exceptions import ConnectionClosedError, EndpointConnectionError

from airflow_provider_neptune_ml.kinds import (
    ALL_KINDS,
    DATA_PROCESSING,
    ENDPOINTS,
    MODEL_TRAINING,
    ResourceKind,
)
from airflow_provider_neptune_ml.simulator import Fault, Simulator
from airflow_provider_neptune_ml.simulator.faults import FAULTS
from tests.simulator.steps import call, get, refusal, start

if TYPE_CHECKING:
    from tests.simulator.conftest import ClientMaker


def our_threads() -> list[str]:
    """The simulator's threads that are alive."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("neptune-ml-simulator")]


def test_nothing_is_left_after_stop(make_client: ClientMaker) -> None:
    """Stopping ends the thread and frees the port, also while a client waits for an answer."""
    before = our_threads()
    with Simulator() as simulator:
        client = make_client(simulator, config={"read_timeout": 0.1})
        simulator.add_fault(Fault("slow", seconds=60.0))
        with pytest.raises(Exception, match="timeout"):
            call(client, ENDPOINTS.list_operation)
        address = (simulator.host, simulator.port)

    assert our_threads() == before
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


def test_stop_during_an_outage() -> None:
    """Stopping while connections are refused leaves nothing behind either."""
    before = our_threads()
    with Simulator() as simulator:
        simulator.add_fault(Fault("refused", seconds=60.0))

    assert our_threads() == before


def test_answers_while_the_log_is_locked(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A task that a signal stops in the middle of a line of its log gets answers in the same process."""
    caplog.set_level("INFO")
    lock = caplog.handler.lock
    assert lock
    with lock:
        assert call(client, ENDPOINTS.list_operation)["ids"] == []


def test_restart_keeps_port_and_resources(make_client: ClientMaker) -> None:
    """A simulator that was stopped starts again on its port with its resources."""
    simulator = Simulator()
    with simulator:
        simulator.seed(ENDPOINTS.name, "one")
        url = simulator.url
    with simulator:
        assert simulator.url == url
        assert get(make_client(simulator), ENDPOINTS, "one")


def test_stop_without_start() -> None:
    """Stopping what never started, or stopping twice, is no error."""
    simulator = Simulator()
    simulator.stop()
    simulator.stop()


def test_port_in_use(simulator: Simulator) -> None:
    """A port that is taken is an OSError in the caller, and leaves no thread."""
    before = our_threads()
    with pytest.raises(OSError, match="in use"):
        Simulator(port=simulator.port).start()

    assert our_threads() == before


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_other_than_loopback_needs_a_word(host: str) -> None:
    """Only loopback addresses are listened on unless remote ones are allowed."""
    with pytest.raises(ValueError, match="allow_remote"):
        Simulator(host=host)
    assert Simulator(host=host, allow_remote=True)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"clock": "sundial"}, "clock="),
        ({"not_found": "500"}, "not_found="),
        ({"lists": "some"}, "lists="),
        ({"speed": 0.0}, "speed="),
        ({"journal_size": 0}, "journal_size="),
        ({"ssl_keyfile": "key.pem"}, "ssl_certfile"),
        ({"state_file": "/nowhere/state.json"}, "state_file="),
        ({"durations": {"jobs": {}, "x": {"y": 1.0}}}, "durations"),
        ({"durations": {"modeltraining": {"cooking": 1.0}}}, "no stage 'cooking'"),
        ({"durations": {"modeltraining": {"hpoJob": -1.0}}}, "negative"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, Any], word: str) -> None:
    """A wrong setting is refused by name before anything listens."""
    with pytest.raises(ValueError, match=word):
        Simulator(**settings)


def test_connection_is_one_that_airflow_reads(simulator: Simulator) -> None:
    """Airflow reads type, host, port, schema and extras from the URI and from the JSON form alike."""
    by_uri = Connection(conn_id="x", uri=simulator.connection_uri)
    by_json = Connection.from_json(json.dumps(simulator.connection), conn_id="y")
    for connection in (by_uri, by_json):
        assert connection.conn_type == "neptune_ml"
        assert (connection.host, connection.port) == (simulator.host, simulator.port)
        assert connection.schema == "http"
        flags = {"iam_auth": False, "export_iam_auth": False}
        others = {"region_name": "us-east-1", "export_api_url": simulator.export_api_url}
        assert connection.extra_dejson == {**flags, **others} or (
            connection.extra_dejson == {**dict.fromkeys(flags, "false"), **others}
        )


def test_many_threads_at_once(simulator: Simulator, make_client: ClientMaker) -> None:
    """Clients and the Python side may use it from many threads at the same time."""
    client = make_client(simulator, config={"max_pool_connections": 8})

    def work(number: int) -> str:
        simulator.advance(1.0)
        start(client, simulator, DATA_PROCESSING, f"job-{number}")
        simulator.finish(DATA_PROCESSING.name, f"job-{number}")
        simulator.overview()
        return str(get(client, DATA_PROCESSING, f"job-{number}")["status"])

    with ThreadPoolExecutor(8) as pool:
        ends = set(pool.map(work, range(80)))

    assert ends == {DATA_PROCESSING.statuses.succeeded}
    assert len(simulator.calls(DATA_PROCESSING.start_operation)) == 80


def test_one_of_many_equal_starts_wins(simulator: Simulator, make_client: ClientMaker) -> None:
    """Of many starts with one id at the same time exactly one is carried out."""
    client = make_client(simulator, config={"max_pool_connections": 8})

    def work(_: int) -> bool:
        try:
            return bool(start(client, simulator, DATA_PROCESSING, "the-one"))
        except client.exceptions.InvalidParameterException:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(work, range(24))) == 1


def control(
    simulator: Simulator, command: str, content_type: str = "application/json", **arguments: Any
) -> Any:
    """Call the control API over HTTP; return its answer, with the status where it isn't 200."""
    request = Request(
        f"{simulator.url}/_simulator/{command}",
        data=json.dumps(arguments).encode(),
        headers={"Content-Type": content_type},
        method="POST",
    )
    try:
        with urlopen(request, timeout=60) as response:
            return json.load(response)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)["error"]


def look(simulator: Simulator, what: str) -> Any:
    """Read from the control API."""
    with urlopen(f"{simulator.url}/_simulator/{what}", timeout=60) as response:
        return json.load(response)


def test_control_over_http(client: Any, simulator: Simulator, kind: ResourceKind) -> None:
    """The Python methods are there over HTTP, under the same names and with the same arguments."""
    stage = kind.stages[0].member
    assert control(simulator, "seed", kind=kind.name, id="a", status=kind.statuses.running) == {
        "result": None
    }
    assert control(simulator, "finish", kind=kind.name, id="a") == {"result": None}
    assert control(simulator, "describe", kind=kind.name, id="a")["result"] == get(client, kind, "a")
    control(simulator, "seed", kind=kind.name, id="b", status=kind.statuses.running)
    control(simulator, "fail", kind=kind.name, id="b", reason="why not", stage=stage)
    assert get(client, kind, "b")[stage]["failureReason"] == "why not"
    control(simulator, "seed", kind=kind.name, id="c", status=kind.statuses.running)
    control(simulator, "set_status", kind=kind.name, id="c", status="Odd")
    assert get(client, kind, "c")["status"] == "Odd"
    control(simulator, "stop_job", kind=kind.name, id="c")
    control(simulator, "script", kind=kind.name, id="d", fail_stage=stage, seconds={stage: 1.0})
    start(client, simulator, kind, "d")
    control(simulator, "advance", seconds=1.0)
    assert get(client, kind, "d")["status"] == kind.statuses.failed
    control(simulator, "add_fault", kind="internal_failure", operation=kind.list_operation)
    assert look(simulator, "faults")["faults"][0]["operation"] == kind.list_operation
    assert refusal(client, kind.list_operation)[0] == 500
    requests = look(simulator, f"journal?operation={kind.list_operation}")["requests"]
    assert [(request["status"], request["fault"]) for request in requests] == [(500, "internal_failure")]
    control(simulator, "add_fault", kind="throttling")
    control(simulator, "clear_faults")
    control(simulator, "reset")
    assert call(client, kind.list_operation) == {"ids": []}


def test_outage_over_http(simulator: Simulator, client: Any) -> None:
    """The one who asks for an outage gets an answer before it begins."""
    assert control(simulator, "add_fault", kind="refused", seconds=60.0) == {"result": None}
    with pytest.raises((EndpointConnectionError, ConnectionClosedError)):
        list(iter(lambda: call(client, ENDPOINTS.list_operation), None))
    simulator.clear_faults()

    assert call(client, ENDPOINTS.list_operation) == {"ids": []}


@pytest.mark.parametrize(
    ("command", "arguments", "status", "text"),
    [
        ("launch", {}, 404, "is none of"),
        ("finish", {"kind": "modeltraining", "id": "nobody"}, 404, "no model training job 'nobody'"),
        ("finish", {"kind": "jobs", "id": "nobody"}, 400, "kind='jobs'"),
        ("finish", {"kind": "modeltraining"}, 400, "missing a required argument: 'id'"),
        ("finish", {"kind": "modeltraining", "id": "a", "colour": 1}, 400, "colour"),
        ("advance", {"seconds": "soon"}, 400, "seconds='soon': must be a valid float"),
        ("script", {"kind": "modeltraining", "fail_stage": "cooking"}, 400, "stage='cooking'"),
        ("add_fault", {"kind": "rain"}, 400, "must be one of"),
    ],
)
def test_control_says_what_is_wrong(
    simulator: Simulator, command: str, arguments: dict[str, Any], status: int, text: str
) -> None:
    """A wrong command or argument is answered with what is wrong with it."""
    answer = control(simulator, command, **arguments)

    assert answer[0] == status
    assert text in answer[1]


def test_control_is_not_for_other_sites(simulator: Simulator) -> None:
    """A form on another site's page can't pull the strings: the content type must be JSON's."""
    assert control(simulator, "reset", content_type="text/plain")[0] == 415


def test_every_fault_can_be_asked_for_over_http(simulator: Simulator) -> None:
    """The control API takes each kind of fault; those that hit nothing stay."""
    for fault in FAULTS:
        if fault != "refused":
            control(simulator, "add_fault", kind=fault, id="nobody")

    assert len(simulator.faults) == len(FAULTS) - 1


def test_status_page_data(client: Any, simulator: Simulator, kind: ResourceKind) -> None:
    """The page's data have each resource with its stages and its last caller."""
    start(client, simulator, kind)
    get(client, kind)
    state = look(simulator, "state")
    shown = next(one for one in state["kinds"][kind.name] if one["id"] == "job-1")

    assert state["connection_uri"] == simulator.connection_uri
    assert [stage["title"] for stage in shown["stages"]] == [stage.title for stage in kind.stages]
    assert shown["look"] == "running"
    assert shown["last_call"][1] == kind.get_operation
    assert list(state["kinds"]) == list(ALL_KINDS)


def test_status_page_is_locked_up(simulator: Simulator) -> None:
    """The page may load nothing but itself, and never builds markup from data."""
    with urlopen(simulator.url, timeout=60) as response:
        page = response.read().decode()
        policy = response.headers["Content-Security-Policy"]

    assert "default-src 'none'" in policy
    for dangerous in ("innerHTML", "insertAdjacentHTML", "document.write", "eval(", "http://", "https://"):
        assert dangerous not in page


def test_failing_job_of_the_default_names(simulator: Simulator) -> None:
    """The default failure reason is SageMaker's."""
    simulator.seed(MODEL_TRAINING.name, "job-1", MODEL_TRAINING.statuses.running)
    simulator.fail(MODEL_TRAINING.name, "job-1")

    part = simulator.describe(MODEL_TRAINING.name, "job-1")["processingJob"]
    assert part["failureReason"] == "AlgorithmError: See job logs for more information"
