"""The operators where they run in a worker, against the simulator over HTTP."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import islice
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_neptune_ml.compat import AirflowFailException
from airflow_provider_neptune_ml.exceptions import (
    NeptuneMLFailedError,
    NeptuneMLNotFoundError,
    NeptuneMLServiceError,
    NeptuneMLTimeoutError,
)
from airflow_provider_neptune_ml.kinds import is_valid_id
from airflow_provider_neptune_ml.operators.ownership import UnconsumedMarker, ids_of
from airflow_provider_neptune_ml.simulator import Fault, Simulator
from tests.conftest import ONCE
from tests.contexts import RUN_BEGAN, TaskInstance, TaskStateStore, context
from tests.interruptions import wait_begun, when_answered
from tests.operators.tasks import CANCEL, GET, START, cancel, start, statuses
from tests.sdk import DAG

pytestmark = pytest.mark.usefixtures("connection", "completed_data")


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
    changes: list[dict[str, Any]] = [
        {"run_id": "manual__1"},
        {"task_id": "x" * 200},
        {"map_index": 0},
        {"dag_id": "d.e_f"},
        {"dag_id": "学", "task_id": "习"},
    ]
    others = [start().execute(context(**change)) for change in changes]
    assert len({first, *others}) == len(changes) + 1
    assert not any(str(job_id).startswith("-") for job_id in others)
    assert all(map(is_valid_id, others))


@pytest.mark.parametrize(
    ("changes", "run_began", "ids"),
    [
        ({}, None, ["nightly-training-train-c9a08c3b4784-2", "nightly-training-train-c9a08c3b4784-2-2"]),
        ({"map_index": 3}, None, ["nightly-training-train-36c9ce58f441-2"]),
        ({"dag_id": "学", "task_id": "习"}, None, ["airflow-775eee61f203-2"]),
        ({"dag_id": "_d.e_f"}, None, ["d-e-f-train-e06ddc93a452-2"]),
        ({"task_id": "x" * 200}, None, ["nightly-training-xxxxxxxxxxxxxxxx-8545bd850f5f-2"]),
        ({"task_id": "x" * 15 + "-y"}, None, ["nightly-training-xxxxxxxxxxxxxxx-5e7f60c8b1e2-2"]),
        (
            {},
            RUN_BEGAN,
            [
                "nightly-training-train-c9a08c3b4784-7d8b66-2",
                "nightly-training-train-c9a08c3b4784-7d8b66-2-2",
            ],
        ),
        ({"task_id": "x" * 200}, RUN_BEGAN, ["nightly-training-xxxxxxxxx-8545bd850f5f-7d8b66-2"]),
    ],
)
def test_ids_stay_the_same(changes: dict[str, Any], run_began: datetime | None, ids: list[str]) -> None:
    """A retry by a newer version of this provider finds the job that an older one has started."""
    assert list(islice(ids_of(TaskInstance(**changes), 2, run_began), len(ids))) == ids


def test_marker_stays_the_same() -> None:
    """So it finds the marker of a job that no try has used."""
    store = TaskStateStore()

    UnconsumedMarker(context(task_state_store=store)).write("mine")

    assert store == {"neptune_ml_unused": "mine"}


def test_pushes_the_id_at_once(simulator: Simulator) -> None:
    """The id is in XCom before the wait, where a teardown finds it even if the wait fails."""
    simulator.script("modeltraining", "mine", fail_stage="hpoJob", reason="AlgorithmError: no")
    where = context()

    with (
        when_answered(simulator, GET, lambda: simulator.advance(100_000)),
        pytest.raises(NeptuneMLFailedError, match="stage 'hyperparameter tuning': AlgorithmError: no"),
    ):
        start(job_id="mine", wait_for_completion=True).execute(where)

    assert where["ti"].xcoms["job_id"] == "mine"


def test_pushes_the_id_before_the_job_exists(simulator: Simulator) -> None:
    """A teardown finds the job of a worker that died with the request under way."""
    where = context()
    simulator.add_fault(Fault(kind="access_denied", operation=START))

    with pytest.raises(NeptuneMLServiceError):
        start().execute(where)

    [request] = simulator.calls(START)
    assert where["ti"].xcoms == {"job_id": request.id}


def test_does_not_push_the_id_of_a_foreign_job(simulator: Simulator) -> None:
    """A teardown does not cancel a job that took the id in the moment between the look and the start."""
    where = context()
    simulator.add_fault(
        Fault(kind="access_denied", operation=GET, status=404, code="MLResourceNotFoundException")
    )
    simulator.seed("modeltraining", "mine", status="InProgress")

    with pytest.raises(AirflowFailException, match="exists already"):
        start(job_id="mine").execute(where)

    assert where["ti"].xcoms == {"job_id": ""}


def test_waits_for_completion(simulator: Simulator) -> None:
    """With wait_for_completion the task ends when the job has completed, and has its description in XCom."""
    where = context()

    with when_answered(simulator, GET, lambda: simulator.advance(100_000)):
        assert start(job_id="mine", wait_for_completion=True).execute(where) == "mine"

    assert where["ti"].xcoms["description"]["status"] == "Completed"


@pytest.mark.parametrize("try_number", [1, 2])
@pytest.mark.parametrize("fault", [None, "too_many_requests"])
def test_own_id_that_is_taken(simulator: Simulator, fault: str | None, try_number: int) -> None:
    """On the first try a taken id is an error that is not retried; the other job is not touched."""
    simulator.seed("modeltraining", "mine", status="InProgress")
    if fault:
        simulator.add_fault(Fault(kind=fault, operation=START))
    durable = try_number == 1  # without it, a retry may not take the job for its own either

    with pytest.raises(AirflowFailException, match=r"'mine' exists already \(InProgress\).*Leave job_id out"):
        start(job_id="mine", durable=durable).execute(context(try_number=try_number))

    assert not simulator.calls(START)
    assert not simulator.calls(CANCEL)


def test_refusal_for_another_reason(simulator: Simulator) -> None:
    """A refused start says why, in the service's words."""
    with pytest.raises(NeptuneMLServiceError, match=r"Provided MLDataProcessing job|data processing|exist"):
        start(data_processing_job_id="nowhere").execute(context())


