"""Creating, updating and deleting endpoints: what is there before, and what a kill may delete."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_neptune_ml.compat import AirflowFailException
from airflow_provider_neptune_ml.exceptions import NeptuneMLServiceError, NeptuneMLTimeoutError
from airflow_provider_neptune_ml.operators.neptune_ml import NeptuneMLCreateEndpointOperator
from airflow_provider_neptune_ml.simulator import Fault, Simulator
from tests.contexts import TaskStateStore, context
from tests.interruptions import wait_begun
from tests.modes import Clock

pytestmark = pytest.mark.usefixtures("connection", "models")

CREATE, GET, DELETE = "CreateMLEndpoint", "GetMLEndpoint", "DeleteMLEndpoint"


@pytest.fixture
def models(simulator: Simulator) -> None:
    """Two completed trainings."""
    for job_id in ("training-1", "training-2"):
        simulator.seed("modeltraining", job_id, status="Completed")


def create(**arguments: Any) -> NeptuneMLCreateEndpointOperator:
    """Return an operator that does not wait."""
    defaults = {
        "task_id": "deploy",
        "ml_model_training_job_id": "training-1",
        "wait_for_completion": False,
        "poll_interval": 0.01,
        "deferrable": False,
    }
    return NeptuneMLCreateEndpointOperator(**{**defaults, **arguments})


def update(**arguments: Any) -> NeptuneMLCreateEndpointOperator:
    """Return an operator that puts the second model behind the endpoint ``mine``."""
    defaults = {"endpoint_id": "mine", "update": True, "ml_model_training_job_id": "training-2"}
    return create(**{**defaults, **arguments})


def endpoints(simulator: Simulator) -> dict[str, str]:
    """Return the status of every endpoint."""
    return {endpoint["id"]: endpoint["status"] for endpoint in simulator.overview()["kinds"]["endpoints"]}


def serve(simulator: Simulator) -> None:
    """Have the endpoint ``mine`` in service."""
    simulator.seed("endpoints", "mine", status="InService")


@pytest.mark.parametrize("make", [create, update])
def test_name_in_sagemaker(simulator: Simulator, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the endpoint is in service, its name in SageMaker is in XCom; the id in Neptune is returned."""
    if make is update:
        serve(simulator)
    Clock(simulator).install(monkeypatch)
    where = context()

    assert make(endpoint_id="mine", wait_for_completion=True, poll_interval=60).execute(where) == "mine"
    name = simulator.describe("endpoints", "mine")["endpoint"]["name"]
    assert where["ti"].xcoms["endpoint_name"] == name != "mine"


@pytest.mark.parametrize("endpoint", [{}, {"arn": "arn:aws:sagemaker:::endpoint/x"}, None])
def test_name_that_is_not_there(simulator: Simulator, endpoint: Any) -> None:
    """A description without a name pushes none."""
    where = context()
    description = {"id": "mine", "status": "InService", "endpoint": endpoint}
    event = {"status": "success", "resource_id": "mine", "description": description}

    assert create(endpoint_id="mine").execute_complete(where, event) == "mine"
    assert set(where["ti"].xcoms) == {"description"}


@pytest.mark.parametrize("flag", [True, "True", "true"])
def test_update(simulator: Simulator, flag: bool | str) -> None:
    """An endpoint that is there is updated; the flag may come from a template."""
    serve(simulator)

    assert update(update=flag).execute(context()) == "mine"
    [request] = simulator.calls(CREATE)
    assert request.body == {"id": "mine", "mlModelTrainingJobId": "training-2", "update": True}
    assert endpoints(simulator) == {"mine": "Updating"}


def test_update_of_what_is_not_there(simulator: Simulator) -> None:
    """The first run of a Dag that updates its endpoint creates it."""
    update().execute(context())

    assert endpoints(simulator) == {"mine": "Creating"}


def test_update_that_is_refused(simulator: Simulator) -> None:
    """A refused update says why, and does not pass for done because the endpoint is there."""
    serve(simulator)

    with pytest.raises(NeptuneMLServiceError, match="Provided MLModelTraining job doesn't exist"):
        update(ml_model_training_job_id="nobody").execute(context())


