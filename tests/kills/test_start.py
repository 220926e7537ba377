"""Kills, time-outs and failures before a task waits: as it looks for an earlier job, and around the start."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from threading import Event
from typing import Any

import pytest

from airflow_provider_neptune_ml import cancellation
from airflow_provider_neptune_ml.compat import AirflowFailException, AirflowTaskTimeout
from airflow_provider_neptune_ml.exceptions import (
    NeptuneMLError,
    NeptuneMLKilledError,
    NeptuneMLServiceError,
    NeptuneMLTimeoutError,
    NeptuneMLUnreachableError,
)
from airflow_provider_neptune_ml.kinds import MODEL_TRAINING
from airflow_provider_neptune_ml.operators.neptune_ml import NeptuneMLStartModelTrainingJobOperator
from airflow_provider_neptune_ml.operators.ownership import ids_of
from airflow_provider_neptune_ml.simulator import Fault, Simulator
from tests.conftest import ONCE, connect, set_budgets
from tests.contexts import RUN_BEGAN, TaskInstance, TaskStateStore, context
from tests.interruptions import (
    HANDLER_RETURNS,
    Interrupted,
    before,
    during,
    end,
    execute,
    however_ended,
    interrupted,
)
from tests.operators.tasks import CANCEL, GET, START, deploy, start, statuses

pytestmark = pytest.mark.usefixtures("connection", "completed_data")


@pytest.fixture
def lagging(monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    """A cluster that doesn't find a job for a minute after its start, on a stopped clock."""
    with Simulator(clock="manual", appears_after=60) as simulator:
        connect(monkeypatch, simulator.connection)
        simulator.seed("dataprocessing", "data-1")
        yield simulator


def asked_to_stop(simulator: Simulator) -> list[str | None]:
    """Return the ids of the trainings that somebody asked to stop."""
    return [request.id for request in simulator.calls(CANCEL)]


# Ended while the job of an earlier try is looked for


@however_ended
def test_ended_in_the_second_look_up(simulator: Simulator, ended: type[BaseException]) -> None:
    """A retry that is ended while it looks for a later job than the one it has found stops that."""
    first, second = itertools.islice(ids_of(TaskInstance(), 1, RUN_BEGAN), 2)
    simulator.seed("modeltraining", first, status="Failed")
    simulator.seed("modeltraining", second, status="InProgress")
    task = start(botocore_config=ONCE)
    during(task.hook.conn, GET, end(task, ended), call=2)

    execute(task, context(try_number=2), ended)

    assert statuses(simulator)[second] == "Stopping"
    assert asked_to_stop(simulator) == [second]


def test_teardown_finds_the_job_during_the_look_up(simulator: Simulator) -> None:
    """XCom names the job of the try before while it is looked for: the worker may be lost just then."""
    first = start().execute(context())
    task, where, named = start(), context(try_number=2), []
    task.hook.conn.meta.events.register(
        f"before-call.neptunedata.{GET}", lambda **_: named.append(where["ti"].xcoms["job_id"])
    )

    task.execute(where)

    assert named[0] == first


@however_ended
def test_ended_before_the_first_look_up(simulator: Simulator, ended: type[BaseException]) -> None:
    """A retry that is ended before it has looked for anything stops the job of the try before at once."""
    first = start().execute(context())
    before_the_retry = len(simulator.journal)
    task, where = start(), context(try_number=2)
    before(where["ti"], "xcom_push", end(task, ended))

    execute(task, where, ended)

    assert simulator.journal[before_the_retry].operation == CANCEL
    assert statuses(simulator) == {first: "Stopping"}


@however_ended
def test_ended_while_an_own_id_is_looked_up(simulator: Simulator, ended: type[BaseException]) -> None:
    """A retry that is ended while it looks at its user's id stops the job that may well be its own."""
    start(job_id="mine").execute(context())
    before_the_retry = len(simulator.journal)
    task = start(job_id="mine", botocore_config=ONCE)
    during(task.hook.conn, GET, end(task, ended))

    execute(task, context(try_number=2), ended)

    assert simulator.journal[before_the_retry].operation == CANCEL
    assert statuses(simulator) == {"mine": "Stopping"}


def test_kill_that_was_acknowledged_for_another_id(simulator: Simulator) -> None:
    """A kill that has stopped the job of a deleted Dag run stops the one that is taken over as well."""
    of_the_deleted, again = itertools.islice(ids_of(TaskInstance(), 1, RUN_BEGAN), 2)
    simulator.seed("modeltraining", of_the_deleted, status="InProgress")
    simulator.set_status("modeltraining", of_the_deleted, "Stopping")
    assert start().execute(context()) == again
    task = start(botocore_config=ONCE)
    during(task.hook.conn, GET, task.on_kill)

    execute(task, context(try_number=2), HANDLER_RETURNS)

    assert asked_to_stop(simulator) == [of_the_deleted, again]
    assert statuses(simulator)[again] == "Stopping"


