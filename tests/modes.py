"""Every way to wait, each a small function, and the one clock that all of them and the simulator go by."""

from __future__ import annotations

import asyncio
import importlib
import json
import math
import re
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any

import pytest
from airflow.exceptions import AirflowRescheduleException
from airflow.triggers.base import TriggerEvent

from airflow_provider_neptune_ml.compat import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseSensorOperator,
)
from airflow_provider_neptune_ml.exceptions import NeptuneMLError
from airflow_provider_neptune_ml.hooks.export import NeptuneMLExportHook
from airflow_provider_neptune_ml.hooks.neptune_ml import NeptuneMLHook
from airflow_provider_neptune_ml.kinds import EXPORT, MODEL_TRAINING, Phase, ResourceKind
from airflow_provider_neptune_ml.operators.neptune_ml import (
    NeptuneMLCancelModelTrainingJobOperator,
    NeptuneMLStartModelTrainingJobOperator,
)
from airflow_provider_neptune_ml.sensors import export as export_sensors
from airflow_provider_neptune_ml.sensors import neptune_ml as sensors
from airflow_provider_neptune_ml.simulator import Simulator
from airflow_provider_neptune_ml.triggers import neptune_ml as triggers
from airflow_provider_neptune_ml.triggers.neptune_ml import NeptuneMLJobTrigger
from tests.contexts import KEY, TaskInstance, context
from tests.sdk import TaskDeferred

_TIMED = ("hooks", "sensors", "operators", "triggers")
_ERROR_LINE = re.compile(r"\[error +\] (.*?) +\[airflow_provider")


@dataclass
class Clock:
    """The simulator's clock in place of the module ``time``: sleeping on it moves it."""

    simulator: Simulator
    then: list[Callable[[], object]] = field(default_factory=list)
    # When Airflow gives the task in the worker up.
    alarm: float = math.inf

    def time(self) -> float:
        """Tell the time in seconds since the epoch."""
        return self.simulator.now()

    monotonic = time

    def sleep(self, seconds: float) -> None:
        """Let what is to happen next happen, once the resource was looked at, and move the time."""
        if self.then and any("Get" in str(request.operation) for request in self.simulator.journal):
            self.then.pop(0)()
        self.simulator.advance(seconds)
        if self.time() >= self.alarm:
            raise AirflowTaskTimeout("Timeout")

    async def sleep_async(self, seconds: float) -> None:
        """Do so in the event loop."""
        self.sleep(seconds)

    def utcnow(self) -> datetime:
        """Tell the time as a date."""
        return datetime.fromtimestamp(self.time(), timezone.utc)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have tasks, triggers and Airflow's sensors go by this clock."""
        airflows = sys.modules[BaseSensorOperator.__module__]
        ours = [
            module
            for name, module in sys.modules.copy().items()
            if name.split(".")[:2] in [["airflow_provider_neptune_ml", package] for package in _TIMED]
        ]
        for module in (airflows, *ours):
            if hasattr(module, "time"):
                monkeypatch.setattr(module, "time", self)
        monkeypatch.setattr(airflows, "timezone", types.SimpleNamespace(utcnow=self.utcnow))
        stepped = types.SimpleNamespace(**{**vars(asyncio), "sleep": self.sleep_async})
        monkeypatch.setattr(triggers, "asyncio", stepped)


@dataclass
class World:
    """What a wait happens in: its clock and resource, the settings of its task, and what is logged."""

    clock: Clock
    logged: Callable[[], str]
    kind: ResourceKind = MODEL_TRAINING
    # boto3's own retries would only make the tests slower.
    config: dict[str, Any] = field(default_factory=lambda: {"retries": {"total_max_attempts": 1}})

    @property
    def simulator(self) -> Simulator:
        """The cluster."""
        return self.clock.simulator


@dataclass(frozen=True)
class Ending:
    """
    How a wait ended.

    :param state: the state in which Airflow would leave a task that has retries left.
    :param message: why, unless well.
    :param description: of the resource, if well.
    :param xcoms: what else is in XCom then.
    """

    state: str
    message: str = ""
    description: Any = None
    xcoms: dict[str, Any] = field(default_factory=dict, compare=False)


