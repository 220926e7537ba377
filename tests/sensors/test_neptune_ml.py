"""What is the sensors' own: when they poke, and their arguments. How they end: tests/test_outcomes.py."""

from __future__ import annotations

import signal
from datetime import datetime, timedelta, timezone
from importlib import import_module
from importlib.util import find_spec
from threading import Event
from typing import Any

import pytest
from airflow.exceptions import AirflowRescheduleException
from airflow.listeners.listener import get_listener_manager

from airflow_provider_neptune_ml.compat import (
    AIRFLOW_V_3_0_PLUS,
    CAN_RUN_WITHOUT_WORKER,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
)
from airflow_provider_neptune_ml.sensors.neptune_ml import NeptuneMLModelTrainingJobSensor
from airflow_provider_neptune_ml.simulator import Fault, Simulator
from tests.conftest import ONCE
from tests.contexts import context
from tests.interruptions import signalled
from tests.sdk import DAG, Asset, TaskDeferred, task

pytestmark = pytest.mark.usefixtures("connection", "airflow_database")
# What Airflow runs a task with an execution_timeout in.
_NEWER = "airflow.sdk.execution_time.timeout"
_timeout = import_module(
    _NEWER if AIRFLOW_V_3_0_PLUS and find_spec(_NEWER) else "airflow.utils.timeout"
).timeout
_NEW = pytest.mark.skipif(not CAN_RUN_WITHOUT_WORKER, reason="Airflow before 3.3 always takes a worker")


def sensor(mode: str = "poke", **arguments: Any) -> NeptuneMLModelTrainingJobSensor:
    """Return a sensor on the job of these tests."""
    defaults = {"task_id": "wait", "job_id": "mine", "mode": mode}
    return NeptuneMLModelTrainingJobSensor(**{**defaults, **arguments})


@pytest.mark.parametrize("as_text", [False, True])
def test_timeout_of_a_rescheduled_sensor_counts_from_its_first_poke(
    simulator: Simulator, as_text: bool
) -> None:
    """On Airflow 3 a rescheduled sensor asks when it began; in ``dag.test()`` of 3.0 the answer is a text."""
    simulator.seed("modeltraining", "mine", status="InProgress")
    where = context()
    began = datetime.now(timezone.utc) - timedelta(hours=2)
    text = began.isoformat().replace("+00:00", "Z")
    where["ti"].get_first_reschedule_date = lambda _: text if as_text else began

    with pytest.raises(AirflowSensorTimeout, match="after 2 h"):
        sensor("reschedule", timeout=50).execute(where)


def test_exponential_backoff_is_left_to_airflow(simulator: Simulator) -> None:
    """A sensor that is told to back off pokes when Airflow says, not when we would."""
    simulator.seed("modeltraining", "mine", status="InProgress")
    task = sensor("reschedule", poke_interval=3600, exponential_backoff=True, max_wait=5)

    with pytest.raises(AirflowRescheduleException) as later:
        task.execute(context())

    assert later.value.reschedule_date < datetime.now(timezone.utc) + timedelta(seconds=6)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"job_id": ""}, "job_id='' must be 1-48 letters, digits or hyphens"),
        ({"job_id": "a" * 49}, f"job_id='{'a' * 49}' must be 1-48"),
        ({"job_id": "my_job"}, "job_id='my_job' must be"),
        ({"job_id": "run:1"}, "job_id='run:1' must be"),
        ({"job_id": None}, "job_id=None must be given"),
        (
            {"target_statuses": ["Done"]},
            "target_statuses has 'Done', .* choose from Completed, Failed, Stopped",
        ),
        ({"target_statuses": "Completed"}, "target_statuses='Completed' must be a list"),
        ({"target_statuses": []}, "target_statuses=.* must be a list of one or more"),
        ({"unreachable_timeout": -1}, "unreachable_timeout=-1 must be a number of seconds"),
        ({"poke_interval": 0}, "poke_interval=0 must be more than 0 seconds"),
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


@pytest.mark.parametrize("job_id", ["my_job", "", "None"])
def test_id_that_is_none_is_not_deferred_again(job_id: str) -> None:
    """What the triggerer hands back because it is no id ends the sensor, and does not go round for ever."""
    sensor = NeptuneMLModelTrainingJobSensor(
        task_id="wait", job_id="{{ params.job }}", start_from_trigger=True, end_from_trigger=True
    )
    sensor.job_id = job_id
    event = {"status": "unresolved", "message": f"it was rendered to {job_id!r}"}

    with pytest.raises(ValueError, match=f"job_id='{job_id}' must be"):
        sensor.execute_complete(context(), event)


def test_execution_timeout_in_the_middle_of_a_poke(simulator: Simulator, held: Event) -> None:
    """Airflow's execution_timeout skips no sensor, wherever in the sensor it strikes."""
    simulator.seed("modeltraining", "mine", status="InProgress")
    simulator.add_fault(Fault("slow"))

    # Airflow sets an alarm; here it comes when the request has arrived.
    over = signalled(simulator, "GetMLModelTrainingJob", signal.SIGALRM)
    with pytest.raises(AirflowTaskTimeout), _timeout(3600), over:
        sensor(soft_fail=True).execute(context())


