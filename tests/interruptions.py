"""Signals that come in the middle of a request: once the simulator has it, whenever that is."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from airflow_provider_neptune_ml.simulator import Simulator


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
