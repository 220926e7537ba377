"""Waits for an export end as all waits do, in every mode."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from airflow_provider_neptune_ml.compat import CAN_RUN_WITHOUT_WORKER
from airflow_provider_neptune_ml.kinds import EXPORT
from airflow_provider_neptune_ml.simulator import Fault, Simulator
from tests import modes
from tests.contexts import context
from tests.export import tasks
from tests.export.tasks import CANCEL, GET, OUTPUT, START, started, statuses
from tests.modes import Clock, Mode, World
from tests.sdk import TaskDeferred

pytestmark = pytest.mark.usefixtures("connection", "airflow_database")

_NEW = pytest.mark.skipif(
    not CAN_RUN_WITHOUT_WORKER, reason="Airflow 3.3 is the first whose triggerer renders templates"
)
SENSORS = (
    modes.poke,
    modes.reschedule,
    modes.deferrable,
    pytest.param(modes.from_trigger, marks=_NEW),
    pytest.param(modes.without_worker, marks=_NEW),
)
# On a clock that sleeping moves, a short interval takes thousands of polls.
start, cancel = partial(tasks.start, poll_interval=60), partial(tasks.cancel, poll_interval=60)
DEFERRABLE = pytest.mark.parametrize("deferrable", [False, True], ids=["worker", "triggerer"])


@pytest.fixture
def world(simulator: Simulator, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> World:
    """A cluster whose export ``mine`` runs, and its clock for everything."""
    clock = Clock(simulator)
    clock.install(monkeypatch)
    simulator.seed("export", "mine", status="running")
    return World(clock, logged=lambda: capfd.readouterr().out, kind=EXPORT)


def run(world: World, task: Any) -> modes.Ending:
    """Run an operator, in worker or triggerer, to the outcome that Airflow would see."""
    where = context(start_date=world.clock.utcnow())
    if task.deferrable:
        return modes._deferred(world, task, where)
    return modes._ending(lambda: task.execute(where))


# Sensors


@pytest.mark.parametrize("mode", [*SENSORS, modes.hook])
def test_succeeded(mode: Mode, world: World) -> None:
    """A succeeded export ends the wait well; its description says where the export is, in both forms."""
    world.clock.then.append(lambda: world.simulator.finish("export", "mine"))

    ending = mode(world)

    said = world.simulator.describe("export", "mine")
    assert ending.state == "success"
    assert ending.description["outputS3Uri"] == said["outputS3Uri"]
    assert ending.description["exportJob"]["outputLocation"] == said["outputS3Uri"]
    assert ending.description["exportJob"]["cloudwatchLogUrl"] == said["logs"]


@pytest.mark.parametrize("mode", [*SENSORS, modes.hook])
def test_failed(mode: Mode, world: World) -> None:
    """A failed export fails the wait with what the service says, in one line, and the log."""
    reason = "Batch:\nHost EC2 terminated"
    world.clock.then.append(lambda: world.simulator.fail("export", "mine", reason=reason))

    ending = mode(world)

    assert ending.state == ("up_for_retry" if mode is modes.hook else "failed")
    assert ending.message == (
        "Export job 'mine' ended as failed in stage 'export': "
        r'{"message": "Batch:\nHost EC2 terminated"}.'
        f"\nCloudWatch log: {world.simulator.describe('export', 'mine')['logs']}"
        "\nWhat could not be exported: /failed below the output_s3_path of the export"
    )


@pytest.mark.parametrize("status", ["failed", "Cancelled", "canceled"])
def test_every_bad_end(status: str, world: World) -> None:
    """Every word for a bad end fails the wait."""
    world.clock.then.append(lambda: world.simulator.set_status("export", "mine", status))

    ending = modes.deferrable(world)

    assert ending.state == "failed"
    assert ending.message.startswith(f"Export job 'mine' ended as {status}: the service gave no reason.")


@pytest.mark.parametrize("mode", SENSORS)
def test_words_on_the_way(mode: Mode, world: World) -> None:
    """An export is pending first; a word that nobody knows is logged, and is no end."""
    world.simulator.set_status("export", "mine", "pending")
    world.clock.then += [
        lambda: world.simulator.set_status("export", "mine", "submitted"),
        lambda: world.simulator.finish("export", "mine"),
    ]

    assert mode(world).state == "success"
    logged = world.logged()
    assert logged.count("has the unknown status 'submitted'") == 1
    assert "unknown status 'pending'" not in logged


@pytest.mark.parametrize("mode", SENSORS)
@pytest.mark.parametrize(
    "fault", ["too_many_requests", "unavailable", "reset", "garbled", "expired_token", "client_timeout"]
)
def test_transient_errors(mode: Mode, fault: str, world: World) -> None:
    """Transient errors are retried."""
    world.simulator.add_fault(Fault(fault, operation=GET, times=3))
    world.clock.then.append(lambda: world.simulator.finish("export", "mine"))

    assert mode(world).state == "success"


@pytest.mark.parametrize("mode", SENSORS)
def test_out_of_reach(mode: Mode, world: World) -> None:
    """Nothing but transient errors for ten minutes fails the wait, with the last one."""
    world.simulator.add_fault(Fault("unavailable", operation=GET, times=None))

    ending = mode(world)

    assert ending.state == ("failed" if mode is modes.without_worker else "up_for_retry")
    # With the jitter of the last pause.
    assert re.search("only transient errors for 1[01] min", ending.message)
    assert "HTTP status 503, in a form that isn't the Neptune-Export service's" in ending.message


@pytest.mark.parametrize("mode", SENSORS)
def test_timeout(mode: Mode, world: World) -> None:
    """The wait ends at its deadline; an externally started job keeps running."""
    world.simulator.set_status("export", "mine", "running")  # for ever

    ending = mode(world, timeout=600)

    assert ending.state == "failed"
    assert ending.message.startswith("Export job 'mine' timed out after 10 min (timeout=600): still running.")
    assert not world.simulator.calls(CANCEL)


@pytest.mark.parametrize("mode", SENSORS)
def test_not_found(mode: Mode, world: World) -> None:
    """An id that does not exist fails the wait at once."""
    world.simulator.reset()

    ending = mode(world)

    assert ending.message.startswith("No export job 'mine' on export service 127.0.0.1 (neptune_ml_default):")


# The start operator


@DEFERRABLE
def test_start(world: World, deferrable: bool) -> None:
    """A start waits, from pending to succeeded, and returns where the export is."""
    world.simulator.reset()

    ending = run(world, start(deferrable=deferrable))

    [request] = world.simulator.calls(START)
    assert request.body == {
        "command": "export-pg",
        "outputS3Path": OUTPUT,
        "params": {"endpoint": "127.0.0.1", "profile": "neptune_ml"},
    }
    [job] = statuses(world.simulator)
    assert ending.state == "success"
    assert ending.description == world.simulator.describe("export", job)["outputS3Uri"]
    assert [f"{job!r} is {word} (" in world.logged() for word in ("pending",)] == [True]


@DEFERRABLE
def test_start_of_an_export_that_fails(world: World, deferrable: bool) -> None:
    """A failed export fails the task, which says where its files are as well."""
    world.simulator.reset()
    world.simulator.script("export", fail_stage="exportJob", reason="no space")

    ending = run(world, start(deferrable=deferrable))

    assert ending.state == "up_for_retry"
    assert ending.message.startswith("Export job '")
    assert 'ended as failed in stage \'export\': {"message": "no space"}.\nCloudWatch log: ' in ending.message
    assert ending.message.endswith(
        "\nWhat could not be exported: /failed below the output_s3_path of the export"
    )


@DEFERRABLE
@pytest.mark.parametrize("cancel_on_timeout", [True, False])
def test_start_that_times_out(world: World, deferrable: bool, cancel_on_timeout: bool) -> None:
    """An export that takes too long is cancelled, unless it shall not be."""
    world.simulator.reset()
    world.simulator.script("export", seconds={"exportJob": 24 * 3600.0})

    ending = run(world, start(deferrable=deferrable, timeout=600, cancel_on_timeout=cancel_on_timeout))

    words = "Cancellation requested." if cancel_on_timeout else "Cancellation not requested"
    assert f"timed out after 10 min (timeout=600): still running. {words}" in ending.message
    assert list(statuses(world.simulator).values()) == ["cancelling" if cancel_on_timeout else "running"]


def test_execution_timeout_in_the_triggerer(world: World) -> None:
    """execution_timeout ends the wait in the triggerer too."""
    world.simulator.reset()
    world.simulator.script("export", seconds={"exportJob": 24 * 3600.0})

    ending = run(world, start(deferrable=True, execution_timeout=timedelta(minutes=10)))

    assert "(execution_timeout=600): still running. Cancellation requested." in ending.message


def test_start_without_waiting(world: World) -> None:
    """A start that does not wait returns the id."""
    world.simulator.reset()

    assert run(world, start(wait_for_completion=False)).description == started(world.simulator)


# The cancel operator


@DEFERRABLE
@pytest.mark.parametrize("status", ["cancelled", "failed", "succeeded"])
def test_cancel(world: World, deferrable: bool, status: str) -> None:
    """A cancellation waits for the end, whatever word the service has for it."""
    world.clock.then.append(lambda: world.simulator.set_status("export", "mine", status))

    ending = run(world, cancel(deferrable=deferrable))

    assert ending == modes.Ending("success", description="mine")
    assert len(world.simulator.calls(CANCEL)) == 1
    assert len(world.simulator.calls(GET)) > 1


def test_cancel_of_an_ended_job(world: World) -> None:
    """A job that has ended is a success."""
    world.simulator.finish("export", "mine")

    assert run(world, cancel()).state == "success"


@pytest.mark.parametrize("ignore_missing", [True, False])
def test_cancel_of_a_missing_job(world: World, ignore_missing: bool) -> None:
    """A job that does not exist is an error, unless that is to be ignored."""
    world.simulator.reset()

    ending = run(world, cancel(ignore_missing=ignore_missing))

    assert ending.state == ("success" if ignore_missing else "up_for_retry")


def test_cancel_deletes_nothing() -> None:
    """The service deletes nothing, so nobody can ask for it."""
    with pytest.raises(ValueError, match="clean=True must be False"):
        cancel(clean=True)


def test_trigger_row_names_what_it_waits_for(world: World) -> None:
    """The row of the trigger says what, where, and nothing secret."""
    world.simulator.reset()
    task = start(deferrable=True, aws_conn_id=None)
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(context())

    path, stored = deferred.value.trigger.serialize()
    assert path.endswith(".NeptuneMLJobTrigger")
    assert json.loads(json.dumps(stored))["kind"] == "export"
    assert stored["hook_parameters"] == {**task.hook_parameters, "export_api_url": None}
