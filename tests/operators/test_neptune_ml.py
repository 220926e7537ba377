"""The operators where they run in a worker, against the simulator over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowTaskTimeout

from airflow_provider_neptune_ml.exceptions import (
    NeptuneMLError,
    NeptuneMLFailedError,
    NeptuneMLKilledError,
    NeptuneMLNotFoundError,
    NeptuneMLServiceError,
    NeptuneMLTimeoutError,
)
from airflow_provider_neptune_ml.kinds import is_valid_id
from airflow_provider_neptune_ml.operators.neptune_ml import (
    NeptuneMLCancelModelTrainingJobOperator,
    NeptuneMLStartModelTrainingJobOperator,
)
from airflow_provider_neptune_ml.simulator import Fault, Simulator
from tests.contexts import context

pytestmark = pytest.mark.usefixtures("connection", "completed_data")

START, GET, CANCEL = "StartMLModelTrainingJob", "GetMLModelTrainingJob", "CancelMLModelTrainingJob"


def start(**arguments: Any) -> NeptuneMLStartModelTrainingJobOperator:
    """Return an operator that starts a training and does not wait."""
    defaults = {
        "task_id": "train",
        "data_processing_job_id": "data-1",
        "train_model_s3_location": "s3://bucket/model",
        "wait_for_completion": False,
        "poll_interval": 0.01,
        "deferrable": False,
    }
    return NeptuneMLStartModelTrainingJobOperator(**{**defaults, **arguments})


def cancel(**arguments: Any) -> NeptuneMLCancelModelTrainingJobOperator:
    """Return an operator that cancels the job ``mine``."""
    defaults = {"task_id": "cancel", "job_id": "mine", "poll_interval": 0.01, "deferrable": False}
    return NeptuneMLCancelModelTrainingJobOperator(**{**defaults, **arguments})


def when_called(simulator: Simulator, operation: str, act: Callable[[], object]) -> threading.Thread:
    """Act as soon as the simulator has seen a call of an operation; return the thread to join."""
    done = threading.Event()

    def watch() -> None:
        while not simulator.calls(operation) and not done.wait(0.005):
            pass
        act()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def statuses(simulator: Simulator) -> dict[str, str]:
    """Return the status of every training job."""
    return {job["id"]: job["status"] for job in simulator.overview()["kinds"]["modeltraining"]}


# Starting


def test_sends_what_it_was_given(simulator: Simulator) -> None:
    """Every argument that is set goes to its member of the request, and no other is sent."""
    task = start(
        job_id="mine",
        training_instance_type="ml.g5.2xlarge",
        max_hpo_number_of_training_jobs=10,
        subnets=["subnet-1"],
        enable_managed_spot_training=True,
        custom_model_training_parameters={"sourceS3DirectoryPath": "s3://bucket/code"},
        additional_parameters={"maxWaitTime": 90000},
    )

    assert task.execute(context()) == "mine"
    [request] = simulator.calls(START)
    assert request.body == {
        "id": "mine",
        "dataProcessingJobId": "data-1",
        "trainModelS3Location": "s3://bucket/model",
        "trainingInstanceType": "ml.g5.2xlarge",
        "maxHPONumberOfTrainingJobs": 10,
        "subnets": ["subnet-1"],
        "enableManagedSpotTraining": True,
        "customModelTrainingParameters": {"sourceS3DirectoryPath": "s3://bucket/code"},
        "maxWaitTime": 90000,
    }


def test_names_the_job_itself() -> None:
    """Without an id the job gets a valid one that a person recognises, its own for each task instance."""
    first = start().execute(context())

    assert first is not None
    assert first.startswith("nightly-training-train-")
    assert is_valid_id(first)
    others = [
        start().execute(context(**change))
        for change in ({"run_id": "manual__1"}, {"task_id": "x" * 200}, {"map_index": 0}, {"dag_id": "d.e_f"})
    ]
    assert len({first, *others}) == 5
    assert all(map(is_valid_id, others))


def test_pushes_the_id_at_once(simulator: Simulator) -> None:
    """The id is in XCom before the wait, where a teardown finds it even if the wait fails."""
    simulator.script("modeltraining", "mine", fail_stage="hpoJob", reason="AlgorithmError: no")
    where = context()
    thread = when_called(simulator, GET, lambda: simulator.advance(100_000))

    with pytest.raises(NeptuneMLFailedError, match="stage 'hyperparameter tuning': AlgorithmError: no"):
        start(job_id="mine", wait_for_completion=True).execute(where)

    thread.join()
    assert where["ti"].xcoms == {"job_id": "mine"}


def test_waits_for_completion(simulator: Simulator) -> None:
    """With wait_for_completion the task ends when the job has completed, and has its description in XCom."""
    where = context()
    thread = when_called(simulator, GET, lambda: simulator.advance(100_000))

    assert start(job_id="mine", wait_for_completion=True).execute(where) == "mine"

    thread.join()
    assert where["ti"].xcoms["description"]["status"] == "Completed"


def test_own_id_that_is_taken(simulator: Simulator) -> None:
    """On the first try a taken id is an error that names both ways out; the other job is left alone."""
    simulator.seed("modeltraining", "mine", status="InProgress")

    with pytest.raises(
        NeptuneMLError, match=r"'mine' exists already \(InProgress\).*Leave job_id out.*ti.try_number"
    ):
        start(job_id="mine").execute(context())

    assert not simulator.calls(CANCEL)


def test_refusal_for_another_reason(simulator: Simulator) -> None:
    """A refused start says why, in the service's words."""
    with pytest.raises(NeptuneMLServiceError, match=r"Provided MLDataProcessing job|data processing|exist"):
        start(data_processing_job_id="nowhere").execute(context())