Mode = Callable[..., Ending]


def poke(world: World, **settings: Any) -> Ending:
    """Wait in a worker."""
    task = _sensor(world, **settings)
    return _timed(world, task, world.clock.utcnow())


def reschedule(world: World, **settings: Any) -> Ending:
    """Wait in a worker now and then, each time in a process that knows nothing of those before."""
    began = world.clock.utcnow()
    while True:
        task = _sensor(world, mode="reschedule", **settings)
        try:
            return _timed(world, task, began)
        except AirflowRescheduleException as later:
            # Dates are cut to microseconds; the clock must not be late for ever.
            world.clock.sleep(max(0.001, (later.reschedule_date - world.clock.utcnow()).total_seconds()))


def deferrable(world: World, **settings: Any) -> Ending:
    """Wait in the triggerer, begin and end in a worker."""
    return _deferred(world, _sensor(world, deferrable=True, **settings))


def from_trigger(world: World, retries: int = 2, **settings: Any) -> Ending:
    """Begin and, if all is well, end in the triggerer: a task with retries fails in a worker."""
    task = _sensor(world, start_from_trigger=True, end_from_trigger=True, retries=retries, **settings)
    started = task.start_trigger_args
    trigger = rebuild(started.trigger_cls, started.trigger_kwargs)
    trigger.timeout_after = world.clock.utcnow() + started.timeout
    return _taken_up(world, task, trigger, started.next_method, context())


def without_worker(world: World, **settings: Any) -> Ending:
    """Begin and end in the triggerer, come what may."""
    return from_trigger(world, retries=0, **settings)


def hook(world: World, **settings: Any) -> Ending:
    """Wait in a function of one's own."""
    renamed = {"poke_interval": "poll_interval"}
    settings = {renamed.get(name, name): value for name, value in settings.items()}
    ours = (NeptuneMLExportHook if world.kind is EXPORT else NeptuneMLHook)(config=world.config)
    return _ending(lambda: ours.wait(world.kind, "mine", **settings))


def start(world: World, deferrable: bool = False, **settings: Any) -> Ending:
    """Start the job and wait in the worker."""
    if not world.simulator.overview()["kinds"]["dataprocessing"]:
        world.simulator.seed("dataprocessing", "data-1", status="Completed")
    task = NeptuneMLStartModelTrainingJobOperator(
        task_id="train",
        job_id="mine",
        data_processing_job_id="data-1",
        train_model_s3_location="s3://bucket/model",
        cancel_on_timeout=False,
        botocore_config=world.config,
        deferrable=deferrable,
        **settings,
    )
    return _operator(world, task)


def start_deferrable(world: World, **settings: Any) -> Ending:
    """Start the job in the worker and wait in the triggerer."""
    return start(world, deferrable=True, **settings)


def cancel(world: World, deferrable: bool = False, **settings: Any) -> Ending:
    """Cancel the job and wait in the worker for its end."""
    task = NeptuneMLCancelModelTrainingJobOperator(
        task_id="cancel", job_id="mine", botocore_config=world.config, deferrable=deferrable, **settings
    )
    return _operator(world, task)


def cancel_deferrable(world: World, **settings: Any) -> Ending:
    """Cancel the job in the worker and wait in the triggerer for its end."""
    return cancel(world, deferrable=True, **settings)


def rebuild(path: str, stored: dict[str, Any]) -> NeptuneMLJobTrigger:
    """Make a trigger of what the database has, as the triggerer does."""
    module, _, name = path.rpartition(".")
    rebuilt = getattr(importlib.import_module(module), name)(**json.loads(json.dumps(stored)))
    assert isinstance(rebuilt, NeptuneMLJobTrigger)
    return rebuilt


def first_event(trigger: NeptuneMLJobTrigger) -> TriggerEvent:
    """Run a trigger until it fires."""

    async def first() -> TriggerEvent:
        return await anext(aiter(trigger.run()))

    return asyncio.run(first())


