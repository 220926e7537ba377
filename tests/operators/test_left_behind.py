"""Jobs that a task might leave behind: given up, timed out, not known to be its own. Kills: tests/kills."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_neptune_ml.compat import AirflowFailException, AirflowTaskTimeout
from airflow_provider_neptune_ml.exceptions import (
    NeptuneMLError,
    NeptuneMLNotFoundError,
    NeptuneMLServiceError,
    NeptuneMLTimeoutError,
    NeptuneMLUnreachableError,
)
from airflow_provider_neptune_ml.operators import base
from airflow_provider_neptune_ml.operators.neptune_ml import (
    NeptuneMLCreateEndpointOperator,
    NeptuneMLDeleteEndpointOperator,
)
from airflow_provider_neptune_ml.simulator import Fault, Simulator
from tests.conftest import ONCE, connect
from tests.contexts import TaskStateStore, context
from tests.operators.tasks import CANCEL, GET, START, deploy, start, statuses
from tests.sdk import TaskDeferred

pytestmark = pytest.mark.usefixtures("connection", "completed_data")


# Given up


@pytest.mark.parametrize(
    ("arguments", "max_tries", "words", "left"),
    [
        ({}, 1, "The job may be running: the retry adopts it.", "InProgress"),
        ({}, 0, "No retry follows: cancellation requested.", "Stopping"),
        ({"durable": False}, 1, "No retry follows: cancellation requested.", "Stopping"),
        (
            {"cancel_on_timeout": False},
            0,
            "Cancellation not requested (cancel_on_timeout=False).",
            "InProgress",
        ),
    ],
)
@pytest.mark.parametrize("deferred", [False, True], ids=["sync", "deferred"])
def test_wait_that_can_not_go_on(
    simulator: Simulator, arguments: dict[str, Any], max_tries: int, words: str, left: str, deferred: bool
) -> None:
    """A refused wait leaves its job to a retry; where none takes it over, the job is asked to stop."""
    where = context(max_tries=max_tries)
    task = start(job_id="mine", wait_for_completion=True, deferrable=deferred, **arguments)
    if not deferred:
        simulator.add_fault(Fault("access_denied", operation=GET, skip=1, times=None))

    with pytest.raises(TaskDeferred if deferred else NeptuneMLServiceError) as ended:
        task.execute(where)
    if deferred:
        event = {"status": "error", "message": "403 AccessDeniedException.", "resource_id": "mine"}
        with pytest.raises(NeptuneMLError) as ended:
            task.resume_execution("execute_complete", {"event": event}, where)

    assert f". {words}" in str(ended.value)
    assert statuses(simulator)["mine"] == left


@pytest.mark.parametrize("own_id", [None, "mine"], ids=["generated id", "own id"])
@pytest.mark.parametrize(
    ("max_tries", "words", "left"),
    [
        (2, "The job may be running: the retry adopts it.", "InProgress"),
        (1, "No retry follows: cancellation requested.", "Stopping"),
    ],
)
@pytest.mark.parametrize("fault", ["access_denied", "internal_failure"])
def test_look_up_that_fails(
    simulator: Simulator, fault: str, max_tries: int, words: str, left: str, own_id: str | None
) -> None:
    """A retry that can't look for the job of the try before it leaves it to the next, or cancels it."""
    job = start(job_id=own_id).execute(context(max_tries=max_tries))
    simulator.add_fault(Fault(fault, operation=GET, times=None))
    retry = start(job_id=own_id, retries=max_tries, unreachable_timeout=0)

    with pytest.raises(NeptuneMLError, match=rf"Model training job '{job}'.*{words}"):
        retry.execute(context(try_number=2, max_tries=max_tries))

    assert statuses(simulator) == {job: left}


def test_look_up_of_a_first_try_that_fails(simulator: Simulator) -> None:
    """A first try that can't describe jobs has started none: nothing is cancelled, or said of a job."""
    simulator.add_fault(Fault("access_denied", operation=GET, times=None))

    with pytest.raises(NeptuneMLServiceError) as failed:
        start().execute(context())

    assert "retry" not in str(failed.value)
    assert not simulator.calls(CANCEL)


