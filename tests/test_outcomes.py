"""One outcome in every mode: the same end, message and result, wherever and however a wait runs."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_neptune_ml.compat import CAN_RUN_WITHOUT_WORKER, TRIGGERER_TAKES_XCOMS
from airflow_provider_neptune_ml.exceptions import NeptuneMLFailedError
from airflow_provider_neptune_ml.hooks.neptune_ml import NeptuneMLHook
from airflow_provider_neptune_ml.kinds import DATA_PROCESSING, ENDPOINTS, KINDS, MODEL_TRANSFORM, ResourceKind
from airflow_provider_neptune_ml.links.neptune_ml import urls_of
from airflow_provider_neptune_ml.simulator import Fault, Simulator
from tests import modes
from tests.modes import Clock, Ending, Mode, World
from tests.task_states import LeftAs

pytestmark = pytest.mark.usefixtures("connection", "airflow_database")

GET = "GetMLModelTrainingJob"
URL = r"http://127\.0\.0\.1:\d+"
_NEW = pytest.mark.skipif(
    not CAN_RUN_WITHOUT_WORKER, reason="Airflow 3.3 is the first whose triggerer renders templates"
)
IN_TRIGGERER = (
    modes.deferrable,
    pytest.param(modes.from_trigger, marks=_NEW),
    pytest.param(modes.without_worker, marks=_NEW),
)
SENSORS = (modes.poke, modes.reschedule, *IN_TRIGGERER)
STARTS = (modes.start, modes.start_deferrable)
CANCELS = (modes.cancel, modes.cancel_deferrable)


@pytest.fixture
def world(simulator: Simulator, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> World:
    """A cluster without a resource, and its clock for everything."""
    clock = Clock(simulator)
    clock.install(monkeypatch)
    return World(clock, logged=lambda: capfd.readouterr().out)


def wait(mode: Mode, world: World, *events: Any, **settings: Any) -> Ending:
    """Wait for a resource that is under way, and to which things happen from pause to pause."""
    if mode not in STARTS:
        world.simulator.seed(world.kind.name, "mine", status=world.kind.statuses.running)
    world.clock.then.extend(events)
    return mode(world, **settings)


def state_of(mode: Mode, state: str) -> str:
    """Return the state that the mode has for one: what begins and ends without a worker has no retries."""
    return "failed" if (mode, state) == (modes.without_worker, "up_for_retry") else state


def says(pattern: str, ending: Ending) -> bool:
    """Tell whether that, whole, is the message."""
    return re.fullmatch(pattern, ending.message) is not None


def left_behind(mode: Mode) -> str:
    """Return what is said of a job whose wait can't go on, by those who started it."""
    return r" Cancellation not requested \(cancel_on_timeout=False\)\." if mode in STARTS else ""


@pytest.mark.parametrize("mode", SENSORS)
def test_endpoints_have_names(mode: Mode, world: World) -> None:
    """However it is waited for, the name in SageMaker of an endpoint in service is in XCom."""
    world.kind = ENDPOINTS

    ending = wait(mode, world, lambda: world.simulator.finish("endpoints", "mine"))

    assert ending.xcoms["endpoint_name"] == world.simulator.describe("endpoints", "mine")["endpoint"]["name"]


# However it ends


@pytest.mark.parametrize("mode", [*SENSORS, modes.hook, *STARTS])
def test_completed(mode: Mode, world: World) -> None:
    """A completed job ends the wait well, with its description."""
    ending = wait(mode, world, lambda: world.simulator.finish("modeltraining", "mine"))

    assert ending == Ending("success", description=world.simulator.describe("modeltraining", "mine"))
    assert ending.description is not None
    assert ending.description["status"] == "Completed"


@pytest.mark.parametrize("mode", [*SENSORS, modes.hook])
@pytest.mark.parametrize("kind", [DATA_PROCESSING, MODEL_TRANSFORM, ENDPOINTS], ids=lambda kind: kind.name)
def test_every_kind_succeeds(mode: Mode, kind: ResourceKind, world: World) -> None:
    """Every kind has its one good end."""
    world.kind = kind

    ending = wait(mode, world, lambda: world.simulator.finish(kind.name, "mine"))

    assert ending == Ending("success", description=world.simulator.describe(kind.name, "mine"))


