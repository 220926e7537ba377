"""The sensors in poke and reschedule mode, against the simulator over HTTP."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from airflow.exceptions import AirflowRescheduleException
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
)

from airflow_provider_neptune_ml.exceptions import (
    NeptuneMLNotFoundError,
    NeptuneMLServiceError,
    NeptuneMLUnreachableError,
)
from airflow_provider_neptune_ml.sensors.neptune_ml import NeptuneMLModelTrainingJobSensor
from airflow_provider_neptune_ml.simulator import Fault, Simulator
from tests.contexts import context

pytestmark = pytest.mark.usefixtures("connection", "airflow_database")


@pytest.fixture(params=["poke", "reschedule"])
def mode(request: pytest.FixtureRequest) -> str:
    """Each mode without a trigger."""
    return str(request.param)


def sensor(mode: str = "poke", **arguments: Any) -> NeptuneMLModelTrainingJobSensor:
    """Return a sensor on the job of these tests."""
    defaults = {"task_id": "wait", "job_id": "mine", "mode": mode, "poke_interval": 0.01}
    return NeptuneMLModelTrainingJobSensor(**{**defaults, **arguments})


def run(task: NeptuneMLModelTrainingJobSensor, simulator: Simulator, step: float = 120) -> Any:
    """Execute a sensor as Airflow does, stepping the simulator's clock from poke to poke."""
    if task.mode == "poke":
        ask = task._describe

        def describe_and_step() -> dict[str, Any]:
            try:
                return ask()
            finally:
                simulator.advance(step)

        task._describe = describe_and_step  # type: ignore[method-assign]
        return task.execute(context())
    began = datetime.now(timezone.utc)
    while True:
        try:
            # Airflow runs each poke of a rescheduled sensor in a process of its own.
            return task.prepare_for_execution().execute(context(start_date=began))
        except AirflowRescheduleException:
            simulator.advance(step)


def test_waits_for_completion(mode: str, simulator: Simulator) -> None:
    """The sensor goes on until the job has completed and returns its description."""
    simulator.seed("modeltraining", "mine", status="InProgress")

    description = run(sensor(mode), simulator)

    assert description["id"] == "mine"
    assert description["status"] == "Completed"
    assert description["processingJob"]["outputLocation"].startswith("s3://")
    assert len(simulator.calls("GetMLModelTrainingJob")) > 2


def test_fails_with_the_reason(mode: str, simulator: Simulator) -> None:
    """A failed job fails the sensor for good, in one line with the stage, the reason and the log."""
    simulator.seed("modeltraining", "mine", status="InProgress")
    simulator.fail("modeltraining", "mine", reason="AlgorithmError: bad features", stage="processingJob")

    with pytest.raises(AirflowFailException) as caught:
        run(sensor(mode), simulator)

    message = str(caught.value)
    assert message.startswith(
        "Model training job 'mine' ended as Failed in stage 'processing': AlgorithmError: bad features"
    )
    assert "cloudwatch" in message
    assert "\n" not in message


def test_stopped_is_a_failure(mode: str, simulator: Simulator) -> None:
    """A job that somebody stopped neither succeeds nor goes on for ever."""
    simulator.seed("modeltraining", "mine", status="Stopped")

    with pytest.raises(AirflowFailException, match="'mine' ended as Stopped"):
        run(sensor(mode), simulator)


@pytest.mark.parametrize("status", ["completed", "COMPLETED"])
def test_statuses_are_compared_without_case(simulator: Simulator, status: str) -> None:
    """The case of a status word does not matter."""
    simulator.seed("modeltraining", "mine", status="InProgress")
    simulator.set_status("modeltraining", "mine", status)

    assert run(sensor(), simulator)["status"] == status


@pytest.mark.parametrize("status", ["Optimizing", None])
def test_unknown_and_missing_statuses_mean_still_going(
    mode: str, simulator: Simulator, status: str | None
) -> None:
    """A word that the table does not have, or none, is neither success nor failure."""
    simulator.seed("modeltraining", "mine", status="InProgress")
    simulator.set_status("modeltraining", "mine", status)

    with pytest.raises(AirflowSensorTimeout, match=status or "without a status"):
        run(sensor(mode, timeout=0.2), simulator)

    assert simulator.calls("GetMLModelTrainingJob")


@pytest.mark.parametrize("status", ["Completed", "Failed", "Stopped"])
def test_target_statuses(simulator: Simulator, status: str) -> None:
    """With all terminal statuses as targets, the sensor gates on the end, whatever it is."""
    simulator.seed("modeltraining", "mine", status=status)

    description = run(sensor(target_statuses=["Completed", "failed", "Stopped"]), simulator)

    assert description["status"] == status


def test_target_statuses_leave_the_others_bad(simulator: Simulator) -> None:
    """A terminal status that is no target fails the sensor, success included."""
    simulator.seed("modeltraining", "mine", status="Completed")

    with pytest.raises(AirflowFailException, match="'mine' ended as Completed"):
        run(sensor(target_statuses=["Failed"]), simulator)


def test_unknown_job(mode: str, simulator: Simulator) -> None:
    """A job that does not exist fails the sensor at once."""
    with pytest.raises(NeptuneMLNotFoundError, match="'mine' was refused with 404"):
        run(sensor(mode), simulator)

    assert len(simulator.calls("GetMLModelTrainingJob")) == 1