def test_templated_numbers_and_flags(simulator: Simulator) -> None:
    """A number or flag that a template has turned into text is sent as what it was."""
    task = start(max_hpo_number_of_training_jobs="{{ 4 }}", enable_managed_spot_training="{{ true }}")
    task.max_hpo_number_of_training_jobs, task.enable_managed_spot_training = "4", "True"  # type: ignore[assignment]

    task.execute(context())

    [request] = simulator.calls(START)
    assert request.body["maxHPONumberOfTrainingJobs"] == 4
    assert request.body["enableManagedSpotTraining"] is True


# Exactly one


@pytest.mark.parametrize("arguments", [{}, {"job_id": "mine"}], ids=["generated id", "own id"])
def test_retry_takes_over_the_running_job(simulator: Simulator, arguments: dict[str, Any]) -> None:
    """A retry finds the job that the first try started and starts no other."""
    first = start(**arguments).execute(context())

    assert start(**arguments).execute(context(try_number=2)) == first
    assert start(**arguments).execute(context(try_number=4)) == first
    assert [request.status for request in simulator.calls(START)].count(200) == 1


@pytest.mark.parametrize("ended", ["Failed", "Stopped", "Completed"])
def test_retry_of_an_ended_job_starts_another(simulator: Simulator, ended: str) -> None:
    """A job that has ended is never taken over: the retry starts a new one under another id."""
    first = start().execute(context())
    assert first is not None
    simulator.set_status("modeltraining", first, ended)

    second = start().execute(context(try_number=2))

    assert second != first
    assert len(simulator.calls(START)) == 2


def test_own_id_can_not_be_used_again(simulator: Simulator) -> None:
    """A retry whose own id belongs to an ended job fails with both ways out: Neptune takes an id once."""
    simulator.seed("modeltraining", "mine", status="Failed")

    with pytest.raises(NeptuneMLError, match=r"'mine' exists already \(Failed\)"):
        start(job_id="mine").execute(context(try_number=2))


def test_not_durable(simulator: Simulator) -> None:
    """Without durable a retry starts a new job."""
    first = start(durable=False).execute(context())

    assert start(durable=False).execute(context(try_number=2)) != first


def test_lost_reply(simulator: Simulator) -> None:
    """A start whose reply was lost is sent again by boto3; what the first one started is ours."""
    simulator.add_fault(Fault(kind="reset", operation=START, when="after"))

    job_id = start(job_id="mine").execute(context())

    assert job_id == "mine"
    assert len(simulator.calls(START)) == 2
    assert list(statuses(simulator).values()).count("InProgress") == 1


def test_dag_run_that_was_made_again(simulator: Simulator) -> None:
    """A Dag run that was deleted and made again gets new ids, and its retries find them."""
    first = start().execute(context())
    assert first is not None
    simulator.set_status("modeltraining", first, "Completed")

    again = start().execute(context())

    assert again not in (None, first)
    assert start().execute(context(try_number=2)) == again


# Never an orphan


def test_kill_while_waiting(simulator: Simulator) -> None:
    """A task killed while it waits stops the job and can't go on to succeed."""
    task = start(job_id="mine", wait_for_completion=True)
    thread = when_called(simulator, GET, task.on_kill)

    with pytest.raises(NeptuneMLKilledError, match="killed, with model training job 'mine' in hand"):
        task.execute(context())

    thread.join()
    assert [request.id for request in simulator.calls(CANCEL)] == ["mine"]
    assert statuses(simulator)["mine"] == "Stopping"


