"""Signals that come in the middle of a request: once the simulator has it, whenever that is."""

from __future__ import annotations

import itertools
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from airflow_provider_neptune_ml.compat import AirflowTaskTimeout
from airflow_provider_neptune_ml.exceptions import NeptuneMLKilledError
from airflow_provider_neptune_ml.simulator import Simulator
from tests.contexts import running


class Interrupted(BaseException):
    """What Airflow 2's signal handler raises."""


@contextmanager
def when(happened: Callable[[], bool], act: Callable[[], object]) -> Iterator[None]:
    """Act, in a thread, as soon as something has happened, while the block runs."""
    over = threading.Event()

    def watch() -> None:
        while not happened():
            if over.wait(0.005):
                return
        act()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def when_answered(
    simulator: Simulator, operation: str, act: Callable[[], object]
) -> AbstractContextManager[None]:
    """Act as soon as the simulator has answered a call of an operation well, while the block runs."""
    return when(lambda: any(request.status == 200 for request in simulator.calls(operation)), act)


def signalled(
    simulator: Simulator, operation: str, number: int, *, calls: int = 1
) -> AbstractContextManager[None]:
    """Send this process a signal once the simulator has so many more calls of an operation."""
    enough = len(simulator.calls(operation)) + calls
    return when(lambda: len(simulator.calls(operation)) >= enough, lambda: os.kill(os.getpid(), number))


@contextmanager
def interrupted(
    simulator: Simulator, operation: str, act: Callable[[], object], *, calls: int = 1
) -> Iterator[None]:
    """Have something done in the main thread then, as by Airflow's signal handlers."""
    previous = signal.signal(signal.SIGTERM, lambda *_: act())
    try:
        with signalled(simulator, operation, signal.SIGTERM, calls=calls):
            yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def at_call(number: int, act: Callable[[], object]) -> Callable[..., None]:
    """Return a function that acts when it is called for the given time."""
    calls = itertools.count(1)

    def called(**_: Any) -> None:
        if next(calls) == number:
            act()

    return called


def during(client: Any, operation: str, act: Callable[[], object], *, call: int = 1) -> None:
    """Have something done just before one of a client's requests is sent."""
    service = client.meta.service_model.service_id.hyphenize()
    client.meta.events.register(f"before-call.{service}.{operation}", at_call(call, act))


def before(owner: Any, name: str, act: Callable[[], object], *, call: int = 1, **arguments: Any) -> None:
    """Have something done just before a method of an object is called with such arguments."""
    method, called = getattr(owner, name), at_call(call, act)

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        if arguments.items() <= kwargs.items():
            called()
        return method(*args, **kwargs)

    setattr(owner, name, interrupted)


def wait_begun(task: Any, where: Any) -> None:
    """Execute a start operator until it polls for the first time, where a signal may find it."""

    def stop() -> None:
        raise Interrupted

    task.wait_for_completion = True
    during(task.hook.conn, task.kind.get_operation, stop, call=2)
    with pytest.raises(Interrupted):
        task.execute(where)


# How Airflow ends a task

HANDLER_RETURNS, HANDLER_RAISES, TIME_IS_OVER = NeptuneMLKilledError, Interrupted, AirflowTaskTimeout
however_ended = pytest.mark.parametrize(
    "ended",
    [HANDLER_RETURNS, HANDLER_RAISES, TIME_IS_OVER],
    ids=["handler returns (Airflow 3)", "handler raises (Airflow 2)", "execution_timeout"],
)


def end(task: Any, ended: type[BaseException]) -> Callable[[], None]:
    """Return what Airflow's signal handlers do to a task: the one for kills returns, or all of them raise."""

    def act() -> None:
        if ended is not TIME_IS_OVER:
            task.on_kill()
        if ended is not HANDLER_RETURNS:
            raise ended

    return act


def execute(task: Any, where: Any, ended: type[BaseException]) -> None:
    """Execute a task that is ended on its way, as Airflow does."""
    try:
        task.execute(where)
    except (ended, NeptuneMLKilledError):
        if ended is TIME_IS_OVER:
            with running(where):
                task.on_kill()
    else:
        pytest.fail("The task succeeded.")
