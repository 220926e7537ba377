"""How long a kill asks for a cancellation: which budget applies, and for whom it is spent."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from airflow_provider_neptune_ml import cancellation
from airflow_provider_neptune_ml.compat import AIRFLOW_V_3_0_PLUS, AirflowTaskTimeout
from airflow_provider_neptune_ml.exceptions import NeptuneMLKilledError
from airflow_provider_neptune_ml.simulator import Fault, Simulator
from tests.conftest import connect, set_budgets
from tests.contexts import context
from tests.interruptions import during, interrupted, wait_begun
from tests.operators.tasks import CANCEL, GET, START, cancel, start

# Airflow 2 gives a killed task a minute.
KILL, WHILE_STARTING = ("0.4", "0.2") if AIRFLOW_V_3_0_PLUS else ("0.6", "0.6")
UNHURRIED = "0.6"


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    """A cluster that does not answer requests to cancel; the outcome tells which budget that took."""
    set_budgets(monkeypatch, kill=0.4, kill_while_starting=0.2, unhurried=0.6)
    with Simulator(clock="manual") as simulator:
        connect(monkeypatch, simulator.connection)
        simulator.seed("dataprocessing", "data-1", status="Completed")
        simulator.add_fault(Fault("slow", operation=CANCEL, times=None, seconds=3600))
        yield simulator


def test_kill_long_after_the_start(silent: Simulator) -> None:
    """A job that the service has shown gets the whole budget of a kill."""
    task = start(job_id="mine", wait_for_completion=True)

    with (
        interrupted(silent, GET, task.on_kill, calls=3),
        pytest.raises(NeptuneMLKilledError, match=rf"'mine': no answer within {KILL} s"),
    ):
        task.execute(context())


def test_kill_in_the_middle_of_the_start(silent: Simulator) -> None:
    """A job whose start is under way gets less: the main thread needs the rest to cancel it itself."""
    task = start(job_id="mine")
    outcomes: list[str] = []

    def act() -> None:
        task.on_kill()
        outcomes.append(str(task.kill._outcome))

    during(task.hook.start_conn, START, act)
    with pytest.raises(NeptuneMLKilledError):
        task.execute(context())

    assert f"'mine': no answer within {WHILE_STARTING} s" in outcomes[0]


def test_execution_timeout(silent: Simulator) -> None:
    """A task whose execution_timeout is over is in no hurry."""
    task = start(job_id="mine")
    wait_begun(task, context())

    try:
        raise AirflowTaskTimeout
    except AirflowTaskTimeout:
        task.on_kill()

    with pytest.raises(NeptuneMLKilledError, match=rf"'mine': no answer within {UNHURRIED} s"):
        task.kill.raise_if_received()


def test_kill_keeps_its_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill that gets no answer returns within its budget and says so."""
    with Simulator(clock="manual") as silent:
        connect(monkeypatch, silent.connection)
        silent.seed("modeltraining", "mine", status="InProgress")
        silent.add_fault(Fault(kind="slow", times=None, seconds=3600))
        task = cancel()

        outcome = cancellation.cancel_now(task.hook, task.kind, "mine", seconds=0.5)

        assert outcome == (False, "no answer within 0.5 s")


def test_kill_whose_budget_is_spent(simulator: Simulator, connection: dict[str, object]) -> None:
    """A kill that has no time left sends nothing more."""
    simulator.seed("modeltraining", "mine", status="InProgress")
    task = cancel()

    task.kill.aim("mine")

    task.kill.cancel(seconds=1, spent=1)

    with pytest.raises(NeptuneMLKilledError, match="'mine': no answer within 1 s"):
        task.kill.raise_if_received()
    assert not simulator.calls(CANCEL)


@pytest.mark.parametrize(("arguments", "cleans"), [({"clean": True}, "true"), ({}, "false")])
def test_kill_has_short_timeouts(
    simulator: Simulator, connection: dict[str, object], arguments: dict[str, bool], cleans: str
) -> None:
    """Each request of a kill has the short time-outs, and the second cancellation is like the first."""
    simulator.seed("modeltraining", "mine", status="InProgress")
    simulator.add_fault(Fault("access_denied", operation=CANCEL, status=404))
    task, sent = cancel(), []
    task.hook.urgent_conn.meta.events.register(
        "before-call.neptunedata", lambda model, **_: sent.append(model.name)
    )

    outcome = cancellation.cancel_now(task.hook, task.kind, "mine", **arguments)

    assert outcome == (True, "cancellation requested")
    assert sent == [CANCEL, GET, CANCEL]
    assert [request.query["clean"] for request in simulator.calls(CANCEL)] == [cleans, cleans]
