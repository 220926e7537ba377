"""Errors and tasks can be copied and pickled, as process pools, executors and Airflow itself do."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, NoReturn

import pytest

from airflow_provider_neptune_ml import exceptions
from airflow_provider_neptune_ml.exceptions import NeptuneMLError
from airflow_provider_neptune_ml.kinds import MODEL_TRAINING
from airflow_provider_neptune_ml.sensors.neptune_ml import NeptuneMLModelTrainingJobSensor
from airflow_provider_neptune_ml.simulator import Simulator
from tests.contexts import context
from tests.operators.tasks import START, cancel, start
from tests.sdk import DAG

SAID: dict[str, Any] = {
    "code": "BadRequestException",
    "detail": "No.",
    "http_status": 400,
    "request_id": "r-1",
}
FAILED = {"status": "Failed", "hpoJob": {"status": "Failed", "failureReason": "no", "cloudwatchLogUrl": "u"}}
OWN_ARGUMENTS: dict[type[NeptuneMLError], Callable[[], NeptuneMLError]] = {
    cls: lambda cls=cls: cls("No.", **SAID, ambiguous=True, reference="GET /")
    for cls in (exceptions.NeptuneMLServiceError, exceptions.NeptuneMLNotFoundError)
} | {exceptions.NeptuneMLFailedError: lambda: exceptions.NeptuneMLFailedError(MODEL_TRAINING, "mine", FAILED)}
ERRORS = [
    cls for cls in vars(exceptions).values() if isinstance(cls, type) and issubclass(cls, NeptuneMLError)
]


def make(cls: type[NeptuneMLError]) -> NeptuneMLError:
    """Return an error to which a sentence was added since."""
    error = OWN_ARGUMENTS.get(cls, lambda: cls("No.", transient=True, reference="GET /"))()
    error.add_sentence("The job was cancelled.")
    return error


def fail(error: NeptuneMLError) -> NoReturn:
    """Fail in a process of a pool."""
    raise error


def pickled(value: Any) -> Any:
    """Return what becomes of a value by way of a pickle."""
    return pickle.loads(pickle.dumps(value))


COPIES = pytest.mark.parametrize("copied", [pickled, copy.copy, copy.deepcopy], ids=lambda how: how.__name__)


@COPIES
@pytest.mark.parametrize("cls", ERRORS, ids=lambda cls: cls.__name__)
def test_copies_of_errors(cls: type[NeptuneMLError], copied: Callable[[Any], Any]) -> None:
    """A copy of an error is of its class, says the same, and has the same attributes."""
    error = make(cls)
    other = copied(error)

    assert other is not error
    assert type(other) is cls
    assert str(other) == str(error)
    assert vars(other) == vars(error)
    other.add_sentence("Again.")
    assert "Again." in str(other)
    assert "Again." not in str(error)


def test_errors_of_a_process_pool() -> None:
    """An error reaches who has started the process, and breaks no pool."""
    error = make(exceptions.NeptuneMLFailedError)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        raised = pool.submit(fail, error).exception(timeout=120)

        assert (type(raised), str(raised)) == (type(error), str(error))
        assert pool.submit(len, "more").result() == 4


@COPIES
def test_copies_of_tasks(
    copied: Callable[[Any], Any], simulator: Simulator, connection: None, completed_data: str
) -> None:
    """A task that has run can be copied; the copy has its arguments, makes a hook of its own, and runs."""
    simulator.seed("modeltraining", "mine", status="InProgress")
    with DAG("copies", schedule=None):
        tasks: list[Any] = [start(job_id="first"), cancel(wait_for_completion=False)]
        waiting = NeptuneMLModelTrainingJobSensor(task_id="wait", job_id="mine")
    assert not waiting.poke(context())
    for task in tasks:
        task.execute(context())

    for task in (*tasks, waiting):
        other = copied(task)
        assert (other.job_id, other.task_id, other.hook_parameters) == (
            *(task.job_id, task.task_id, task.hook_parameters),
        )
        assert other.hook is not task.hook
        assert other.dag.dag_id == "copies"

    again = copied(tasks[0])
    again.job_id = "second"
    assert again.execute(context()) == "second"
    assert [call.body["id"] for call in simulator.calls(START)] == ["first", "second"]
    assert copied(waiting).poke(context()).is_done is False