def test_kill_before_the_start(simulator: Simulator) -> None:
    """A task killed before its request left does not send it."""
    task = start(job_id="mine")
    task.on_kill()

    with pytest.raises(NeptuneMLKilledError):
        task.execute(context())

    assert not simulator.calls(START)


def test_kill_in_the_middle_of_the_start(simulator: Simulator) -> None:
    """A task killed while its request is under way stops the job that the request makes."""
    simulator.add_fault(Fault(kind="slow", operation=START, seconds=0.5))
    task = start(job_id="mine")
    thread = when_called(simulator, CANCEL, lambda: None)
    killer = threading.Timer(0.25, task.on_kill)
    killer.start()

    with pytest.raises(NeptuneMLKilledError):
        task.execute(context())

    killer.join()
    thread.join()
    assert statuses(simulator)["mine"] in ("Stopping", "Stopped")


def test_kill_without_cancel_on_kill(simulator: Simulator) -> None:
    """With cancel_on_kill off the job is left alone; the task still does not succeed."""
    task = start(job_id="mine", wait_for_completion=True, cancel_on_kill=False)
    thread = when_called(simulator, GET, task.on_kill)

    with pytest.raises(NeptuneMLKilledError):
        task.execute(context())

    thread.join()
    assert not simulator.calls(CANCEL)


@pytest.mark.parametrize("fault", ["reset", "too_many_requests", "internal_failure"])
def test_kill_insists_through_trouble(simulator: Simulator, fault: str) -> None:
    """A kill is not put off by a lost connection, throttling or a hiccup of the service."""
    task = start(job_id="mine")
    task.execute(context())
    simulator.add_fault(Fault(kind=fault, operation=CANCEL, times=2))

    task.on_kill()

    assert statuses(simulator)["mine"] == "Stopping"


def test_kill_keeps_its_budget(simulator: Simulator) -> None:
    """A kill that gets no answer returns within its budget and says so."""
    task = start(job_id="mine")
    task.execute(context())
    simulator.add_fault(Fault(kind="slow", operation=CANCEL, times=None, seconds=3))

    assert "no answer" in task.hook.stop_now(task.kind, "mine", seconds=0.5)


def test_execution_timeout_cancels(simulator: Simulator) -> None:
    """Airflow calls on_kill when execution_timeout is over; cancel_on_timeout decides then."""
    for arguments, cancelled in (
        ({}, True),
        ({"cancel_on_timeout": False}, False),
        ({"cancel_on_kill": False}, True),
    ):
        simulator.reset()
        simulator.seed("dataprocessing", "data-1", status="Completed")
        task = start(job_id="mine", **arguments)
        task.execute(context())
        try:
            raise AirflowTaskTimeout
        except AirflowTaskTimeout:
            task.on_kill()

        assert bool(simulator.calls(CANCEL)) is cancelled


@pytest.mark.parametrize(
    ("cancel_on_timeout", "words"),
    [(True, "It was asked to stop"), (False, r"It goes on \(cancel_on_timeout is False\)")],
)
def test_timeout(simulator: Simulator, cancel_on_timeout: bool, words: str) -> None:
    """When its time is over the task fails, and says what became of the job."""
    task = start(job_id="mine", wait_for_completion=True, timeout=0.05, cancel_on_timeout=cancel_on_timeout)

    with pytest.raises(NeptuneMLTimeoutError, match=f"'mine' is still InProgress.*{words}"):
        task.execute(context())

    assert bool(simulator.calls(CANCEL)) is cancel_on_timeout


# Cancelling


def test_cancel_waits_until_the_job_has_ended(simulator: Simulator) -> None:
    """The task ends when the job has passed through Stopping to Stopped."""
    simulator.seed("modeltraining", "mine", status="InProgress")
    thread = when_called(simulator, GET, lambda: simulator.advance(3600))

    assert cancel().execute(context()) == "mine"

    thread.join()
    assert statuses(simulator)["mine"] == "Stopped"
    assert simulator.calls(CANCEL)[0].query["clean"] == "false"


def test_cancel_without_waiting(simulator: Simulator) -> None:
    """Without wait_for_completion the task ends when the request was taken."""
    simulator.seed("modeltraining", "mine", status="InProgress")

    assert cancel(wait_for_completion=False, clean=True).execute(context()) == "mine"

    assert statuses(simulator)["mine"] == "Stopping"
    assert simulator.calls(CANCEL)[0].query["clean"] == "true"


@pytest.mark.parametrize("ended", ["Completed", "Failed", "Stopped"])
def test_cancel_of_an_ended_job_succeeds(simulator: Simulator, ended: str) -> None:
    """There is nothing to do for a job that has ended."""
    simulator.seed("modeltraining", "mine", status=ended)

    assert cancel().execute(context()) == "mine"


