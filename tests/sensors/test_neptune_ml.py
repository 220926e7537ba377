"""What is the sensors' own: when they poke, and their arguments. How they end: tests/test_outcomes.py."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from airflow.exceptions import AirflowRescheduleException
from airflow.providers.common.compat.sdk import AirflowSensorTimeout

from airflow_provider_neptune_ml.sensors.neptune_ml import NeptuneMLModelTrainingJobSensor
from airflow_provider_neptune_ml.simulator import Simulator
from tests.contexts import context

pytestmark = pytest.mark.usefixtures("connection", "airflow_database")


def sensor(mode: str = "poke", **arguments: Any) -> NeptuneMLModelTrainingJobSensor:
    """Return a sensor on the job of these tests."""
    defaults = {"task_id": "wait", "job_id": "mine", "mode": mode}
    return NeptuneMLModelTrainingJobSensor(**{**defaults, **arguments})


def test_timeout_of_a_rescheduled_sensor_counts_from_its_first_poke(simulator: Simulator) -> None:
    """On Airflow 3 a rescheduled sensor asks when it began."""
    simulator.seed("modeltraining", "mine", status="InProgress")
    where = context()
    where["ti"].get_first_reschedule_date = lambda _: datetime.now(timezone.utc) - timedelta(hours=2)

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