def test_refused_update_beside_another(simulator: Simulator) -> None:
    """A throttled and then refused update does not take another task's update for its own."""
    serve(simulator)
    simulator.set_status("endpoints", "mine", "Updating")
    simulator.add_fault(Fault(kind="too_many_requests", operation=CREATE))

    with pytest.raises(NeptuneMLServiceError, match="Provided MLModelTraining job doesn't exist"):
        update(ml_model_training_job_id="nobody").execute(context())


def test_cleared_update_beside_another(simulator: Simulator) -> None:
    """A cleared task sends its update, and does not wait for one that another task sent."""
    serve(simulator)
    simulator.set_status("endpoints", "mine", "Updating")

    update(retries=1).execute(context(try_number=2, max_tries=2))

    assert len(simulator.calls(CREATE)) == 1


def test_retry_of_a_create_beside_an_update(simulator: Simulator) -> None:
    """A retry does not take an endpoint that is being updated for the one that it was creating."""
    serve(simulator)
    simulator.set_status("endpoints", "mine", "Updating")

    with pytest.raises(AirflowFailException, match="exists already"):
        create(endpoint_id="mine").execute(context(try_number=2))


def test_update_whose_reply_was_lost(simulator: Simulator) -> None:
    """An update is sent again until it is answered."""
    serve(simulator)
    simulator.add_fault(Fault(kind="reset", operation=CREATE, when="after"))

    update().execute(context())

    assert endpoints(simulator) == {"mine": "Updating"}


def test_retry_of_an_update_under_way(simulator: Simulator) -> None:
    """A retry waits for the update that an earlier try sent."""
    serve(simulator)
    update().execute(context())

    update().execute(context(try_number=2))

    assert len(simulator.calls(CREATE)) == 1


@pytest.mark.parametrize("try_number", [1, 2])
def test_kill_leaves_what_served_before(simulator: Simulator, try_number: int) -> None:
    """A kill, or a time-out, in the middle of an update does not delete the endpoint."""
    serve(simulator)
    if try_number == 2:
        update().execute(context())
    task = update(wait_for_completion=True, timeout=0)
    with pytest.raises(NeptuneMLTimeoutError, match=r"still Updating.* Deletion not requested"):
        task.execute(context(try_number=try_number))

    task.on_kill()

    assert not simulator.calls(DELETE)


@pytest.mark.parametrize("try_number", [1, 2])
def test_kill_deletes_what_was_being_created(simulator: Simulator, try_number: int) -> None:
    """A kill deletes an endpoint that the task was creating, in the try that takes it over as well."""
    task = update()
    wait_begun(task, context())
    if try_number == 2:
        task = update()
        wait_begun(task, context(try_number=2))

    task.on_kill()

    assert endpoints(simulator) == {"mine": "Deleting"}


def test_own_id_that_is_taken(simulator: Simulator) -> None:
    """Creating an endpoint that is there is an error that names the ways out."""
    serve(simulator)

    with pytest.raises(AirflowFailException, match=r"exists already \(InService\).*or set update=True"):
        create(endpoint_id="mine").execute(context())


def test_retry_takes_over_what_is_in_service_by_now(simulator: Simulator) -> None:
    """An endpoint that came into service while its task was dead is not paid for twice."""
    first = create().execute(context())
    simulator.advance(100_000)

    assert create().execute(context(try_number=2)) == first
    assert len(simulator.calls(CREATE)) == 1


def test_clear_of_an_own_endpoint(simulator: Simulator) -> None:
    """Clearing a task that had created its endpoint does not pass for done: the model may be another now."""
    store = TaskStateStore()
    create(endpoint_id="mine").execute(context(task_state_store=store))
    simulator.advance(100_000)

    with pytest.raises(AirflowFailException, match="exists already"):
        create(endpoint_id="mine").execute(context(task_state_store=store, try_number=2))


@pytest.mark.parametrize("status", ["Creating", "InService"])
def test_endpoint_that_somebody_made_anew(simulator: Simulator, status: str) -> None:
    """A retry leaves an endpoint alone that has its id and is another one by now, and says so."""
    store = TaskStateStore()
    first = create(endpoint_id="mine")
    wait_begun(first, context(task_state_store=store))
    first.hook.stop("endpoints", "mine")
    simulator.advance(100_000)
    simulator.seed("endpoints", "mine", status=status)
    retry = create(endpoint_id="mine")

    with pytest.raises(AirflowFailException, match=rf"exists already \({status}\)"):
        retry.execute(context(task_state_store=store, try_number=2))
    retry.on_kill()

    assert len(simulator.calls(DELETE)) == 1