def test_templated_numbers_and_flags(simulator: Simulator) -> None:
    """A number or flag that a template has turned into text is sent as what it was."""
    task = start(max_hpo_number_of_training_jobs="{{ 4 }}", enable_managed_spot_training="{{ true }}")
    task.max_hpo_number_of_training_jobs, task.enable_managed_spot_training = "4", "True"

    task.execute(context())

    [request] = simulator.calls(START)
    assert request.body["maxHPONumberOfTrainingJobs"] == 4
    assert request.body["enableManagedSpotTraining"] is True


# Exactly one


@pytest.mark.parametrize("arguments", [{}, {"job_id": "mine"}], ids=["generated id", "own id"])
def test_retry_takes_over_the_running_job(
    simulator: Simulator, arguments: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    """A retry finds the job that the first try started and starts no other; the log tells which it was."""
    first = start(**arguments).execute(context())
    assert f"Model training job '{first}' started" in capfd.readouterr().out

    assert start(**arguments).execute(context(try_number=2)) == first
    adopted = f"Model training job '{first}' (InProgress) of an earlier try adopted"
    assert adopted in capfd.readouterr().out
    assert start(**arguments).execute(context(try_number=4)) == first
    assert [request.status for request in simulator.calls(START)].count(200) == 1


@pytest.mark.parametrize("ended", ["Failed", "Stopped", "Completed", "Stopping"])
def test_retry_of_an_ended_job_starts_another(simulator: Simulator, ended: str) -> None:
    """A job that has ended, or is about to, is never taken over: the retry starts a new one."""
    first = start().execute(context())
    assert first is not None
    simulator.set_status("modeltraining", first, ended)

    second = start().execute(context(try_number=2))

    assert second != first
    assert len(simulator.calls(START)) == 2


@pytest.mark.parametrize("status", ["Failed", "Stopping"])
def test_own_id_can_not_be_used_again(simulator: Simulator, status: str) -> None:
    """A retry whose own id belongs to a job that ended, or is being stopped, fails: ids are used once."""
    simulator.seed("modeltraining", "mine", status="InProgress")
    simulator.set_status("modeltraining", "mine", status)

    with pytest.raises(AirflowFailException, match=rf"'mine' exists already \({status}\)"):
        start(job_id="mine").execute(context(try_number=2))


@pytest.mark.parametrize("arguments", [{}, {"job_id": "mine"}], ids=["generated id", "own id"])
def test_retry_takes_over_a_completed_job_that_no_try_has_used(
    simulator: Simulator, arguments: dict[str, Any]
) -> None:
    """A job that completed while its task was dead is used by the retry, where the state store proves it."""
    store, arguments = TaskStateStore(), {**arguments, "wait_for_completion": True}
    with pytest.raises(NeptuneMLTimeoutError):
        start(timeout=0, cancel_on_timeout=False, **arguments).execute(context(task_state_store=store))
    [job_id] = statuses(simulator)
    simulator.finish("modeltraining", job_id)

    retry = context(task_state_store=store, try_number=2)

    assert start(**arguments).execute(retry) == job_id
    assert retry["ti"].xcoms["description"]["status"] == "Completed"
    assert len(simulator.calls(START)) == 1


@pytest.mark.parametrize("wait_for_completion", [True, False])
def test_completed_job_that_a_try_has_used(simulator: Simulator, wait_for_completion: bool) -> None:
    """A job that an earlier try ended well with is not taken over, though it is in the tries to look at."""
    store = TaskStateStore()
    with when_answered(simulator, START, lambda: simulator.advance(100_000)):
        first = start(wait_for_completion=wait_for_completion).execute(context(task_state_store=store))
    simulator.advance(100_000)

    assert start().execute(context(task_state_store=store, try_number=2)) != first


def test_dag_run_that_was_made_again_has_nothing_unused(simulator: Simulator) -> None:
    """The note of the own start doesn't make a completed job of a deleted Dag run look unused."""
    first = start().execute(context())
    assert first is not None
    simulator.set_status("modeltraining", first, "Completed")

    assert start().execute(context(task_state_store=TaskStateStore())) != first


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [{}, {"job_id": "mine"}], ids=["generated id", "own id"])
@pytest.mark.parametrize("stage", [None, "hpoJob"], ids=["completed", "failed"])
def test_job_that_ended_before_its_start_was_answered(
    simulator: Simulator, arguments: dict[str, Any], stage: str | None
) -> None:
    """A start whose reply was lost is known to be ours, even if its job has ended by the second request."""
    stages = dict.fromkeys(("processingJob", "hpoJob", "modelTransformJob"), 0.0)
    simulator.script("modeltraining", None, fail_stage=stage, reason="no", seconds=stages)
    simulator.add_fault(Fault(kind="reset", operation=START, when="after"))
    task = start(wait_for_completion=True, **arguments)

    if stage:
        with pytest.raises(
            NeptuneMLFailedError, match="ended as Failed in stage 'hyperparameter tuning': no"
        ):
            task.execute(context())
    else:
        task.execute(context())
    assert len(simulator.calls(START)) == 2
    assert len(statuses(simulator)) == 1