@pytest.mark.parametrize("mode", [*SENSORS, modes.hook, *STARTS])
def test_failed(mode: Mode, world: World) -> None:
    """A failed job fails the wait in one line: which, where, why, and the log."""
    # As SageMaker puts it.
    reason = "AlgorithmError: ExecuteUserScriptError:\nExitCode 1\n"
    ending = wait(
        mode,
        world,
        lambda: world.simulator.fail("modeltraining", "mine", reason=reason, stage="hpoJob"),
    )

    log = world.simulator.describe("modeltraining", "mine")["hpoJob"]["cloudwatchLogUrl"]
    assert ending.message == (
        "Model training job 'mine' ended as Failed in stage 'hyperparameter tuning':"
        f" AlgorithmError: ExecuteUserScriptError: ExitCode 1.\nCloudWatch log: {log}"
    )
    # An operator's retry starts another job; a sensor's would find the same.
    assert ending.state == ("up_for_retry" if mode in (*STARTS, modes.hook) else "failed")


def test_reason_is_kept(world: World) -> None:
    """Only the message puts the service's reason in one line; whoever catches the error has it as it was."""
    world.simulator.seed("modeltraining", "mine", status="InProgress")
    world.simulator.fail("modeltraining", "mine", reason="ExitCode 1\nno", stage="hpoJob")

    with pytest.raises(NeptuneMLFailedError) as failed:
        NeptuneMLHook().wait("modeltraining", "mine")

    assert failed.value.reason == "ExitCode 1\nno"


@pytest.mark.parametrize("mode", [*SENSORS, modes.hook])
@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (kind, status)
        for kind in KINDS.values()
        for status in kind.statuses.terminal
        if status != kind.statuses.succeeded and kind is not DATA_PROCESSING
    ],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_every_bad_end(mode: Mode, kind: ResourceKind, status: str, world: World) -> None:
    """Every bad end of every kind fails the wait, and names itself."""
    world.kind = kind

    ending = wait(mode, world, lambda: world.simulator.set_status(kind.name, "mine", status))

    assert ending.state == ("up_for_retry" if mode is modes.hook else "failed")
    assert ending.message.startswith(f"{kind.title.capitalize()} 'mine' ended as {status}")


@pytest.mark.parametrize("mode", CANCELS)
@pytest.mark.parametrize("status", ["Completed", "Failed", "Stopped"])
def test_whatever_end_is_good_after_a_cancellation(mode: Mode, status: str, world: World) -> None:
    """A cancellation waits for the end, not for an outcome."""
    ending = wait(mode, world, lambda: world.simulator.set_status("modeltraining", "mine", status))

    assert ending == Ending("success", description=world.simulator.describe("modeltraining", "mine"))
    assert ending.description["status"] == status


@pytest.mark.parametrize("mode", [*SENSORS, modes.hook])
@pytest.mark.parametrize("status", ["Completed", "Failed", "Stopped"])
def test_gate_on_the_end(mode: Mode, status: str, world: World) -> None:
    """With all terminal statuses as targets any end is good, and the description says which it was."""
    ending = wait(
        mode,
        world,
        lambda: world.simulator.set_status("modeltraining", "mine", status),
        target_statuses=["completed", "Failed", "Stopped"],
    )

    assert ending == Ending("success", description=world.simulator.describe("modeltraining", "mine"))


@pytest.mark.parametrize("mode", [*SENSORS, modes.hook])
def test_success_that_is_no_target(mode: Mode, world: World) -> None:
    """A terminal status that is no target fails the wait, success included."""
    ending = wait(
        mode,
        world,
        lambda: world.simulator.finish("modeltraining", "mine"),
        target_statuses=["Failed"],
    )

    assert ending.state == ("up_for_retry" if mode is modes.hook else "failed")
    assert ending.message.startswith("Model training job 'mine' ended as Completed")


@pytest.mark.parametrize("mode", [*SENSORS, modes.hook, *STARTS, *CANCELS])
@pytest.mark.parametrize("status", ["Optimizing", None])
def test_unknown_status(mode: Mode, status: str | None, world: World) -> None:
    """A word that the table does not have, or none, is neither success nor failure."""
    ending = wait(
        mode,
        world,
        lambda: world.simulator.set_status("modeltraining", "mine", status),
        lambda: world.simulator.finish("modeltraining", "mine"),
    )

    assert ending.state == "success"
    assert len(world.simulator.calls(GET)) > 1


# Time


@pytest.mark.parametrize("mode", [*SENSORS, modes.hook, *STARTS, *CANCELS])
def test_timeout(mode: Mode, world: World) -> None:
    """A wait ends at its timeout, between two polls, and says how far the job has got."""
    ending = wait(mode, world, timeout=30)

    status = "Stopping" if mode in CANCELS else "InProgress"
    assert ending.state == ("up_for_retry" if mode in (modes.hook, *STARTS, *CANCELS) else "failed")
    goes_on = r" Cancellation not requested \(cancel_on_timeout=False\)\." if mode in STARTS else ""
    assert says(
        rf"Model training job 'mine' timed out after 30 s \(timeout=30\): still {status}, stage 'processing'"
        rf" {status}\.{goes_on}",
        ending,
    ), ending