def test_retry_with_wrong_arguments(simulator: Simulator) -> None:
    """A retry whose arguments are rendered wrongly has its job cancelled all the same."""
    job = start().execute(context())
    retry = start(retries=1)
    retry.train_model_s3_location = "bucket/model"

    with pytest.raises(NeptuneMLError, match=r"s3://bucket/prefix.*No retry follows: cancellation requested"):
        retry.execute(context(try_number=2, max_tries=1))

    assert statuses(simulator) == {job: "Stopping"}


def test_wrong_arguments_after_a_try_that_came_to_nothing(simulator: Simulator) -> None:
    """Where nothing tells which try has started a job, that of any of them is cancelled."""
    job = start().execute(context(max_tries=2))
    retry = start(retries=2)
    retry.train_model_s3_location = "bucket/model"

    with pytest.raises(NeptuneMLError, match=rf"-2'.*No retry .*not found.*'{job}': cancellation requested"):
        retry.execute(context(try_number=3, max_tries=2))

    assert statuses(simulator) == {job: "Stopping"}


@pytest.mark.parametrize("own_id", [None, "mine"], ids=["generated id", "own id"])
def test_look_ups_that_fail_try_after_try(simulator: Simulator, own_id: str | None) -> None:
    """The job of the first try is cancelled by the last one, however many came to nothing in between."""
    store = TaskStateStore()
    first = start(job_id=own_id, wait_for_completion=True, timeout=0, cancel_on_timeout=False)
    with pytest.raises(NeptuneMLTimeoutError):
        first.execute(context(max_tries=2, task_state_store=store))
    [job] = statuses(simulator)
    simulator.add_fault(Fault("access_denied", operation=GET, times=None))
    words = {2: "The job may be running: the retry adopts it", 3: "No retry follows: cancellation requested"}

    for number, said in words.items():
        where = context(try_number=number, max_tries=2, task_state_store=store)
        with pytest.raises(NeptuneMLServiceError, match=said):
            start(job_id=own_id, retries=2).execute(where)
        assert where["ti"].xcoms == {"job_id": job}

    assert statuses(simulator) == {job: "Stopping"}


def test_look_ups_that_fail_try_after_try_without_a_store(simulator: Simulator) -> None:
    """Where nothing tells which try has started a job, the last one cancels that of any of them."""
    job = start().execute(context(max_tries=2))
    simulator.add_fault(Fault("access_denied", operation=GET, times=None))

    with pytest.raises(NeptuneMLServiceError, match=rf"Model training job '{job}': cancellation requested\."):
        start(retries=2).execute(context(try_number=3, max_tries=2))

    assert statuses(simulator) == {job: "Stopping"}


@pytest.mark.parametrize(
    "store",
    [None, TaskStateStore(), TaskStateStore(neptune_ml_unused="mine")],
    ids=["no store", "no marker", "marker"],
)
def test_endpoint_that_was_there_before_all_tries(simulator: Simulator, store: TaskStateStore | None) -> None:
    """An endpoint that may be another's is not deleted, nor left to a teardown, if no try can look it up."""
    simulator.seed("endpoints", "mine", status="InService")
    simulator.add_fault(Fault("access_denied", operation="GetMLEndpoint", times=None))
    retry = context(task_id="deploy", try_number=2, max_tries=1, task_state_store=store)

    with pytest.raises(NeptuneMLServiceError) as failed:
        deploy(retries=1).execute(retry)

    assert ("It may have been started by an earlier try." in str(failed.value)) == (store != {})
    assert simulator.describe("endpoints", "mine")["status"] == "InService"
    assert retry["ti"].xcoms == {}


