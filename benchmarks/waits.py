"""The waits of both sides, started as Airflow's triggerer starts them."""

from __future__ import annotations

import asyncio
import importlib
import json
import time
from typing import TYPE_CHECKING, Any

from airflow_provider_neptune_ml.kinds import MODEL_TRAINING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow.triggers.base import BaseTrigger

OURS, PEER = "ours", "peer"
# Ours with what it does for the UI: pushes to XCom, and events of CloudWatch Logs in the task's log.
LINKED, PRINTED = "ours with links", "ours with print_log"
_SEVEN_DAYS = 7 * 24 * 3600.0


def serialized(side: str, ids: Iterable[str], interval: float) -> tuple[str, list[str]]:
    """
    Return what the triggerer reads from the database: the path of a trigger and each wait's arguments.

    :param side: one of those above.
    :param ids: the ids of the training jobs.
    :param interval: time in seconds between two polls.
    """
    rows = [_build(side, id_, interval).serialize() for id_ in ids]
    return rows[0][0], [json.dumps(arguments) for _, arguments in rows]


def _build(side: str, id_: str, interval: float) -> BaseTrigger:
    if side == PEER:
        from benchmarks.peer import PeerTrigger

        # Amazon's base says int, and sleeps for any number.
        return PeerTrigger(job_id=id_, waiter_delay=interval)  # type: ignore[arg-type]
    from airflow_provider_neptune_ml.triggers.neptune_ml import NeptuneMLJobTrigger

    # As the sensors send them.
    hook_parameters = {
        "neptune_ml_conn_id": "neptune_ml_default",
        "aws_conn_id": "aws_default",
        "region_name": None,
        "verify": None,
        "config": None,
    }
    return NeptuneMLJobTrigger(
        kind=MODEL_TRAINING.name,
        resource_id=id_,
        deadline=time.time() + _SEVEN_DAYS,
        poll_interval=interval,
        print_log=side == PRINTED,
        hook_parameters=hook_parameters,
    )


def import_all(side: str) -> None:
    """Import what a wait needs: a triggerer pays for it once in its life, not once a wait."""
    peers, ours = (
        ("benchmarks.peer", "aiobotocore.session"),
        ("airflow_provider_neptune_ml.hooks.neptune_ml",),
    )
    for name in peers if side == PEER else ours:
        importlib.import_module(name)


class _TaskInstance:
    """Takes XComs; what Airflow's supervisor does with them is not measured."""

    dag_id = task_id = run_id = "wait"
    map_index = -1
    trigger_timeout = task = None

    def xcom_push(self, key: str, value: Any) -> None:
        """Make it the text that goes to the supervisor."""
        json.dumps({key: value}, default=str)


async def start(side: str, path: str, rows: Iterable[str]) -> list[asyncio.Task[None]]:
    """Start the waits in the way, and with the yields to the loop, of ``TriggerRunner.create_triggers``."""
    tasks = []
    module, _, name = path.rpartition(".")
    for arguments in rows:
        await asyncio.sleep(0)
        trigger_class = getattr(importlib.import_module(module), name)
        await asyncio.sleep(0)
        trigger: Any = trigger_class(**json.loads(arguments))
        if side in (LINKED, PRINTED):
            trigger.task_instance = _TaskInstance()
        tasks.append(asyncio.create_task(_run(trigger)))
    return tasks


async def stop(tasks: list[asyncio.Task[None]]) -> None:
    """End the waits; raise what ended one of them before."""
    for task in tasks:
        task.cancel()
    results: list[Any] = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if not isinstance(result, asyncio.CancelledError):
            raise RuntimeError(f"A wait ended too early: {result!r}") from result


async def _run(trigger: BaseTrigger) -> None:
    async for event in trigger.run():
        raise RuntimeError(f"A wait ended too early: {event!r}")