@pytest.mark.parametrize("mode", SENSORS)
def test_timeout_comes_first(mode: Mode, world: World) -> None:
    """An execution_timeout that comes later than the timeout changes nothing."""
    ending = wait(mode, world, timeout=30, execution_timeout=timedelta(hours=1))

    assert ending.state == "failed"
    assert "'mine' timed out after 30 s (timeout=30): still InProgress" in ending.message


@pytest.mark.parametrize("mode", [modes.poke, *IN_TRIGGERER])
@pytest.mark.parametrize("argument", ["", "soft_fail", "never_fail"])
def test_execution_timeout_comes_first(mode: Mode, argument: str, world: World) -> None:
    """An execution_timeout that is over is no time-out of the sensor: it is retried, and never skipped."""
    arguments = {argument: True} if argument else {}

    ending = wait(mode, world, execution_timeout=timedelta(seconds=90), **arguments)

    # Without retries; with a chance to be skipped, it takes a worker.
    assert ending.state == ("up_for_retry" if argument else state_of(mode, "up_for_retry"))
    assert mode is modes.poke or "(execution_timeout=90): still InProgress" in ending.message


def test_execution_timeout_of_a_rescheduled_sensor(world: World) -> None:
    """With mode="reschedule", Airflow's execution_timeout is the time for one poke."""
    ending = wait(modes.reschedule, world, timeout=100, execution_timeout=timedelta(seconds=30))

    assert ending.state == "failed"
    assert "after 1 min 40 s" in ending.message


@pytest.mark.parametrize("mode", [*IN_TRIGGERER, modes.start_deferrable])
def test_restart_keeps_the_deadline(mode: Mode, world: World, left_as: LeftAs) -> None:
    """A triggerer that is shut down and started again does not begin a wait anew."""
    left_as("deferred")

    def shut_down() -> None:
        raise asyncio.CancelledError

    ending = wait(mode, world, lambda: None, lambda: None, shut_down, timeout=600)

    assert not world.clock.then
    assert re.search(r"'mine' timed out after 10 min \(timeout=600\): still InProgress", ending.message)


# What is skipped


@pytest.mark.parametrize("mode", SENSORS)
@pytest.mark.parametrize("argument", ["soft_fail", "never_fail"])
@pytest.mark.parametrize("status", ["Failed", "Stopped"])
def test_bad_end_is_skipped(mode: Mode, argument: str, status: str, world: World) -> None:
    """With soft_fail, and with never_fail, a bad end skips the sensor, and says which."""
    ending = wait(
        mode,
        world,
        lambda: world.simulator.set_status("modeltraining", "mine", status),
        **{argument: True},
    )

    assert ending.state == "skipped"
    assert ending.message.startswith(f"Model training job 'mine' ended as {status}")


@pytest.mark.parametrize("mode", SENSORS)
@pytest.mark.parametrize("argument", ["soft_fail", "never_fail"])
def test_timeout_is_skipped(mode: Mode, argument: str, world: World) -> None:
    """With soft_fail, and with never_fail, a time-out skips the sensor, and says where the job is."""
    ending = wait(mode, world, timeout=30, **{argument: True})

    assert ending.state == "skipped"
    assert ending.message.startswith(
        "Model training job 'mine' timed out after 30 s (timeout=30): still InProgress"
    )


@pytest.mark.parametrize("mode", SENSORS)
@pytest.mark.parametrize(("argument", "state"), [("soft_fail", "up_for_retry"), ("never_fail", "skipped")])
def test_refusal_is_no_outcome(mode: Mode, argument: str, state: str, world: World) -> None:
    """A missing permission is no outcome of the job: soft_fail doesn't skip it, Airflow's never_fail does."""
    ending = wait(
        mode,
        world,
        lambda: world.simulator.add_fault(Fault("access_denied", times=None)),
        **{argument: True},
    )

    assert ending.state == state_of(mode, state)
    assert "neptune-db:GetMLModelTrainingJobStatus" in ending.message


# Errors