def test_nothing_is_started_that_can_not_be_watched(simulator: Simulator) -> None:
    """Who may not describe jobs gets to know it before one is started."""
    simulator.add_fault(Fault(kind="access_denied", operation=GET, times=None))

    with pytest.raises(NeptuneMLServiceError, match="neptune-db:GetMLModelTrainingJobStatus"):
        start().execute(context())

    assert not simulator.calls(START)


def test_clear_of_an_own_id_is_no_retry(simulator: Simulator) -> None:
    """A cleared task does not take a running job that has its id for its own: it may be somebody else's."""
    simulator.seed("modeltraining", "mine", status="InProgress")

    with pytest.raises(AirflowFailException, match="exists already"):
        start(job_id="mine", retries=1).execute(context(try_number=2, max_tries=2))


def test_earlier_id_is_in_xcom_before_it_is_looked_up(simulator: Simulator) -> None:
    """A teardown finds the job of an earlier try though the last try could not even look for it."""
    first = start().execute(context())
    simulator.add_fault(Fault(kind="access_denied", operation=GET))
    retry = context(try_number=2)

    with pytest.raises(NeptuneMLServiceError):
        start().execute(retry)

    assert retry["ti"].xcoms == {"job_id": first}


def test_clear_after_success_starts_another(simulator: Simulator) -> None:
    """Clearing a task that had succeeded starts a new job, even if the old one is still running."""
    first = start(retries=3).execute(context(max_tries=3))

    # Airflow moves max_tries on when it clears.
    assert start(retries=3).execute(context(try_number=2, max_tries=4)) != first