def test_kill_while_looking_for_the_job_of_an_earlier_try(simulator: Simulator, held: Event) -> None:
    """A retry that is killed before it knows the job of the try before stops it as soon as it does."""
    first = start().execute(context())
    task = start()
    simulator.add_fault(Fault(kind="slow", operation=GET))

    def act() -> None:
        task.on_kill()
        held.set()

    with interrupted(simulator, GET, act), pytest.raises(NeptuneMLKilledError):
        task.execute(context(try_number=2))

    assert first is not None
    assert statuses(simulator) == {first: "Stopping"}


def test_kill_while_the_look_up_is_retried(simulator: Simulator) -> None:
    """A retry that is killed while it looks for the job of the try before stops that one."""
    first = start().execute(context())
    simulator.add_fault(Fault("too_many_requests", operation=GET, times=5))
    task = start(botocore_config=ONCE)

    with (
        interrupted(simulator, GET, task.on_kill, calls=2),
        pytest.raises(NeptuneMLKilledError, match="cancellation requested"),
    ):
        task.execute(context(try_number=2))

    assert statuses(simulator) == {first: "Stopping"}


def test_kill_that_names_every_earlier_try(simulator: Simulator) -> None:
    """Where nothing tells which try has started a job, a kill names those that it has no time for."""
    first = start().execute(context(max_tries=3))
    second = next(ids_of(TaskInstance(), 2, RUN_BEGAN))
    simulator.add_fault(Fault("too_many_requests", operation=GET, times=5))
    task = start(botocore_config=ONCE, retries=3)
    named = rf"-3': not found, .* Instead of it, one of these may be running: '{first}', '{second}'\.$"

    with (
        interrupted(simulator, GET, task.on_kill, calls=2),
        pytest.raises(NeptuneMLKilledError, match=named),
    ):
        task.execute(context(try_number=4, max_tries=3))


def test_kill_in_the_look_up_on_airflow_2(simulator: Simulator) -> None:
    """So it does where the signal handler leaves the look-up by raising."""
    first = start().execute(context())
    simulator.add_fault(Fault("too_many_requests", operation=GET, times=5))
    task = start(botocore_config=ONCE)

    def act() -> None:
        task.on_kill()
        raise Interrupted

    with pytest.raises(Interrupted), interrupted(simulator, GET, act, calls=2):
        task.execute(context(try_number=2))

    assert statuses(simulator) == {first: "Stopping"}


def test_execution_timeout_in_the_look_up(simulator: Simulator) -> None:
    """So does one whose execution_timeout is over by then."""
    first = start().execute(context())
    simulator.add_fault(Fault("too_many_requests", operation=GET, times=5))
    task = start(botocore_config=ONCE)

    def act() -> None:
        raise AirflowTaskTimeout

    try:
        with interrupted(simulator, GET, act, calls=2):
            task.execute(context(try_number=2))
    except AirflowTaskTimeout:
        task.on_kill()  # as Airflow does

    assert statuses(simulator) == {first: "Stopping"}


def test_kill_spares_what_is_not_ours(simulator: Simulator) -> None:
    """A first try that is killed while it looks at its user's id leaves the job of others alone."""
    simulator.seed("modeltraining", "mine", status="InProgress")
    simulator.add_fault(Fault("too_many_requests", operation=GET, times=5))
    task = start(job_id="mine", botocore_config=ONCE)

    with interrupted(simulator, GET, task.on_kill, calls=2), pytest.raises(NeptuneMLKilledError):
        task.execute(context())

    assert statuses(simulator)["mine"] == "InProgress"


# Ended before the start, in the middle of it, and right after


def test_kill_before_the_start(simulator: Simulator) -> None:
    """A task killed before its request left does not send it."""
    task = start(job_id="mine")
    task.on_kill()

    with pytest.raises(NeptuneMLKilledError):
        task.execute(context())

    assert not simulator.calls(START)


def test_kill_has_all_it_needs_before_the_start(simulator: Simulator) -> None:
    """The client of a kill is there before a job is: a dying task has no time to look connections up."""
    task = start(job_id="mine")
    built: list[bool] = []
    send = task.hook.start

    def mark_and_send(*args: Any, **kwargs: Any) -> Any:
        built.append("urgent_conn" in task.hook._clients._parts)
        return send(*args, **kwargs)

    task.hook.start = mark_and_send  # type: ignore[method-assign]

    task.execute(context())

    assert built == [True]