def test_what_has_ended_before_is_not_deferred(simulator: Simulator) -> None:
    """Airflow can lose a task whose trigger ends at once, so the worker ends a wait that is over before."""
    simulator.seed("modeltraining", "mine", status="InProgress")
    simulator.fail("modeltraining", "mine", reason="no")
    # What comes after the first look changes nothing.
    simulator.add_fault(Fault("internal_failure", skip=1, times=None))

    with pytest.raises(AirflowFailException, match="'mine' ended as Failed"):
        sensor(deferrable=True, botocore_config=ONCE).execute(context())
    assert len(simulator.calls("GetMLModelTrainingJob")) == 1
    simulator.clear_faults()
    assert sensor(deferrable=True, target_statuses=["Failed"]).execute(context())["status"] == "Failed"


@pytest.mark.parametrize("fault", ["internal_failure", "access_denied"])
def test_errors_before_the_wait_are_left_to_it(simulator: Simulator, fault: str) -> None:
    """An error tells nothing of the job: the trigger retries it, or fails the task."""
    simulator.seed("modeltraining", "mine", status="Completed")
    simulator.add_fault(Fault(fault, times=None))

    with pytest.raises(TaskDeferred):
        sensor(deferrable=True, botocore_config=ONCE).execute(context())


@_NEW
@pytest.mark.parametrize("soft_fail", [True, False])
@pytest.mark.parametrize(("seconds", "error"), [(60, AirflowTaskTimeout), (7200, AirflowSensorTimeout)])
def test_wait_that_airflow_gave_up(soft_fail: bool, seconds: int, error: type[BaseException]) -> None:
    """Where the triggerer was down at the deadline, Airflow's own time-out ends the sensor alike."""
    waiting = sensor(
        deferrable=True, timeout=3600, execution_timeout=timedelta(seconds=seconds), soft_fail=soft_fail
    )

    with pytest.raises(AirflowSkipException if soft_fail and seconds > 3600 else error):
        waiting.resume_execution("__fail__", {"error": "Trigger timeout"}, context())


def test_arguments_that_only_a_worker_knows(capfd: pytest.CaptureFixture[str]) -> None:
    """With an output of a task in whatever argument, the wait begins in a worker, which says why."""

    @task
    def output() -> Any: ...

    begin: dict[str, Any] = {"start_from_trigger": True}
    with DAG("gate", schedule=None):
        known_later: list[tuple[str, Any]] = [
            ("region_name", output()),
            ("target_statuses", output()),
            ("target_statuses", [output()]),
            ("botocore_config", {"retries": {"mode": output()}}),
            ("job_id", output().map(str)),
        ]
        tasks = [
            (name, sensor(task_id=f"wait_{number}", **{name: value}, **begin))
            for number, (name, value) in enumerate(known_later)
        ]
        plain = sensor(task_id="plain", job_id=output(), **begin)

    assert plain.start_from_trigger is CAN_RUN_WITHOUT_WORKER
    for name, waiting in tasks:
        assert not waiting.start_from_trigger, name
        # Airflow locks the task, and renders it.
        waiting = waiting.prepare_for_execution()
        setattr(waiting, name, {"job_id": "mine", "region_name": "us-east-1"}.get(name))
        with pytest.raises(TaskDeferred):
            waiting.execute(context())
        reason = (
            f"{name} can only be rendered by a worker" if CAN_RUN_WITHOUT_WORKER else "that needs Airflow 3.3"
        )
        assert capfd.readouterr().out.count(f"Started on a worker, not from the trigger: {reason}") == 1


@_NEW
def test_listeners(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a plugin has a listener, Airflow refuses a Dag with a task that says it ends in the triggerer."""
    waiting = sensor(start_from_trigger=True, end_from_trigger=True)
    assert waiting.end_from_trigger
    manager = get_listener_manager()
    monkeypatch.setattr(manager.pm, "get_plugins", lambda: {"a listener"})

    assert manager.has_listeners
    assert not waiting.end_from_trigger
    assert waiting.start_from_trigger
    started: Any = waiting.start_trigger_args
    assert not started.trigger_kwargs["end_from_trigger"]


@_NEW
@pytest.mark.parametrize(
    ("argument", "value", "reason"),
    [
        ("outlets", [Asset("x-model://mine")], "outlets"),
        ("do_xcom_push", False, "do_xcom_push=False"),
        ("multiple_outputs", True, "multiple_outputs"),
        ("on_skipped_callback", print, "on_skipped_callback"),
    ],
)
def test_what_ends_in_a_worker(
    argument: str, value: Any, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """What Airflow leaves out of a task that ends in the triggerer is done by a worker, which says why."""
    waiting = sensor(start_from_trigger=True, end_from_trigger=True, soft_fail=True, **{argument: value})
    started: Any = waiting.start_trigger_args

    assert waiting.start_from_trigger
    assert not started.trigger_kwargs["end_from_trigger"]
    assert not started.trigger_kwargs["fail_from_trigger"]
    assert waiting.execute_complete(context(), {"status": "success", "description": {}}) == {}
    assert capfd.readouterr().out.count(f"Completed on a worker, not from the trigger: {reason}") == 1