def test_not_durable(simulator: Simulator) -> None:
    """Without durable a retry starts a new job."""
    first = start(durable=False).execute(context())

    assert start(durable=False).execute(context(try_number=2)) != first
    assert start(durable=False).execute(context()) != first


@pytest.mark.slow
@pytest.mark.parametrize("botocore_config", [None, ONCE])
@pytest.mark.parametrize("arguments", [{}, {"job_id": "mine"}], ids=["generated id", "own id"])
def test_lost_reply(
    simulator: Simulator, arguments: dict[str, Any], botocore_config: dict[str, Any] | None
) -> None:
    """A start whose reply was lost is sent again, by boto3 or by us; what the first one started is ours."""
    simulator.add_fault(Fault(kind="reset", operation=START, when="after"))

    job_id = start(botocore_config=botocore_config, **arguments).execute(context())

    assert len(simulator.calls(START)) == 2
    assert statuses(simulator) == {job_id: "InProgress"}


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["client_timeout", "internal_failure", "reset"])
def test_ambiguous_start(simulator: Simulator, fault: str) -> None:
    """A start that was carried out, whatever its answer says, is found by its id when it is sent again."""
    simulator.add_fault(Fault(fault, operation=START, when="after"))

    assert start(job_id="mine", botocore_config=ONCE).execute(context()) == "mine"

    assert len(simulator.calls(START)) == 2
    assert statuses(simulator) == {"mine": "InProgress"}


@pytest.mark.slow
def test_transient_errors_before_the_start(simulator: Simulator) -> None:
    """A start that is throttled, and a look-up that fails, are tried again until they are answered."""
    first = start().execute(context())
    simulator.add_fault(Fault(kind="internal_failure", operation=GET))

    assert start(botocore_config=ONCE).execute(context(try_number=2)) == first

    simulator.add_fault(Fault(kind="too_many_requests", operation=START))
    assert start(task_id="other").execute(context(task_id="other"))


def elsewhere(where: Any) -> Any:
    """Return a context as another Airflow has it for its Dag run of the same name."""
    return {**where, "dag_run": SimpleNamespace(start_date=RUN_BEGAN + timedelta(seconds=1))}


def before_the_upgrade(where: Any) -> Any:
    """Return a context from which ours makes the ids that earlier versions made."""
    return {**where, "dag_run": None}


def test_two_airflows_on_one_cluster(simulator: Simulator) -> None:
    """Neither a first try nor a retry touches the job of another Airflow's run of the same name."""
    theirs = start().execute(elsewhere(context()))

    ours = start().execute(context())
    assert start().execute(context(try_number=2)) == ours
    task = start()
    task.execute(context(task_id="train_2", try_number=2))
    task.on_kill()

    assert ours != theirs
    assert theirs is not None
    assert statuses(simulator)[theirs] == "InProgress"


@pytest.mark.parametrize("store", [None, TaskStateStore()], ids=["no store", "store"])
def test_retry_of_a_try_of_an_earlier_version(simulator: Simulator, store: TaskStateStore | None) -> None:
    """A retry finds the job of a try before the upgrade, whose id did not hold when the Dag run began."""
    wait_begun(start(), before_the_upgrade(context(task_state_store=store)))
    [before] = statuses(simulator)

    assert start().execute(context(try_number=2, task_state_store=store)) == before


def test_retry_beside_an_airflow_with_an_earlier_version(simulator: Simulator) -> None:
    """Where the store tells that no try has started such a job, it is another Airflow's."""
    theirs = start().execute(before_the_upgrade(context()))

    assert start().execute(context(try_number=2, task_state_store=TaskStateStore())) != theirs


def test_dag_run_that_was_made_again(simulator: Simulator) -> None:
    """A Dag run that was deleted and made again gets new ids, and its retries find them."""
    first = start().execute(context())
    assert first is not None
    simulator.set_status("modeltraining", first, "Completed")

    again = start().execute(context())

    assert again not in (None, first)
    assert start().execute(context(try_number=2)) == again


# Cancelling


def test_cancel_waits_until_the_job_has_ended(simulator: Simulator) -> None:
    """The task ends when the job has passed through Stopping to Stopped."""
    simulator.seed("modeltraining", "mine", status="InProgress")

    with when_answered(simulator, GET, lambda: simulator.advance(3600)):
        assert cancel().execute(context()) == "mine"

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
    task = cancel(job_id=empty, ignore_missing=True)

    assert task.execute(context()) is None
    assert not simulator.journal