@pytest.mark.parametrize("handler_raises", [False, True], ids=["as in Airflow 3", "as in Airflow 2"])
def test_kill_in_the_middle_of_the_start(simulator: Simulator, held: Event, handler_raises: bool) -> None:
    """A task killed by a signal while its request is under way stops the job that the request makes."""
    task = start_that_is_held(simulator, held)

    def on_term() -> None:
        task.on_kill()
        if handler_raises:
            raise Interrupted

    with (
        interrupted(simulator, START, on_term),
        pytest.raises(Interrupted if handler_raises else NeptuneMLKilledError),
    ):
        task.execute(context())

    assert statuses(simulator)["mine"] == "Stopping"


def start_that_is_held(simulator: Simulator, held: Event) -> NeptuneMLStartModelTrainingJobOperator:
    """Return an operator whose job is there only after a kill has looked for it in vain."""
    simulator.add_fault(Fault(kind="slow", operation=START))
    task = start(job_id="mine")
    task.hook.urgent_conn.meta.events.register(f"after-call.neptunedata.{GET}", lambda **_: held.set())
    return task


def test_execution_timeout_in_the_middle_of_the_start(simulator: Simulator, held: Event) -> None:
    """A task whose execution_timeout is over while its request is under way stops the job that it makes."""
    task = start_that_is_held(simulator, held)

    def over() -> None:
        raise AirflowTaskTimeout

    try:
        with interrupted(simulator, START, over):
            task.execute(context())
    except AirflowTaskTimeout:
        task.on_kill()  # as Airflow does

    assert statuses(simulator)["mine"] == "Stopping"


def test_kill_in_the_middle_of_the_start_cancels_once(simulator: Simulator, held: Event) -> None:
    """A job that the kill itself has stopped is not asked a second time."""
    simulator.add_fault(Fault("slow", operation=START, when="after"))
    task = start(job_id="mine")

    def act() -> None:
        task.on_kill()
        held.set()

    with interrupted(simulator, START, act), pytest.raises(NeptuneMLKilledError):
        task.execute(context())

    assert len(simulator.calls(CANCEL)) == 1