@pytest.mark.parametrize(
    ("store", "left"),
    [
        (None, r"\. No retry follows: not found, nothing to cancel\.$"),
        (TaskStateStore(), "s3://bucket/prefix$"),
    ],
    ids=["no store", "store"],
)
def test_wrong_arguments_try_after_try(simulator: Simulator, store: TaskStateStore | None, left: str) -> None:
    """A retry whose arguments are as wrong as those of the try before says little of a job that never was."""
    retry = start(retries=1)
    retry.train_model_s3_location = "bucket/model"

    with pytest.raises((NeptuneMLError, ValueError), match=f"train_model_s3_location='bucket/model'.*{left}"):
        retry.execute(context(try_number=2, max_tries=1, task_state_store=store))

    assert not statuses(simulator)


def test_start_that_was_never_answered(simulator: Simulator) -> None:
    """A start that got no answer says that the job may be there, and has it stopped if no retry follows."""
    simulator.add_fault(Fault("internal_failure", operation=START, when="after", times=None))
    task = start(job_id="mine", unreachable_timeout=0)

    with pytest.raises(
        NeptuneMLUnreachableError,
        match=r"may have been started\. No retry follows: cancellation requested",
    ):
        task.execute(context())

    assert statuses(simulator)["mine"] == "Stopping"


def test_refusal_for_another_id(simulator: Simulator) -> None:
    """A start that is refused because of another id than its own names that one."""
    with pytest.raises(NeptuneMLServiceError, match=r"Sent with data_processing_job_id='nope'\. \["):
        start(data_processing_job_id="nope").execute(context())


def test_refusal_by_iam(simulator: Simulator) -> None:
    """A start that IAM refused is not taken for one whose id exists: nothing is looked up."""
    simulator.add_fault(Fault("access_denied", operation=START, times=None))

    with pytest.raises(NeptuneMLServiceError, match="AccessDeniedException"):
        start(job_id="mine").execute(context())

    assert len(simulator.calls(GET)) == 1


def test_refusal_that_can_not_be_looked_into(simulator: Simulator) -> None:
    """A start that is refused where its id can't be looked up says both."""
    simulator.add_fault(Fault("read_only", operation=START))
    simulator.add_fault(Fault("access_denied", operation=GET, skip=1))

    with pytest.raises(
        NeptuneMLError, match=r"(?s)ReadOnly.* Whether the id exists already is not known: .*AccessDenied"
    ):
        start(job_id="mine").execute(context())


# Timed out by Airflow, while no triggerer was there


def test_deferred_task_that_airflow_gave_up(simulator: Simulator) -> None:
    """A job whose deferred task Airflow itself gave up is asked to stop by the worker that fails the task."""
    where = context()
    with pytest.raises(TaskDeferred):
        start(wait_for_completion=True, deferrable=True).execute(where)

    with pytest.raises(
        NeptuneMLTimeoutError, match=r"timed out \(timeout=604800\)\. Cancellation requested\.$"
    ):
        start().resume_execution("__fail__", {"error": "Trigger timeout"}, where)

    assert set(statuses(simulator).values()) == {"Stopping"}


