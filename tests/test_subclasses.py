"""Subclasses of users, with arguments and template fields of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from airflow_provider_neptune_ml.compat import CAN_RUN_WITHOUT_WORKER
from airflow_provider_neptune_ml.operators.neptune_ml import (
    NeptuneMLCancelModelTrainingJobOperator,
    NeptuneMLStartModelTrainingJobOperator,
)
from airflow_provider_neptune_ml.sensors.neptune_ml import NeptuneMLModelTrainingJobSensor
from airflow_provider_neptune_ml.simulator import Simulator
from tests.contexts import context
from tests.operators.tasks import START, statuses
from tests.sdk import DAG, TaskDeferred, task

pytestmark = pytest.mark.usefixtures("connection")


class TeamStart(NeptuneMLStartModelTrainingJobOperator):
    """A start with a required and a templated argument, which are set once ours are."""

    template_fields: Sequence[str] = (*NeptuneMLStartModelTrainingJobOperator.template_fields, "cost_centre")

    def __init__(self, *, team: str, cost_centre: str | None = None, **kwargs: Any) -> None:
        super().__init__(**{"train_model_s3_location": f"s3://{team}/models", **kwargs})
        self.team = team
        self.cost_centre = cost_centre


class TeamSensor(NeptuneMLModelTrainingJobSensor):
    """A sensor of that kind."""

    template_fields: Sequence[str] = (*NeptuneMLModelTrainingJobSensor.template_fields, "cost_centre")

    def __init__(self, *, team: str, cost_centre: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.team = team
        self.cost_centre = cost_centre


class TeamCancel(NeptuneMLCancelModelTrainingJobOperator):
    """A cancel of that kind."""

    template_fields: Sequence[str] = (*NeptuneMLCancelModelTrainingJobOperator.template_fields, "cost_centre")

    def __init__(self, *, team: str, cost_centre: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.team = team
        self.cost_centre = cost_centre


class QuietSensor(TeamSensor):
    """A subclass of a subclass, without arguments of its own."""


def test_they_work(simulator: Simulator, completed_data: str) -> None:
    """They start, wait and cancel, and their own template fields are rendered."""
    own: dict[str, Any] = {"team": "fraud", "cost_centre": "{{ params.centre }}"}
    params: Any = {"params": {"centre": "c-1", "id": "mine"}}
    start = TeamStart(
        task_id="train", job_id="mine", data_processing_job_id="data-1", wait_for_completion=False, **own
    )
    wait = QuietSensor(task_id="wait", job_id="{{ params.id }}", mode="reschedule", **own)
    cancel = TeamCancel(task_id="cancel", job_id="{{ params.id }}", wait_for_completion=False, **own)

    for each in (start, wait, cancel):
        each.render_template_fields(params)
        assert (each.team, each.cost_centre, each.job_id) == ("fraud", "c-1", "mine")
    assert start.execute(context()) == "mine"
    assert not wait.poke(context())
    assert cancel.execute(context()) == "mine"
    [call] = simulator.calls(START)
    assert call.body["trainModelS3Location"] == "s3://fraud/models"
    assert statuses(simulator) == {"mine": "Stopping"}


def test_our_arguments_are_checked_all_the_same() -> None:
    """What we require is still required of a subclass, and told by its name."""
    with pytest.raises(ValueError, match="data_processing_job_id=None must be given"):
        TeamStart(task_id="train", team="fraud", data_processing_job_id=None)
    with pytest.raises(ValueError, match="job_id='my_job' must be"):
        TeamSensor(task_id="wait", team="fraud", job_id="my_job")


def test_they_start_in_the_triggerer() -> None:
    """What only a worker can render in an argument of a subclass keeps no sensor from the triggerer."""

    @task
    def centre() -> str:
        return "c-1"

    with DAG("teams", schedule=None):
        wait = TeamSensor(
            task_id="wait", job_id="mine", team="fraud", cost_centre=centre(), start_from_trigger=True
        )

    assert wait.start_from_trigger is CAN_RUN_WITHOUT_WORKER
    assert (wait.start_trigger_args is not None) is CAN_RUN_WITHOUT_WORKER
    with pytest.raises(TaskDeferred):
        wait.execute(context())


def test_they_can_be_mapped() -> None:
    """Their own arguments can be expanded over, and ours."""
    with DAG("mapped_teams", schedule=None):
        TeamStart.partial(task_id="train", team="fraud", train_model_s3_location="s3://b/m").expand(
            data_processing_job_id=["data-1", "data-2"]
        )
        mapped: Any = TeamSensor.partial(task_id="wait", job_id="mine", start_from_trigger=True).expand(
            team=["fraud", "risk"]
        )
    unmapped = mapped.unmap({"team": "risk"})

    assert mapped.start_trigger_args is None
    assert (unmapped.team, unmapped.job_id) == ("risk", "mine")


class StartsThere(NeptuneMLModelTrainingJobSensor):
    """A sensor that asks for its start in the triggerer as Airflow's guide for operators does."""

    start_from_trigger = True


def test_start_from_trigger_of_a_class() -> None:
    """Its Dag can be parsed; ours are asked by the argument, so that it starts on a worker."""
    with DAG("nightly", schedule=None):
        sensor = StartsThere(task_id="wait", job_id="mine")

    assert sensor.start_trigger_args is None
