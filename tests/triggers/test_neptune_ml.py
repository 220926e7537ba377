"""What is the trigger's own, against the simulator over HTTP. How waits end: tests/test_outcomes.py."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from airflow_provider_neptune_ml.exceptions import NeptuneMLError, NeptuneMLNotFoundError
from airflow_provider_neptune_ml.hooks.neptune_ml import NeptuneMLHook
from airflow_provider_neptune_ml.operators.neptune_ml import (
    NeptuneMLCancelModelTrainingJobOperator,
    NeptuneMLStartModelTrainingJobOperator,
)
from airflow_provider_neptune_ml.sensors.neptune_ml import NeptuneMLModelTrainingJobSensor
from airflow_provider_neptune_ml.simulator import Fault, Simulator
from airflow_provider_neptune_ml.triggers.coroutines import promptly
from airflow_provider_neptune_ml.triggers.neptune_ml import NeptuneMLJobTrigger
from tests.conftest import ONCE, connect
from tests.contexts import context
from tests.modes import Clock, first_event, rebuild
from tests.sdk import TaskDeferred
from tests.triggers.waits import trigger

pytestmark = pytest.mark.usefixtures("connection")


def test_survives_the_database() -> None:
    """A trigger is equal to what the database makes of it, whole settings included."""
    original = NeptuneMLJobTrigger(
        kind="endpoints",
        resource_id="mine",
        target_statuses=["InService"],
        deadline=time.time() + 60,
        hook_parameters={"neptune_ml_conn_id": "cluster", "verify": False, "config": {"read_timeout": 5}},
    )

    assert rebuild(*original.serialize()).serialize() == original.serialize()


def test_waits_do_not_all_ask_at_once(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first polls of waits that a triggerer takes up together are spread over a few seconds."""
    simulator.seed("modeltraining", "mine", status="Completed")
    Clock(simulator).install(monkeypatch)
    pauses = []

    for _ in range(10):
        before = simulator.now()
        first_event(trigger(poll_interval=60))
        pauses.append(simulator.now() - before)

    assert len(set(pauses)) == len(pauses)
    assert max(pauses) <= 5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "age", "least", "most"),
    [
        (None, 0, 50, 1000),
        (None, 3600, 0, 20),
        ("too_many_requests", 0, 50, 1000),
        ("too_many_requests", 3600, 0, 20),
    ],
)
def test_bytes_logged_at_once(
    simulator: Simulator,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    fault: str | None,
    age: float,
    least: int,
    most: int,
) -> None:
    """Waits that a triggerer takes over together log next to nothing at once; a new one says where it is."""
    waits = 100
    simulator.seed("modeltraining", "mine", status="InProgress")
    if fault:
        simulator.add_fault(Fault(fault, times=None))
    once = {"config": {"retries": {"total_max_attempts": 1}}}

    async def take_over() -> None:
        started_at = time.time() - age
        tasks = [trigger(started_at=started_at, poll_interval=60, hook_parameters=once) for _ in range(waits)]
        running = [asyncio.ensure_future(anext(aiter(task.run()))) for task in tasks]
        while len(simulator.calls("GetMLModelTrainingJob")) < waits:
            await asyncio.sleep(0.01)
        for run in running:
            run.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    with caplog.at_level("INFO"):
        asyncio.run(take_over())

    # Airflow 3 logs to the standard output, Airflow 2 by the standard library.
    lines = [*capsys.readouterr().out.splitlines(), *(record.getMessage() for record in caplog.records)]
    logged = sum(len(line.encode()) for line in lines if "'mine'" in line)
    assert least * waits <= logged <= most * waits