def test_deferred_task_whose_time_is_over_on_airflow_2(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it is on Airflow 2, which asks for a kill before it resumes such a task."""
    where = context()
    with pytest.raises(TaskDeferred):
        start(wait_for_completion=True, deferrable=True).execute(where)
    monkeypatch.setattr(base, "get_current_context", lambda: where)

    try:
        raise AirflowTaskTimeout
    except AirflowTaskTimeout:
        start().on_kill()

    assert set(statuses(simulator).values()) == {"Stopping"}


def test_trigger_that_broke(simulator: Simulator) -> None:
    """A wait whose trigger broke leaves its job to the retry, and says so."""
    where = context(max_tries=1)
    with pytest.raises(TaskDeferred):
        start(job_id="mine", wait_for_completion=True, deferrable=True).execute(where)

    with pytest.raises(
        NeptuneMLError,
        match=r"'mine': the wait was interrupted: Trigger failure\. The job may be running: the retry",
    ):
        start().resume_execution("__fail__", {"error": "Trigger failure"}, where)

    assert statuses(simulator)["mine"] == "InProgress"


def test_worker_that_airflow_does_not_answer(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that resumes a failed wait and can't read the id from XCom has it from the trigger."""
    where = context()
    with pytest.raises(TaskDeferred):
        start(job_id="mine", wait_for_completion=True, deferrable=True).execute(where)

    def pull(**_: Any) -> None:
        raise OSError("Airflow's API is away")

    monkeypatch.setattr(where["ti"], "xcom_pull", pull)
    event = {"status": "error", "message": "403 AccessDeniedException.", "resource_id": "mine"}

    with pytest.raises(NeptuneMLError, match=r"API is away\. No retry follows: cancellation requested\."):
        start(job_id="mine").resume_execution("execute_complete", {"event": event}, where)

    assert statuses(simulator) == {"mine": "Stopping"}


TIMED_OUT = {"error": "Trigger timeout"}
WAIT_FAILED = {"event": {"status": "error", "message": "403 AccessDeniedException.", "resource_id": "mine"}}


@pytest.mark.parametrize(
    ("before", "method", "details", "max_tries", "said", "left"),
    [
        (True, "__fail__", TIMED_OUT, 0, r"Deletion not requested \(.*, or it was there before", "Updating"),
        (True, "execute_complete", WAIT_FAILED, 0, r"403 AccessDeniedException\.$", "Updating"),
        (False, "__fail__", TIMED_OUT, 0, r"Deletion requested\.$", "Deleting"),
        (False, "execute_complete", WAIT_FAILED, 0, r"No retry follows: deletion requested\.$", "Deleting"),
        (False, "execute_complete", WAIT_FAILED, 1, r"The endpoint may be running: the retry", "Creating"),
    ],
)
def test_deferred_update_that_fails(
    simulator: Simulator, before: bool, method: str, details: Any, max_tries: int, said: str, left: str
) -> None:
    """An endpoint that served before is not deleted with its update; one that the update created is."""
    simulator.seed("modeltraining", "training-1", status="Completed")
    if before:
        simulator.seed("endpoints", "mine", status="InService")
    where = context(task_id="deploy", max_tries=max_tries)

    def update() -> NeptuneMLCreateEndpointOperator:
        return deploy(update=True, deferrable=True, execution_timeout=timedelta(minutes=1))

    with pytest.raises(TaskDeferred):
        update().execute(where)
    with pytest.raises(NeptuneMLError, match=said):
        update().resume_execution(method, details, where)

    assert simulator.describe("endpoints", "mine")["status"] == left


# Whose job is it


def test_retry_of_a_start_that_was_never_sent(simulator: Simulator) -> None:
    """A retry doesn't take a job for its own that has its user's id, where the state store knows better."""
    simulator.add_fault(Fault("access_denied", operation=GET))
    store = TaskStateStore()
    with pytest.raises(NeptuneMLServiceError):
        start(job_id="mine").execute(context(task_state_store=store))
    simulator.seed("modeltraining", "mine", status="InProgress")

    with pytest.raises(AirflowFailException, match="'mine' exists already"):
        start(job_id="mine").execute(context(task_state_store=store, try_number=2))


@pytest.mark.parametrize("fault", ["too_many_requests", "throttling"])
def test_id_that_is_taken_while_the_start_is_throttled(simulator: Simulator, fault: str) -> None:
    """A start that was throttled does not take the job for its own that somebody made in the meantime."""
    simulator.add_fault(Fault("access_denied", operation=GET, status=404, code="MLResourceNotFoundException"))
    simulator.add_fault(Fault(fault, operation=START))
    simulator.seed("modeltraining", "mine", status="InProgress")
    task = start(job_id="mine")

    with pytest.raises(AirflowFailException, match="'mine' exists already"):
        task.execute(context())
    task.on_kill()

    assert [request.status for request in simulator.calls(START)][-1] == 400
    assert statuses(simulator)["mine"] == "InProgress"


@pytest.mark.parametrize("status", ["Pending", None, "SystemUpdating"])
def test_endpoint_with_an_unknown_status_is_taken_over(simulator: Simulator, status: str | None) -> None:
    """A retry takes over the endpoint of the try before, whatever word it is in on its way."""
    simulator.seed("modeltraining", "training-1", status="Completed")

    def create() -> NeptuneMLCreateEndpointOperator:
        return NeptuneMLCreateEndpointOperator(
            task_id="deploy",
            ml_model_training_job_id="training-1",
            wait_for_completion=False,
            deferrable=False,
        )

    first = create().execute(context(task_id="deploy"))
    assert first is not None
    simulator.set_status("endpoints", first, status)

    assert create().execute(context(task_id="deploy", try_number=2)) == first


@pytest.mark.parametrize("own_id", [{}, {"job_id": "mine"}], ids=["generated id", "own id"])
def test_teardown_finds_the_job_of_a_retry_that_comes_to_nothing(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch, own_id: dict[str, str]
) -> None:
    """XComs are cleared for each try: a retry that fails before all else has pushed the earlier job's id."""
    store = TaskStateStore()
    first = start(wait_for_completion=True, timeout=0, cancel_on_timeout=False, **own_id)
    with pytest.raises(NeptuneMLTimeoutError):
        first.execute(context(task_state_store=store))
    [job_id] = statuses(simulator)
    connect(monkeypatch, simulator.connection, host="")
    retry = context(try_number=2, task_state_store=store)

    with pytest.raises(NeptuneMLError, match="has no host"):
        start(**own_id).execute(retry)

    assert retry["ti"].xcoms == {"job_id": job_id}


def test_teardown_finds_it_without_a_state_store(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it is where no state store tells, on Airflow before 3.3, for ids that the operator made."""
    job_id = start().execute(context())
    connect(monkeypatch, simulator.connection, host="")
    retry = context(try_number=2)

    with pytest.raises(NeptuneMLError, match="has no host"):
        start().execute(retry)

    assert retry["ti"].xcoms == {"job_id": job_id}


# Deleted already


def delete(**arguments: Any) -> NeptuneMLDeleteEndpointOperator:
    """Return an operator that deletes the endpoint ``mine``."""
    return NeptuneMLDeleteEndpointOperator(
        task_id="delete", endpoint_id="mine", deferrable=False, poll_interval=0.01, **arguments
    )


def test_retried_delete(simulator: Simulator) -> None:
    """A retry that finds nothing to delete succeeds: the try before has done it."""
    assert delete().execute(context(task_id="delete", try_number=2)) == "mine"
    with pytest.raises(NeptuneMLNotFoundError):
        delete().execute(context(task_id="delete"))


def test_delete_whose_answer_was_lost(simulator: Simulator) -> None:
    """A deletion that worked without an answer is found out when it is asked for again."""
    simulator.seed("endpoints", "mine", status="InService")
    simulator.add_fault(Fault("internal_failure", operation="DeleteMLEndpoint", when="after"))
    task = delete(wait_for_completion=False, botocore_config=ONCE)
    task.hook.conn.meta.events.register(
        "after-call.neptunedata.DeleteMLEndpoint", lambda **_: simulator.advance(100_000)
    )

    assert task.execute(context(task_id="delete")) == "mine"
    assert not simulator.overview()["kinds"]["endpoints"]


@pytest.mark.parametrize(("action", "left"), [("FAIL", "Stopping"), ("RETRY", "InProgress")])
def test_retry_policy(simulator: Simulator, action: str, left: str) -> None:
    """Where Airflow's retry policy lets no retry follow, the job of a wait that can't go on is cancelled."""
    policies = pytest.importorskip("airflow.sdk.definitions.retry_policy", reason="Airflow before 3.3")
    rule = policies.RetryRule(exception=NeptuneMLError, action=policies.RetryAction[action])
    simulator.add_fault(Fault("access_denied", operation=GET, skip=1, times=None))
    task = start(
        job_id="mine",
        wait_for_completion=True,
        retries=1,
        retry_policy=policies.ExceptionRetryPolicy(rules=[rule]),
    )

    with pytest.raises(NeptuneMLError):
        task.execute(context(max_tries=1))

    assert statuses(simulator) == {"mine": left}