def test_timeout_says_where_the_job_is(mode: str, simulator: Simulator) -> None:
    """A sensor whose time is over says how far the job has got; it is not retried."""
    simulator.seed("modeltraining", "mine", status="InProgress")
    began = datetime.now(timezone.utc) - timedelta(seconds=100)

    with pytest.raises(
        AirflowSensorTimeout, match="'mine' is still InProgress, stage 'processing' InProgress after 1 min"
    ):
        sensor(mode, timeout=50).execute(context(start_date=began))


@pytest.mark.parametrize("status", ["Failed", "Stopped"])
def test_soft_fail_skips_with_the_reason(mode: str, simulator: Simulator, status: str) -> None:
    """With soft_fail an ended job skips the sensor, and the reason is not lost."""
    simulator.seed("modeltraining", "mine", status=status)

    with pytest.raises(AirflowSkipException, match=f"'mine' ended as {status}"):
        run(sensor(mode, soft_fail=True), simulator)


def test_soft_fail_does_not_skip_trouble(mode: str, simulator: Simulator) -> None:
    """A missing permission is no outcome of the job: with soft_fail it fails the sensor all the same."""
    simulator.add_fault(Fault(kind="access_denied", times=None))

    with pytest.raises(NeptuneMLServiceError):
        run(sensor(mode, soft_fail=True), simulator)


def test_never_fail_skips_whatever_happens(mode: str, simulator: Simulator) -> None:
    """Airflow's never_fail keeps its meaning, and the reason is not lost."""
    simulator.add_fault(Fault(kind="access_denied", times=None))

    with pytest.raises(AirflowSkipException, match="neptune-db:GetMLModelTrainingJobStatus"):
        run(sensor(mode, never_fail=True), simulator)


def test_timeout_of_a_rescheduled_sensor_counts_from_its_first_poke(simulator: Simulator) -> None:
    """On Airflow 3 a rescheduled sensor asks when it began."""
    simulator.seed("modeltraining", "mine", status="InProgress")
    where = context()
    where["ti"].get_first_reschedule_date = lambda _: datetime.now(timezone.utc) - timedelta(seconds=100)

    with pytest.raises(AirflowSensorTimeout, match="after 1 min 40 s"):
        sensor("reschedule", timeout=50).execute(where)


def test_soft_fail_skips_on_timeout(mode: str, simulator: Simulator) -> None:
    """With soft_fail a timeout skips, and says where the job is."""
    simulator.seed("modeltraining", "mine", status="InProgress")

    with pytest.raises(AirflowSkipException, match="'mine' is still InProgress"):
        run(sensor(mode, soft_fail=True, timeout=0), simulator)


def test_trouble_is_waited_out(mode: str, simulator: Simulator) -> None:
    """Throttling and lost connections neither fail nor end the wait."""
    simulator.seed("modeltraining", "mine", status="Completed")
    simulator.add_fault(Fault(kind="too_many_requests", times=2))

    description = run(sensor(mode, botocore_config={"retries": {"total_max_attempts": 1}}), simulator)

    assert description["status"] == "Completed"
    assert len(simulator.calls("GetMLModelTrainingJob")) == 3


def test_trouble_without_an_end(mode: str, simulator: Simulator) -> None:
    """Nothing but trouble for unreachable_timeout fails the sensor with the last cause."""
    simulator.seed("modeltraining", "mine", status="Completed")
    simulator.add_fault(Fault(kind="internal_failure", times=None))
    task = sensor(mode, unreachable_timeout=0.1, botocore_config={"retries": {"total_max_attempts": 1}})

    with pytest.raises(
        NeptuneMLUnreachableError, match=r"'mine': nothing but trouble for .* at last: .* 500"
    ):
        run(task, simulator)


def test_forbidden_fails_at_once(mode: str, simulator: Simulator) -> None:
    """A missing permission does not pass with time, and is named."""
    simulator.add_fault(Fault(kind="access_denied", times=None))

    with pytest.raises(NeptuneMLServiceError, match="neptune-db:GetMLModelTrainingJobStatus"):
        run(sensor(mode), simulator)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"job_id": ""}, "job_id='' must be 1-48 letters, digits or hyphens"),
        ({"job_id": "a" * 49}, f"job_id='{'a' * 49}' must be 1-48"),
        ({"job_id": "my_job"}, "job_id='my_job' must be"),
        ({"job_id": "run:1"}, "job_id='run:1' must be"),
        ({"job_id": None}, "job_id='' must be"),
        (
            {"target_statuses": ["Done"]},
            "target_statuses has 'Done', .* choose from Completed, Failed, Stopped",
        ),
        ({"target_statuses": "Completed"}, "target_statuses='Completed' must be a list"),
        ({"target_statuses": []}, "target_statuses=.* must be a list of one or more"),
        ({"unreachable_timeout": -1}, "unreachable_timeout=-1 must be a number of seconds"),
    ],
)
def test_mistakes_are_told_when_the_dag_is_parsed(
    simulator: Simulator, arguments: dict[str, Any], words: str
) -> None:
    """A wrong argument is a ValueError with the argument, the value and the rule; nothing is sent."""
    with pytest.raises(ValueError, match=words):
        sensor(**arguments)

    assert not simulator.journal


def test_mistakes_in_templates_are_told_after_rendering(simulator: Simulator) -> None:
    """What a template turned into is checked before anything is sent."""
    task = sensor(job_id="{{ params.job_id }}")
    task.job_id = "my_job"

    with pytest.raises(ValueError, match="job_id='my_job' must be"):
        task.execute(context())

    assert not simulator.journal
