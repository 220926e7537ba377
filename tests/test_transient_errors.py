"""Every transient error, end to end: a wait retries for a while, in few lines, and not for ever."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread

import pytest

from airflow_provider_neptune_ml.hooks import neptune_ml as hooks
from airflow_provider_neptune_ml.simulator import Fault, Simulator
from tests import modes
from tests.certificates import self_signed_certificate
from tests.conftest import connect
from tests.modes import Clock, Ending, Mode, World

THROTTLING = (
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "SlowDown",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
)
EXPIRED = ("ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired")
FOREIGN = "HTTP status {}, in a form that isn't Neptune's"
NOT_NEPTUNES = "the reply is not one of Neptune's"

# Each with what a wait says of it at last.
TRANSIENT_ERRORS = [
    (
        Fault("refused", seconds=3600),
        r"can't connect to cluster 127\.0\.0\.1 \(neptune_ml_default\): Connection refused\. Check host",
    ),
    (
        Fault("reset", times=None),
        "no answer from cluster .*: Connection was closed before we received a valid response",
    ),
    (Fault("slow", times=None), "no answer from cluster .*: Read timeout on endpoint URL"),
    (Fault("client_timeout", times=None), "408 ClientTimeoutException: The request timed"),
    (Fault("too_many_requests", times=None), "429 TooManyRequestsException: Too many"),
    (
        Fault("internal_failure", times=None),
        "500 InternalFailureException: Request handling",
    ),
    (Fault("server_shutdown", times=None), "500 ServerShutdownException: The server shut"),
    (Fault("throttling", times=None), "500 ThrottlingException: Rate of requests"),
    (Fault("html", times=None), FOREIGN.format(502)),
    (Fault("unavailable", times=None), FOREIGN.format(503)),
    (Fault("html", times=None, status=504), FOREIGN.format(504)),
    (Fault("cut", times=None), f"{NOT_NEPTUNES}|no answer from cluster .*: Connection was closed"),
    (Fault("garbled", times=None), NOT_NEPTUNES),
    (Fault("binary", times=None), NOT_NEPTUNES),
    (Fault("garbled", times=None, status=500), FOREIGN.format(500)),
    (Fault("binary", times=None, status=503), FOREIGN.format(503)),
    # As Neptune answers.
    (
        Fault("expired_token", times=None, code="AccessDeniedException"),
        "403 AccessDeniedException: The security token included in the request is expired",
    ),
    *((Fault("throttling", times=None, status=400, code=code), f"400 {code}: Rate") for code in THROTTLING),
    *(
        (Fault("expired_token", times=None, status=status, code=code), f"{status} {code}: T")
        for code in EXPIRED
        for status in (400, 403)
    ),
]


def name_of(value: Fault | str) -> str:
    """Name a row by its fault."""
    parts = (value.kind, value.status, value.code) if isinstance(value, Fault) else ()
    return "-".join(str(part) for part in parts if part)


@pytest.fixture
def world(
    simulator: Simulator,
    connection: dict[str, object],
    held: Event,
    airflow_database: None,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> World:
    """A cluster with a job that goes on, and its clock for everything; what is slow is never answered."""
    return make_world(simulator, monkeypatch, capfd)


def make_world(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> World:
    """Return one on a cluster."""
    clock = Clock(simulator)
    clock.install(monkeypatch)
    simulator.seed("modeltraining", "mine", status="InProgress")
    return World(clock, logged=lambda: capfd.readouterr().out)


def survive(
    mode: Mode, world: World, begin: Callable[[], object], end: Callable[[], object] | None, **settings: float
) -> Ending:
    """Wait for a job that is seen once; then errors begin, and end, if they do, after three polls."""

    def nothing() -> None:
        pass

    def complete() -> None:
        world.simulator.finish("modeltraining", "mine")

    world.clock.then = [begin, nothing, nothing, end, complete] if end else [begin]
    return mode(world, **settings)


def hurry_if_slow(fault: Fault, world: World) -> None:
    """Have the client give up soon, but only where the test is about that."""
    if fault.kind == "slow":
        world.config["read_timeout"] = 2


def told(world: World) -> tuple[int, int]:
    """Return how often transient errors were logged, and how often their end."""
    said = world.logged()
    return said.count("Retrying for up to"), said.count("answered again after")


@pytest.mark.parametrize("fault", [fault for fault, _ in TRANSIENT_ERRORS], ids=name_of)
def test_passes(fault: Fault, world: World) -> None:
    """A series of them neither ends nor fails a wait; its beginning and its end are a line each."""
    simulator = world.simulator
    hurry_if_slow(fault, world)

    ending = survive(modes.deferrable, world, lambda: simulator.add_fault(fault), simulator.clear_faults)

    assert ending.state == "success"
    assert told(world) == (1, 1)


@pytest.mark.parametrize(("fault", "cause"), TRANSIENT_ERRORS, ids=name_of)
def test_stays(fault: Fault, cause: str, world: World) -> None:
    """Nothing else for unreachable_timeout fails a wait with the last cause."""
    hurry_if_slow(fault, world)

    ending = survive(modes.hook, world, lambda: world.simulator.add_fault(fault), None, unreachable_timeout=5)

    assert_given_up(ending, cause)
    assert told(world) == (1, 0)


@pytest.mark.parametrize("mode", [modes.hook, modes.deferrable])
@pytest.mark.parametrize("passes", [True, False])
def test_broken_handshake(
    mode: Mode,
    passes: bool,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    airflow_database: None,
    tmp_path: Path,
) -> None:
    """A TLS handshake that is broken off is a transient error like any other."""
    certificate = str(self_signed_certificate(tmp_path, "localhost"))
    monkeypatch.setenv("AWS_CA_BUNDLE", certificate)
    monkeypatch.setattr(hooks, "_SHARED", {})
    with Simulator(clock="manual", ssl_certfile=certificate) as simulator:
        connect(monkeypatch, {**simulator.connection, "host": "localhost"})
        world = make_world(simulator, monkeypatch, capfd)
        breaker = Breaker(simulator)
        try:
            ending = survive(
                mode,
                world,
                breaker.begin,
                breaker.end if passes else None,
                unreachable_timeout=30 if passes else 5,
            )
        finally:
            breaker.end()

    if passes:
        assert ending.state == "success"
    else:
        assert_given_up(ending, "TLS handshake failed")
    assert told(world) == (1, int(passes))


def assert_given_up(ending: Ending, cause: str) -> None:
    """Check that a wait has failed, with a cause."""
    assert ending.state == "up_for_retry"
    assert re.match(
        r"Model training job 'mine': only transient errors for \d+ s \(unreachable_timeout=5\)\. Last error:"
        f" Model training job 'mine': ({cause})",
        ending.message,
    ), ending.message
    assert "\n" not in ending.message


class Breaker:
    """Takes the place of a simulator and hangs up on whoever says hello."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.listening: socket.socket | None = None
        self.thread = Thread(target=self._hang_up)

    def begin(self) -> None:
        """Take its place."""
        self.simulator.stop()
        self.listening = socket.create_server(("127.0.0.1", self.simulator.port))
        self.thread.start()

    def end(self) -> None:
        """Give it back."""
        if self.listening:
            self.listening.shutdown(socket.SHUT_RDWR)
            self.thread.join()
            self.listening.close()
            self.listening = None
            self.simulator.start()

    def _hang_up(self) -> None:
        assert self.listening
        while True:
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