@pytest.mark.parametrize("mode", [*SENSORS, modes.hook, *STARTS, *CANCELS])
def test_forbidden(mode: Mode, world: World) -> None:
    """A missing permission fails the wait at once, and is named."""
    ending = wait(
        mode, world, lambda: world.simulator.add_fault(Fault("access_denied", operation=GET, times=None))
    )

    assert ending.state == state_of(mode, "up_for_retry")
    assert says(
        r"Model training job 'mine': 403 AccessDeniedException:"
        r" The caller is not authorized to perform this operation\."
        r" The IAM principal of aws_conn_id \('aws_default'\) needs the permission"
        rf" neptune-db:GetMLModelTrainingJobStatus on the cluster\.{left_behind(mode)}"
        rf" \[GetMLModelTrainingJob, {URL}, 403 AccessDeniedException, request id \S+\]",
        ending,
    ), ending
    assert [request.status for request in world.simulator.calls(GET)].count(403) == 1


@pytest.mark.parametrize("mode", [*SENSORS, modes.hook])
def test_unknown_id(mode: Mode, world: World) -> None:
    """An id that does not exist fails the wait at once."""
    ending = mode(world)

    assert ending.state == state_of(mode, "up_for_retry")
    assert says(
        r"No model training job 'mine' on cluster 127\.0\.0\.1 \(neptune_ml_default\): Invalid ID provided\."
        r" Please check whether a resource with the given ID exists\."
        r" Check job_id, and the cluster \(neptune_ml_conn_id\)\."
        rf" \[GetMLModelTrainingJob, {URL}, 404 MLResourceNotFoundException, request id \S+\]",
        ending,
    ), ending
    # A deferrable sensor looks first.
    assert len(world.simulator.calls(GET)) == 1 + (mode is modes.deferrable)


@pytest.mark.parametrize("mode", [*SENSORS, modes.hook, *STARTS, *CANCELS])
def test_only_transient_errors(mode: Mode, world: World) -> None:
    """Transient errors alone for unreachable_timeout fails the wait with the last cause."""
    ending = wait(
        mode,
        world,
        lambda: world.simulator.add_fault(Fault("internal_failure", operation=GET, times=None)),
        unreachable_timeout=20,
    )

    assert ending.state == state_of(mode, "up_for_retry")
    assert says(
        r"Model training job 'mine': only transient errors for [23]\d s \(unreachable_timeout=20\)\."
        r" Last error: Model training job 'mine': 500 InternalFailureException: Request handling failed\."
        rf"{left_behind(mode)}"
        rf" \[GetMLModelTrainingJob, {URL}, 500 InternalFailureException, request id \S+\]",
        ending,
    ), ending


@pytest.mark.parametrize("mode", [*SENSORS, modes.hook, *STARTS, *CANCELS])
def test_transient_errors_end(mode: Mode, world: World) -> None:
    """Throttling neither fails nor ends a wait; a series of it is logged once, and so is its end."""
    ending = wait(
        mode,
        world,
        lambda: world.simulator.add_fault(Fault("too_many_requests", operation=GET, times=3)),
        lambda: world.simulator.set_status("modeltraining", "mine", "Completed"),
    )

    assert ending.state == "success"
    said = world.logged()
    assert said.count("Model training job 'mine': 429 TooManyRequestsException") == 1
    assert said.count("Model training job 'mine': answered again after") == 1


# What XCom has of it, for the UI and for other tasks


@pytest.mark.parametrize("mode", [*SENSORS, *STARTS])
@pytest.mark.parametrize("state", ["Completed", "Failed", "InProgress"])
def test_links_and_description(mode: Mode, world: World, state: str) -> None:
    """The links, and the last description, are in XCom after success, failure and time-out."""
    if (
        state == "InProgress"
        and mode in (*IN_TRIGGERER, modes.start_deferrable)
        and not TRIGGERER_TAKES_XCOMS
    ):
        pytest.skip("this Airflow's triggerer can't push")
    acts = {
        "Completed": [lambda: world.simulator.finish("modeltraining", "mine")],
        "Failed": [lambda: world.simulator.fail("modeltraining", "mine", reason="no", stage="hpoJob")],
        "InProgress": [],
    }

    ending = wait(mode, world, *acts[state], timeout=90)

    description = world.simulator.describe("modeltraining", "mine")
    shown = {key: value for key, value in ending.xcoms.items() if key.startswith("_link_")}
    assert (ending.state == "success") == (state == "Completed")
    assert description["status"] == state
    assert ending.xcoms["description"] == description
    assert shown == urls_of(world.kind, description)
    assert {"_link_CloudWatchLogLink", "_link_S3OutputLink", "_link_SageMakerProcessingJobLink"} <= {*shown}


@pytest.mark.parametrize("mode", CANCELS)
def test_links_of_a_cancellation(mode: Mode, world: World) -> None:
    """So they are for what is being cancelled."""
    ending = wait(mode, world)

    assert ending.description["status"] == "Stopped"
    assert "_link_SageMakerProcessingJobLink" in ending.xcoms