def test_event_loop_is_free_while_a_reply_is_awaited(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call does not stop the event loop: here the cluster itself is served from it."""
    reply = json.dumps({"id": "mine", "status": "Completed"}).encode()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n")
        writer.write(b"Content-Length: %d\r\n\r\n%s" % (len(reply), reply))
        await writer.drain()
        writer.close()

    async def serve_and_wait() -> Any:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        connect(monkeypatch, simulator.connection, port=server.sockets[0].getsockname()[1])
        once = {"config": {"read_timeout": 30, "retries": {"total_max_attempts": 1}}}
        async with server:
            return await anext(aiter(trigger(hook_parameters=once, unreachable_timeout=0).run()))

    event = asyncio.run(serve_and_wait()).payload

    assert event["status"] == "success", event


@pytest.mark.parametrize("cancel_on_timeout", [True, False])
def test_deadline(simulator: Simulator, cancel_on_timeout: bool) -> None:
    """A passed deadline fires a timeout, and stops the job if it was to."""
    simulator.seed("modeltraining", "mine", status="InProgress")

    task = trigger(deadline=time.time() - 1, cancel_on_timeout=cancel_on_timeout)
    event = first_event(task).payload

    assert event["status"] == "timeout"
    assert "'mine' timed out after" in event["message"]
    assert ("Cancellation requested" in event["message"]) is cancel_on_timeout
    assert bool(simulator.calls("CancelMLModelTrainingJob")) is cancel_on_timeout


def test_deadline_comes_before_airflows(simulator: Simulator) -> None:
    """A wait without a deadline of its own ends before Airflow gives the task up without a word."""
    simulator.seed("modeltraining", "mine", status="InProgress")
    task: Any = trigger()
    # Less than the margin away: our deadline has passed, Airflow's has not.
    task.timeout_after = datetime.now(timezone.utc) + timedelta(seconds=4.9)

    assert first_event(task).payload["status"] == "timeout"
    assert task._ends_at == pytest.approx(task.timeout_after.timestamp() - 5)


def test_cancelled_work_does_not_go_on() -> None:
    """What a trigger is waiting for when it is cancelled is cancelled too."""
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()

    async def cancel() -> None:
        waiting = asyncio.ensure_future(promptly(work()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.wait_for(ended.wait(), 30)

    asyncio.run(cancel())


def test_start_defers(simulator: Simulator) -> None:
    """A deferrable start hands all settings and an absolute deadline over, and takes up the outcome."""
    simulator.seed("dataprocessing", "data-1", status="Completed")
    task = NeptuneMLStartModelTrainingJobOperator(
        task_id="train",
        data_processing_job_id="data-1",
        train_model_s3_location="s3://bucket/model",
        deferrable=True,
        timeout=3600,
        poll_interval=0.01,
        botocore_config={"read_timeout": 7},
    )
    where = context()

    with pytest.raises(TaskDeferred) as deferred:
        task.execute(where)

    path, stored = deferred.value.trigger.serialize()
    job_id = where["ti"].xcoms["job_id"]
    assert stored["resource_id"] == job_id
    assert stored["deadline"] == pytest.approx(time.time() + 3600, abs=60)
    assert stored["hook_parameters"]["config"] == {"read_timeout": 7}
    assert stored["cancel_on_kill"]
    simulator.finish("modeltraining", job_id)
    event = first_event(rebuild(path, stored)).payload
    assert getattr(task, deferred.value.method_name)(where, event) == job_id
    assert where["ti"].xcoms["description"]["status"] == "Completed"


@pytest.mark.parametrize(
    "event",
    [
        None,
        {},
        *({"status": status, "message": "no", "resource_id": "mine"} for status in ("error", "timeout")),
    ],
)
def test_nothing_but_success_succeeds(event: dict[str, Any] | None) -> None:
    """An empty event, an error and a timeout all fail the task."""
    task = NeptuneMLCancelModelTrainingJobOperator(task_id="cancel", job_id="mine")

    with pytest.raises(NeptuneMLError):
        task.execute_complete(context(), event)


def test_error_is_the_same_in_the_worker(simulator: Simulator) -> None:
    """What the service said to the trigger is raised in the worker with its type, text and attributes."""
    event = json.loads(json.dumps(first_event(trigger()).payload))
    sensor = NeptuneMLModelTrainingJobSensor(task_id="wait", job_id="mine", deferrable=True)
    with pytest.raises(NeptuneMLNotFoundError) as expected:
        NeptuneMLHook(config=ONCE).describe("modeltraining", "mine")

    with pytest.raises(NeptuneMLNotFoundError) as caught:
        sensor.execute_complete(context(), event)

    def comparable(error: NeptuneMLNotFoundError) -> tuple[Any, ...]:
        return str(error).split(", request id")[0], error.code, error.http_status, error.ambiguous

    assert comparable(caught.value) == comparable(expected.value)
    # A trigger of an earlier release sent the text alone.
    del event["error"]
    with pytest.raises(NeptuneMLError, match="No model training job 'mine'"):
        sensor.execute_complete(context(), event)