def _sensor(world: World, **settings: Any) -> Any:
    [leaf] = [
        leaf
        for leaf in {**vars(sensors), **vars(export_sensors)}.values()
        if isinstance(leaf, type)
        and issubclass(leaf, sensors.NeptuneMLSensor)
        and getattr(leaf, "kind", None) is world.kind
    ]
    return leaf(
        **{
            "task_id": "wait",
            world.kind.id_argument: "mine",
            "botocore_config": world.config,
            "retries": 2,
            **settings,
        }
    )


def _timed(world: World, task: Any, began: datetime) -> Ending:
    """Execute a task in a worker, within its execution_timeout."""
    if task.execution_timeout:
        world.clock.alarm = world.clock.time() + task.execution_timeout.total_seconds()
    where = context(start_date=began)
    try:
        return replace(_ending(lambda: task.execute(where)), xcoms=where["ti"].xcoms)
    finally:
        world.clock.alarm = math.inf


def _operator(world: World, task: Any) -> Ending:
    where = context(start_date=world.clock.utcnow())
    if task.deferrable:
        ending = _deferred(world, task, where)
    else:
        ending = replace(_ending(lambda: task.execute(where)), xcoms=where["ti"].xcoms)
    if ending.state != "success":
        return ending
    # An operator returns the id, and pushes the description.
    assert ending.description == "mine"
    return replace(ending, description=ending.xcoms.get("description"))


def _deferred(world: World, task: Any, where: Any = None) -> Ending:
    where = where or context(start_date=world.clock.utcnow())
    try:
        ending = _ending(lambda: task.execute(where))
    except TaskDeferred as deferred:
        path, stored = deferred.trigger.serialize()
        return _taken_up(world, task, rebuild(path, stored), deferred.method_name, where)
    # Only a sensor on what has ended before is not deferred.
    assert isinstance(task, sensors.NeptuneMLSensor), "not deferred"
    found = world.simulator.describe(world.kind.name, "mine")
    assert world.kind.phase_of(found["status"]) is not Phase.RUNNING, "not deferred"
    return replace(ending, xcoms=where["ti"].xcoms)


def _taken_up(world: World, task: Any, trigger: NeptuneMLJobTrigger, next_method: str, where: Any) -> Ending:
    """Run a trigger, again if its triggerer is shut down, and the rest of its task as Airflow does."""
    before, instance = dict(where["ti"].xcoms), TaskInstance(**KEY)
    trigger.task_instance = instance  # type: ignore[assignment]
    try:
        event: Any = first_event(trigger)
    except asyncio.CancelledError:
        again = rebuild(*trigger.serialize())
        again.timeout_after, again.task_instance = trigger.timeout_after, trigger.task_instance
        event = first_event(again)
    ending = _after(world, task, event, next_method, where, instance.xcoms)
    at_end = {key: value for key, value in where["ti"].xcoms.items() if before.get(key) != value}
    return replace(
        ending, xcoms={**before, **instance.xcoms, **at_end, **(getattr(event, "xcoms", None) or {})}
    )


def _after(
    world: World, task: Any, event: Any, next_method: str, where: Any, pushed: dict[str, Any]
) -> Ending:
    kind = type(event).__name__
    if kind == "TaskSuccessEvent":
        for key, value in {**pushed, **event.xcoms}.items():
            where["ti"].xcom_push(key, value)
        return Ending("success", description=where["ti"].xcoms["return_value"])
    if kind in ("TaskFailedEvent", "TaskSkippedEvent"):
        message = "\n".join(_ERROR_LINE.findall(world.logged()))
        return Ending("failed" if kind == "TaskFailedEvent" else "skipped", message)
    payload = json.loads(json.dumps(event.payload))
    return _ending(lambda: task.resume_execution(next_method, {"event": payload}, where))


def _ending(act: Callable[[], Any]) -> Ending:
    """Return what an outcome in a worker means to Airflow."""
    try:
        description = act()
    except AirflowSkipException as skip:
        return Ending("skipped", str(skip))
    except (AirflowFailException, AirflowSensorTimeout) as failure:
        return Ending("failed", str(failure))
    except (AirflowTaskTimeout, NeptuneMLError) as error:
        return Ending("up_for_retry", str(error))
    return Ending("success", description=description)