def test_cancel_of_an_unknown_job(simulator: Simulator) -> None:
    """An unknown id is an error, unless that was said to be fine."""
    with pytest.raises(NeptuneMLNotFoundError):
        cancel().execute(context())

    assert cancel(ignore_missing=True).execute(context()) == "mine"


@pytest.mark.parametrize("empty", [None, "", "None"])
def test_cancel_of_what_was_never_started(simulator: Simulator, empty: str | None) -> None:
    """A teardown whose setup started nothing has an empty id, which ignore_missing covers."""
    task = cancel(job_id="{{ ti.xcom_pull(task_ids='start') }}", ignore_missing=True)
    task.job_id = empty  # type: ignore[assignment]

    assert task.execute(context()) is None
    assert not simulator.journal


def test_cancel_killed_before_it_was_acknowledged(simulator: Simulator) -> None:
    """A cancel operator that is killed without an answer sends its request once more, with the same clean."""
    simulator.seed("modeltraining", "mine", status="InProgress")
    task = cancel(clean=True)
    task._active_id = "mine"
    task.on_kill()

    [request] = simulator.calls(CANCEL)
    assert request.query["clean"] == "true"


def test_cancel_killed_after_it_was_acknowledged(simulator: Simulator) -> None:
    """A cancel operator that is killed while it waits has nothing more to send, and does not succeed."""
    simulator.seed("modeltraining", "mine", status="InProgress")
    task = cancel()
    thread = when_called(simulator, GET, task.on_kill)

    with pytest.raises(NeptuneMLKilledError):
        task.execute(context())

    thread.join()
    assert len(simulator.calls(CANCEL)) == 1


def test_cancel_times_out(simulator: Simulator) -> None:
    """A job that does not end in time fails the task."""
    simulator.seed("modeltraining", "mine", status="InProgress")

    with pytest.raises(NeptuneMLTimeoutError, match="'mine' is still Stopping"):
        cancel(timeout=0.05).execute(context())


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"job_id": ""}, "job_id='' must be 1-48 letters, digits or hyphens"),
        ({"job_id": "a" * 49}, "must be 1-48"),
        ({"job_id": "a_b"}, "job_id='a_b' must be"),
        ({"job_id": "a:b"}, "job_id='a:b' must be"),
        ({"data_processing_job_id": "a_b"}, "data_processing_job_id='a_b' must be 1-48"),
        ({"previous_model_training_job_id": ""}, "previous_model_training_job_id='' must be"),
        (
            {"train_model_s3_location": "/tmp/x"},
            "train_model_s3_location='/tmp/x' must be an S3 location: s3://",
        ),
        ({"train_model_s3_location": "s3://"}, "train_model_s3_location='s3://' must be"),
        ({"neptune_iam_role_arn": "role"}, "neptune_iam_role_arn='role' must be the ARN"),
        ({"training_instance_type": "g5"}, "training_instance_type='g5' must be a SageMaker instance type"),
        (
            {"max_hpo_number_of_training_jobs": "ten"},
            "max_hpo_number_of_training_jobs='ten' must be a whole number",
        ),
        ({"training_time_out_in_seconds": -1}, "training_time_out_in_seconds=-1 must be"),
        ({"subnets": "subnet-1"}, "subnets='subnet-1' must be a list of subnet ids"),
        ({"enable_managed_spot_training": "yes"}, "enable_managed_spot_training='yes' must be True or False"),
        ({"custom_model_training_parameters": {}}, "custom_model_training_parameters={} must be a dict"),
        ({"additional_parameters": ["x"]}, "additional_parameters=.* must be a dict"),
        ({"timeout": "1h"}, "timeout='1h' must be a number of seconds"),
        ({"poll_interval": -5}, "poll_interval=-5 must be"),
    ],
)
def test_mistakes_are_told_when_the_dag_is_parsed(
    simulator: Simulator, arguments: dict[str, Any], words: str
) -> None:
    """A wrong argument is a ValueError with the argument, the value and the rule; nothing is sent."""
    with pytest.raises(ValueError, match=words):
        start(**arguments)

    assert not simulator.journal


def test_mistakes_in_templates_are_told_after_rendering(simulator: Simulator) -> None:
    """What a template turned into is checked before anything is sent."""
    task = start(train_model_s3_location="{{ params.where }}")
    task.train_model_s3_location = "where?"

    with pytest.raises(ValueError, match=r"train_model_s3_location='where\?' must be"):
        task.execute(context())

    assert not simulator.journal