def test_kill_before_a_start_that_is_answered_by_an_error(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was started after the kill had looked is cancelled, although the reply is an error."""
    set_budgets(monkeypatch, kill_while_starting=0.1)
    simulator.add_fault(Fault("internal_failure", operation=START, when="after"))
    task = start(retries=1, unreachable_timeout=0, botocore_config=ONCE)
    during(task.hook.start_conn, START, task.on_kill)

    with pytest.raises(NeptuneMLKilledError):
        task.execute(context(max_tries=1))

    assert list(statuses(simulator).values()) == ["Stopping"]


def test_kill_between_start_and_wait(simulator: Simulator) -> None:
    """A task killed after its request was answered, whatever it is doing, does not succeed."""
    task = start(job_id="mine")
    store = TaskStateStore()
    store.delete = lambda _: task.on_kill()  # type: ignore[assignment, method-assign]

    with pytest.raises(NeptuneMLKilledError):
        task.execute(context(task_state_store=store))

    assert statuses(simulator)["mine"] == "Stopping"


# A start whose job appears late


@pytest.mark.parametrize("refused", [False, True], ids=["no answer", "refused the second time"])
def test_given_up_start_that_arrives_late(simulator: Simulator, refused: bool) -> None:
    """A start that was lost and is given up is stopped even if it arrives only after that."""
    simulator.add_fault(Fault("reset", operation=START))
    simulator.add_fault(Fault("read_only", operation=START))
    task = start(job_id="mine", unreachable_timeout=600 if refused else 0, botocore_config=ONCE)
    during(
        task.hook.urgent_conn,
        GET,
        lambda: simulator.seed("modeltraining", "mine", status="InProgress"),
        call=2,
    )

    with pytest.raises(
        NeptuneMLServiceError if refused else NeptuneMLUnreachableError,
        match=r"t may have been started\. No retry follows: cancellation requested\. \[",
    ):
        task.execute(context())

    assert statuses(simulator) == {"mine": "Stopping"}


@pytest.mark.parametrize("own_id", [{}, {"job_id": "mine"}], ids=["generated id", "own id"])
def test_duplicate_that_is_not_found_yet(lagging: Simulator, own_id: dict[str, str]) -> None:
    """So is one that was made without an answer, though a Get doesn't find it when it is sent again."""
    lagging.add_fault(Fault("reset", operation=START, when="after"))
    task = start(botocore_config=ONCE, **own_id)
    during(task.hook.urgent_conn, GET, lambda: lagging.advance(60), call=2)

    with pytest.raises(
        NeptuneMLError, match=r"it may have been started\. No retry follows: cancellation requested"
    ):
        task.execute(context())

    assert list(statuses(lagging).values()) == ["Stopping"]


@however_ended
def test_ended_right_after_the_start(lagging: Simulator, ended: type[BaseException]) -> None:
    """A task that is ended when its start was answered and a Get doesn't find the job yet stops it."""
    task = start(job_id="mine", wait_for_completion=True, botocore_config=ONCE)
    during(task.hook.conn, GET, end(task, ended), call=2)
    during(task.hook.urgent_conn, GET, lambda: lagging.advance(60), call=2)

    execute(task, context(), ended)

    assert statuses(lagging) == {"mine": "Stopping"}


@pytest.mark.parametrize(
    ("status", "code"), [(404, "MLResourceNotFoundException"), (400, "InvalidParameterException")]
)
def test_stop_of_what_is_refused_and_there(simulator: Simulator, status: int, code: str) -> None:
    """A cancellation of a job that may appear is requested again after refusals that are out of date."""
    simulator.seed("modeltraining", "mine", status="InProgress")
    simulator.add_fault(Fault("access_denied", operation=CANCEL, status=status, code=code, times=2))

    outcome = cancellation.cancel_now(start().hook, MODEL_TRAINING, "mine", may_appear=True)

    assert outcome == (True, "cancellation requested")
    assert statuses(simulator) == {"mine": "Stopping"}


# A start that should not be sent, or was not taken


def test_kill_while_the_last_client_is_built(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that is killed while any of its clients is built sends no start."""
    task = start(job_id="mine")

    def act() -> None:
        with monkeypatch.context() as hurried:
            set_budgets(hurried, kill_while_starting=0.1)
            task.on_kill()

    before(task.hook, "get_client_type", act, call=3)

    execute(task, context(), HANDLER_RETURNS)

    assert not simulator.calls(START)


def test_clients_are_there_before_the_start(simulator: Simulator) -> None:
    """No time passes between the last look for a kill and the request: its client is there before."""
    task = start(job_id="mine")
    built: list[str] = []
    before(task.hook, "start", lambda: built.extend(task.hook._clients._parts))

    task.execute(context())

    assert {"start_conn", "urgent_conn"} <= set(built)


def test_trigger_is_built_before_the_start(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trigger that can't be imported fails the task before there is a job."""
    monkeypatch.setitem(sys.modules, "airflow_provider_neptune_ml.triggers.neptune_ml", None)

    with pytest.raises(ImportError):
        start(deferrable=True, wait_for_completion=True).execute(context())

    assert not simulator.calls(START)


def test_kill_after_an_endpoint_was_not_adopted(simulator: Simulator) -> None:
    """A kill leaves an endpoint alone that the retry found in service and did not take for its own."""
    simulator.seed("modeltraining", "training-1", status="Completed")
    simulator.seed("endpoints", "mine", status="InService")
    task = deploy()

    with pytest.raises(AirflowFailException, match="'mine' exists already"):
        task.execute(context(task_id="deploy", try_number=2, max_tries=1))
    task.on_kill()

    assert not simulator.calls("DeleteMLEndpoint")


@pytest.mark.parametrize("killed", [False, True])
def test_marker_of_a_refused_start(simulator: Simulator, killed: bool) -> None:
    """The retry of a start that was refused leaves the job alone that somebody else made with its id."""
    store = TaskStateStore()
    simulator.add_fault(Fault("access_denied", operation=START))
    with pytest.raises(NeptuneMLServiceError):
        start(job_id="mine", retries=1).execute(context(task_state_store=store, max_tries=1))
    simulator.seed("modeltraining", "mine", status="InProgress")
    task = start(job_id="mine", retries=1, botocore_config=ONCE)
    if killed:
        during(task.hook.conn, GET, task.on_kill)

    with pytest.raises(NeptuneMLKilledError if killed else AirflowFailException):
        task.execute(context(task_state_store=store, try_number=2, max_tries=1))

    assert statuses(simulator) == {"mine": "InProgress"}


def test_marker_of_an_earlier_try(simulator: Simulator) -> None:
    """A refused start leaves the marker of an earlier try: its job is still there for the next one."""
    store = TaskStateStore()
    task = start(job_id="mine", wait_for_completion=True, timeout=0, cancel_on_timeout=False)
    with pytest.raises(NeptuneMLTimeoutError):
        task.execute(context(task_state_store=store))
    # A Get that is out of date has the retry send another start.
    simulator.add_fault(Fault("access_denied", operation=GET, status=404, code="MLResourceNotFoundException"))
    simulator.add_fault(Fault("access_denied", operation=START))
    with pytest.raises(NeptuneMLServiceError):
        start(job_id="mine").execute(context(task_state_store=store, try_number=2))

    assert start(job_id="mine").execute(context(task_state_store=store, try_number=3)) == "mine"
    assert len(statuses(simulator)) == 1
