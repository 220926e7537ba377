"""What every start and stop operator does, whatever its kind."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_neptune_ml.exceptions import NeptuneMLFailedError, NeptuneMLNotFoundError
from airflow_provider_neptune_ml.links.neptune_ml import urls_of
from airflow_provider_neptune_ml.operators import neptune_ml as operators
from airflow_provider_neptune_ml.operators.base import NeptuneMLStartOperator, NeptuneMLStopOperator
from airflow_provider_neptune_ml.simulator import Simulator
from tests.conftest import connect
from tests.contexts import context
from tests.interruptions import wait_begun

pytestmark = pytest.mark.usefixtures("connection", "completed")

# What the starts build on.
BASE = {"dataprocessing": "data-1", "modeltraining": "training-1"}
# The least that each start takes.
STARTS: dict[type[NeptuneMLStartOperator], dict[str, Any]] = {
    operators.NeptuneMLStartDataProcessingJobOperator: {
        "input_data_s3_location": "s3://bucket/exported",
        "processed_data_s3_location": "s3://bucket/processed",
    },
    operators.NeptuneMLStartModelTrainingJobOperator: {
        "data_processing_job_id": "data-1",
        "train_model_s3_location": "s3://bucket/model",
    },
    operators.NeptuneMLStartModelTransformJobOperator: {
        "data_processing_job_id": "data-1",
        "ml_model_training_job_id": "training-1",
        "model_transform_output_s3_location": "s3://bucket/transformed",
    },
    operators.NeptuneMLCreateEndpointOperator: {"ml_model_training_job_id": "training-1"},
}
STOPS: list[type[NeptuneMLStopOperator]] = [
    operators.NeptuneMLCancelDataProcessingJobOperator,
    operators.NeptuneMLCancelModelTrainingJobOperator,
    operators.NeptuneMLCancelModelTransformJobOperator,
    operators.NeptuneMLDeleteEndpointOperator,
]
START_OF = {operator.kind.name: operator for operator in STARTS}
each_start = pytest.mark.parametrize("operator", STARTS, ids=lambda operator: operator.kind.name)
each_stop = pytest.mark.parametrize("operator", STOPS, ids=lambda operator: operator.kind.name)


@pytest.fixture
def completed(simulator: Simulator) -> None:
    """What the starts build on."""
    seed(simulator)


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    """A cluster with the same in which hours pass in a moment."""
    with Simulator(speed=500_000) as simulator:
        connect(monkeypatch, simulator.connection)
        seed(simulator)
        yield simulator


def seed(simulator: Simulator) -> None:
    """Put there what the starts build on."""
    for kind, job_id in BASE.items():
        simulator.seed(kind, job_id, status="Completed")


def start(operator: type[NeptuneMLStartOperator], **arguments: Any) -> NeptuneMLStartOperator:
    """Return an operator that starts and does not wait."""
    defaults = {"task_id": "start", "wait_for_completion": False, "poll_interval": 0.01, "deferrable": False}
    return operator(**{**defaults, **STARTS[operator], **arguments})


def stop(operator: type[NeptuneMLStopOperator], **arguments: Any) -> NeptuneMLStopOperator:
    """Return an operator that stops what is called ``mine``."""
    defaults = {"task_id": "stop", "poll_interval": 0.01, "deferrable": False}
    return operator(**{operator.kind.id_argument: "mine", **defaults, **arguments})


def jobs(simulator: Simulator, operator: type[Any]) -> dict[str, str]:
    """Return the status of everything of a kind but what the tests build on."""
    resources = simulator.overview()["kinds"][operator.kind.name]
    return {job["id"]: job["status"] for job in resources if job["id"] not in BASE.values()}


@each_start
def test_starts(simulator: Simulator, operator: type[NeptuneMLStartOperator]) -> None:
    """A start sends what it was given under its id, returns and pushes the id, and what a Get replies."""
    id_argument = operator.kind.id_argument
    where = context()

    assert start(operator, **{id_argument: "mine"}).execute(where) == "mine"
    [request] = simulator.calls(operator.kind.start_operation)
    assert set(request.body.values()) >= {"mine", *STARTS[operator].values()}
    description = simulator.describe(operator.kind.name, "mine")
    assert where["ti"].xcoms == {
        id_argument: "mine",
        "description": description,
        **urls_of(operator.kind, description),
        **operator.kind.names_in(description),
    }


@each_start
def test_waits(fast: Simulator, operator: type[NeptuneMLStartOperator]) -> None:
    """A start waits for the one good end, and pushes the last description."""
    where = context()
    task = start(operator, wait_for_completion=True)

    resource_id = task.execute(where)

    assert where["ti"].xcoms["description"]["status"] == operator.kind.statuses.succeeded
    assert where["ti"].xcoms["description"]["id"] == resource_id


@each_start
def test_fails(fast: Simulator, operator: type[NeptuneMLStartOperator]) -> None:
    """A start whose work fails says at which stage and why."""
    stage = operator.kind.stages[0]
    fast.script(operator.kind.name, None, fail_stage=stage.member, reason="AlgorithmError: no")
    task = start(operator, wait_for_completion=True)

    with pytest.raises(
        NeptuneMLFailedError, match=f"ended as Failed in stage '{stage.title}': AlgorithmError: no"
    ):
        task.execute(context())


@each_start
def test_retry_takes_over(simulator: Simulator, operator: type[NeptuneMLStartOperator]) -> None:
    """A retry finds what the first try started."""
    first = start(operator).execute(context())

    assert start(operator).execute(context(try_number=2)) == first
    assert len(simulator.calls(operator.kind.start_operation)) == 1


@each_start
def test_kill(simulator: Simulator, operator: type[NeptuneMLStartOperator]) -> None:
    """A kill stops what was started."""
    task, where = start(operator), context()
    wait_begun(task, where)

    task.on_kill()

    words = {operator.kind.statuses.stopping, operator.kind.statuses.stopped}
    assert jobs(simulator, operator)[where["ti"].xcoms[operator.kind.id_argument]] in words


@each_stop
def test_stops(fast: Simulator, operator: type[NeptuneMLStopOperator]) -> None:
    """A stop waits until the job has ended or the endpoint is gone."""
    fast.script(operator.kind.name, "mine", seconds={operator.kind.stages[0].member: 1e12})
    start(START_OF[operator.kind.name], **{operator.kind.id_argument: "mine"}).execute(context())

    assert stop(operator).execute(context()) == "mine"
    assert jobs(fast, operator).get("mine") == operator.kind.statuses.stopped


@each_stop
def test_stop_of_what_is_not_there(simulator: Simulator, operator: type[NeptuneMLStopOperator]) -> None:
    """An unknown id is an error, unless it may be missing."""
    with pytest.raises(NeptuneMLNotFoundError, match="'mine'"):
        stop(operator).execute(context())

    assert stop(operator, ignore_missing=True).execute(context()) == "mine"


@pytest.mark.parametrize(
    ("operator", "arguments", "words"),
    [
        (
            2,
            {"ml_model_training_job_id": None},
            "data_processing_job_id='data-1' given without ml_model_training_job_id",
        ),
        (2, {"training_job_name": "job"}, "training_job_name='job' given: must be"),
        (3, {"ml_model_transform_job_id": "x"}, "ml_model_transform_job_id='x' given: must be"),
        (
            3,
            {"ml_model_training_job_id": None},
            "ml_model_training_job_id or ml_model_transform_job_id must be given",
        ),
        (3, {"update": True}, "endpoint_id=None must be the id of the inference endpoint if update=True"),
        (3, {"update": "maybe"}, "update='maybe' must be True or False"),
        (3, {"instance_count": 0}, "instance_count=0 must be a whole number, 1 or more"),
        (3, {"instance_type": "m5.xlarge"}, "instance_type='m5.xlarge' must be a SageMaker instance type"),
        (3, {"endpoint_id": "my_endpoint"}, "endpoint_id='my_endpoint' must be 1-48"),
        (0, {"config_file_name": 5.5}, "config_file_name=5.5 must be a name"),
        (0, {"processing_instance_volume_size_in_gb": -1}, "volume_size_in_gb=-1 must be a whole number"),
    ],
)
def test_mistakes_are_told_when_the_dag_is_parsed(
    simulator: Simulator, operator: int, arguments: dict[str, Any], words: str
) -> None:
    """A wrong argument is a ValueError with the argument, the value and the rule; nothing is sent."""
    with pytest.raises(ValueError, match=re.escape(words)):
        start(list(STARTS)[operator], **arguments)

    assert not simulator.journal


@pytest.mark.parametrize("nothing", ["", "None"])
def test_nothing_previous(simulator: Simulator, nothing: str) -> None:
    """What a template makes of no previous id is no previous id."""
    task = start(
        operators.NeptuneMLStartDataProcessingJobOperator,
        previous_data_processing_job_id="{{ ti.xcom_pull(include_prior_dates=True) }}",
    )
    task.previous_data_processing_job_id = nothing

    task.execute(context())

    [request] = simulator.calls("StartMLDataProcessingJob")
    assert "previousDataProcessingJobId" not in request.body
