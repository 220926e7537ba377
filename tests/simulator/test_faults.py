"""Every fault, seen through a plain boto3 client."""

from __future__ import annotations

import time
from contextlib import closing, suppress
from http.client import HTTPConnection, IncompleteRead
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    ReadTimeoutError,
)

from airflow_provider_neptune_ml.kinds import DATA_PROCESSING, ENDPOINTS, MODEL_TRAINING, ResourceKind
from airflow_provider_neptune_ml.simulator import Fault, Simulator
from airflow_provider_neptune_ml.simulator.faults import FAULTS
from tests.simulator.steps import STARTS, call, refusal, start
from tests.simulator.wire import send

if TYPE_CHECKING:
    from tests.simulator.conftest import ClientMaker

GET = MODEL_TRAINING.get_operation
ERROR_FAULTS = {
    "too_many_requests": (429, "TooManyRequestsException"),
    "throttling": (500, "ThrottlingException"),
    "internal_failure": (500, "InternalFailureException"),
    "server_shutdown": (500, "ServerShutdownException"),
    "client_timeout": (408, "ClientTimeoutException"),
    "read_only": (400, "ReadOnlyViolationException"),
    "expired_token": (403, "AccessDeniedException"),
    "access_denied": (403, "AccessDeniedException"),
    "unavailable": (503, "503"),
    "html": (502, "502"),
}
BROKEN_FAULTS: dict[str, type[Exception]] = {
    "reset": ConnectionClosedError,
    "binary": UnicodeDecodeError,
}
# botocore takes a body that it can't parse, or (1.44, not 1.37) that ends too soon, for an empty reply.
EMPTY_FAULTS = ("cut", "garbled")


@pytest.fixture
def job(simulator: Simulator) -> str:
    """A training job at work."""
    simulator.seed(MODEL_TRAINING.name, "job-1", MODEL_TRAINING.statuses.running)
    return "job-1"


def test_every_fault_is_tested_here() -> None:
    """No fault is without a test in this module."""
    assert set(FAULTS) == {*ERROR_FAULTS, *BROKEN_FAULTS, *EMPTY_FAULTS, "slow", "refused"}


@pytest.mark.parametrize(("fault", "expected"), ERROR_FAULTS.items())
def test_error_answers(
    client: Any, simulator: Simulator, job: str, fault: str, expected: tuple[int, str]
) -> None:
    """An error answer has its HTTP status and code, once, and the next call is answered honestly."""
    simulator.add_fault(Fault(fault))

    assert refusal(client, GET, id=job)[:2] == expected
    assert call(client, GET, id=job)["id"] == job
    assert [request.fault for request in simulator.journal] == [fault, None]
    assert simulator.journal[0].status == expected[0]


def test_other_statuses_and_codes(client: Any, simulator: Simulator, job: str) -> None:
    """An error can have another HTTP status and code than usual, a proxy's answer another status."""
    simulator.add_fault(Fault("throttling", status=400, code="SlowDown"))
    simulator.add_fault(Fault("unavailable", status=504))

    assert refusal(client, GET, id=job)[:2] == (400, "SlowDown")
    assert refusal(client, GET, id=job)[:2] == (504, "504")
    assert [request.code for request in simulator.journal] == ["SlowDown", None]


def test_expired_credentials(client: Any, simulator: Simulator, job: str) -> None:
    """Expired credentials are told by the text alone, as by the service."""
    simulator.add_fault(Fault("expired_token"))

    assert refusal(client, GET, id=job)[1:] == (
        "AccessDeniedException",
        "The security token included in the request is expired",
    )


def test_other_texts(client: Any, simulator: Simulator, job: str) -> None:
    """An error, and a proxy's answer, can have a text of its own, an empty one too."""
    for text in ("User: x is not authorized", ""):
        simulator.add_fault(Fault("access_denied", text=text))
        assert refusal(client, GET, id=job) == (403, "AccessDeniedException", text)
    simulator.add_fault(Fault("html", text="<h1>Blocked by the firewall: é</h1>", status=403))

    assert send(simulator, "GET", f"/ml/modeltraining/{job}") == (403, "<h1>Blocked by the firewall: é</h1>")


@pytest.mark.parametrize(("fault", "error"), BROKEN_FAULTS.items())
def test_broken_answers(
    client: Any, simulator: Simulator, job: str, fault: str, error: type[Exception]
) -> None:
    """A connection that is reset, or an answer that isn't text, raises in the client."""
    simulator.add_fault(Fault(fault))

    with pytest.raises(error):
        call(client, GET, id=job)
    assert call(client, GET, id=job)["id"] == job
    assert simulator.journal[0].status == (200 if fault == "binary" else None)


@pytest.mark.parametrize("fault", EMPTY_FAULTS)
def test_answers_that_botocore_takes_for_empty(
    client: Any, simulator: Simulator, job: str, fault: str
) -> None:
    """An answer that is cut or garbled passes in boto3 for a good one without any member."""
    simulator.add_fault(Fault(fault, when="after"))

    with suppress(ConnectionClosedError):  # older botocores notice that the body is cut
        assert call(client, GET, id=job) == {}
    assert call(client, GET, id=job)["id"] == job


@pytest.mark.parametrize(("fault", "error"), [("cut", IncompleteRead), ("reset", ConnectionResetError)])
def test_connections_really_break_off(
    simulator: Simulator, job: str, fault: str, error: type[Exception]
) -> None:
    """On the wire the body is shorter than announced, or the connection is reset."""
    simulator.add_fault(Fault(fault, when="after"))

    with closing(HTTPConnection(simulator.host, simulator.port, timeout=60)) as connection:
        connection.request("GET", f"/ml/modeltraining/{job}")
        with pytest.raises(error):
            connection.getresponse().read()