def test_cancel_that_is_refused_because_it_was_taken(simulator: Simulator) -> None:
    """Whether the service takes a second request is not known; a job that is stopping was asked to."""
    simulator.seed("modeltraining", "mine", status="InProgress")
    simulator.set_status("modeltraining", "mine", "Stopping")
    simulator.add_fault(
        Fault(kind="access_denied", operation=CANCEL, status=400, code="InvalidParameterException")
    )

    assert cancel(wait_for_completion=False).execute(context()) == "mine"


def test_cancel_is_sent_until_it_is_answered(simulator: Simulator) -> None:
    """Throttling does not leave a job running that should be cancelled."""
    simulator.seed("modeltraining", "mine", status="InProgress")
    simulator.add_fault(Fault(kind="too_many_requests", operation=CANCEL))

    task = cancel(wait_for_completion=False, botocore_config=ONCE)

    assert task.execute(context()) == "mine"

    assert statuses(simulator)["mine"] == "Stopping"


def test_cancel_times_out(simulator: Simulator) -> None:
    """A job that does not end in time fails the task."""
    simulator.seed("modeltraining", "mine", status="InProgress")

    with pytest.raises(NeptuneMLTimeoutError, match=r"'mine' timed out after .*: still Stopping"):
        cancel(timeout=0.05).execute(context())


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"data_processing_job_id": ""}, "data_processing_job_id='' must be 1-48 letters, digits or hyphens"),
        ({"job_id": "a" * 49}, "must be 1-48"),
        ({"data_processing_job_id": "None"}, "data_processing_job_id='None' must be 1-48"),
        ({"data_processing_job_id": None}, "data_processing_job_id=None must be given"),
        ({"job_id": "a_b"}, "job_id='a_b' must be"),
        ({"job_id": "a:b"}, "job_id='a:b' must be"),
        ({"data_processing_job_id": "a_b"}, "data_processing_job_id='a_b' must be 1-48"),
        ({"previous_model_training_job_id": "a_b"}, "previous_model_training_job_id='a_b' must be"),
        (
            {"volume_encryption_kms_key": ["x"]},
            "volume_encryption_kms_key=.* must be the id or ARN of a KMS key",
        ),
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
        ({"botocore_config": "x"}, "botocore_config=<str> must be a dict of plain values"),
        (
            {"botocore_config": {"signature_version": object()}},
            "botocore_config=.* must be a dict of plain values",
        ),
        ({"timeout": "1h"}, "timeout='1h' must be a number of seconds"),
        ({"poll_interval": -5}, "poll_interval=-5 must be"),
        ({"poll_interval": 0}, "poll_interval=0 must be more than 0 seconds"),
    ],
)
def test_mistakes_are_told_when_the_dag_is_parsed(
    simulator: Simulator, arguments: dict[str, Any], words: str
) -> None:
    """A wrong argument is a ValueError with the argument, the value and the rule; nothing is sent."""
    with pytest.raises(ValueError, match=words):
        start(**arguments)

    assert not simulator.journal


def test_mistakes_tell_no_secret() -> None:
    """Of a dict the message has the keys alone: a proxy's password may be in it."""
    config = {"proxies": {"https": "http://user:secret@proxy"}, "signature_version": object()}

    with pytest.raises(ValueError, match=r"'proxies': \.\.\., 'signature_version': \.\.\.") as caught:
        start(botocore_config=config)

    assert "secret" not in str(caught.value)


def test_parts_of_a_dict_may_be_outputs() -> None:
    """What is only known at run time may stand in a dict, too."""
    with DAG("dag", schedule=None):
        upstream = start(task_id="upstream")
        task = start(additional_parameters={"modelName": upstream.output})

    assert task.upstream_task_ids == {"upstream"}


def test_mistakes_in_templates_are_told_after_rendering(simulator: Simulator) -> None:
    """What a template turned into is checked before anything is sent."""
    task = start(train_model_s3_location="{{ params.where }}")
    task.train_model_s3_location = "where?"

    with pytest.raises(ValueError, match=r"train_model_s3_location='where\?' must be"):
        task.execute(context())

    assert not simulator.journal