@pytest.mark.parametrize("when", ["before", "after"])
def test_slow_answers(make_client: ClientMaker, when: str) -> None:
    """A slow answer runs into the client's read timeout; the journal has the call already, and once."""
    with Simulator(clock="manual") as simulator:
        client = make_client(simulator, config={"read_timeout": 0.2})
        simulator.add_fault(Fault("slow", seconds=3600, when=when))

        with pytest.raises(ReadTimeoutError):
            call(client, DATA_PROCESSING.start_operation, id="job-1", **STARTS[DATA_PROCESSING.name])
        while not simulator.journal:  # a client may give up before its request was read
            time.sleep(0.01)
        assert [request.status for request in simulator.journal] == [None]

    # What is held back is let go at the end.
    assert [request.status for request in simulator.journal] == [200]
    assert simulator.describe(DATA_PROCESSING.name, "job-1")


def test_slow_answers_come_in_the_end(client: Any, simulator: Simulator, job: str) -> None:
    """A slow answer is held back for its seconds, and comes."""
    simulator.add_fault(Fault("slow", seconds=0.3))
    began = time.monotonic()

    assert call(client, GET, id=job)["id"] == job
    assert time.monotonic() - began >= 0.3
    assert [(request.status, request.fault) for request in simulator.journal] == [(200, "slow")]


def test_refused_connections(client: Any, simulator: Simulator, job: str) -> None:
    """Nobody listens for a time; then the same port answers again, with the same jobs."""
    simulator.add_fault(Fault("refused", seconds=60.0))
    with pytest.raises(EndpointConnectionError):
        call(client, GET, id=job)

    simulator.clear_faults()
    assert call(client, GET, id=job)["id"] == job


def test_refused_connections_end_by_themselves(client: Any, simulator: Simulator, job: str) -> None:
    """An outage ends after its seconds."""
    simulator.add_fault(Fault("refused", seconds=0.1))
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            assert call(client, GET, id=job)["id"] == job
        except EndpointConnectionError:
            continue
        break
    else:
        pytest.fail("the simulator didn't come back")


@pytest.mark.parametrize("fault", [*ERROR_FAULTS, *BROKEN_FAULTS, *EMPTY_FAULTS])
def test_work_can_be_done_before_the_answer_is_lost(
    client: Any, simulator: Simulator, kind: ResourceKind, fault: str
) -> None:
    """With when="after" the start is carried out and only its answer is lost."""
    for when in ("before", "after"):
        simulator.add_fault(Fault(fault, operation=kind.start_operation, when=when))
        with suppress(ClientError, *BROKEN_FAULTS.values()):
            assert start(client, simulator, kind, when) == {}

    with pytest.raises(KeyError):
        simulator.describe(kind.name, "before")
    assert simulator.describe(kind.name, "after")["id"] == "after"


def test_rules_choose_their_requests(client: Any, simulator: Simulator) -> None:
    """A rule hits only its operation, kind and id, after those it lets through, as often as it says."""
    for id_ in ("a", "b"):
        simulator.seed(MODEL_TRAINING.name, id_)
        simulator.seed(ENDPOINTS.name, id_)
    simulator.add_fault(
        Fault("internal_failure", operation=GET, resource=MODEL_TRAINING.name, id="b", times=2, skip=1)
    )

    assert call(client, GET, id="a")
    assert call(client, ENDPOINTS.get_operation, id="b")
    assert call(client, MODEL_TRAINING.list_operation)
    assert call(client, GET, id="b"), "the first one is let through"
    assert [refusal(client, GET, id="b")[0] for _ in range(2)] == [500, 500]
    assert call(client, GET, id="b"), "it is used up"
    assert simulator.faults == []


def test_endless_rule_is_cleared(client: Any, simulator: Simulator, job: str) -> None:
    """A rule with times=None stays until it is cleared."""
    simulator.add_fault(Fault("too_many_requests", times=None))
    assert [refusal(client, GET, id=job)[0] for _ in range(4)] == [429] * 4

    simulator.clear_faults()
    assert call(client, GET, id=job)


def test_real_sdk_retries_over_a_fault(simulator: Simulator, make_client: ClientMaker, job: str) -> None:
    """A client with botocore's default retries gets its answer in spite of a fault."""
    client = make_client(simulator, config={"retries": {"total_max_attempts": 3, "mode": "standard"}})
    simulator.add_fault(Fault("too_many_requests"))

    assert call(client, GET, id=job)["id"] == job
    assert [request.status for request in simulator.calls(GET)] == [429, 200]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"kind": "bad weather"}, "kind="),
        ({"kind": "slow", "when": "during"}, "when="),
        ({"kind": "slow", "operation": "GetEngineStatus"}, "operation="),
        ({"kind": "slow", "resource": "jobs"}, "resource="),
        ({"kind": "slow", "times": 0}, "times"),
        ({"kind": "slow", "seconds": -1.0}, "seconds"),
        ({"kind": "refused", "id": "job-1"}, "refused"),
        ({"kind": "html", "code": "SlowDown"}, "code="),
        ({"kind": "slow", "status": 500}, "status="),
    ],
)
def test_rules_that_make_no_sense(arguments: dict[str, Any], word: str) -> None:
    """A rule that could never do what it says is refused where it is written."""
    with pytest.raises(ValueError, match=word):
        Fault(**arguments)
