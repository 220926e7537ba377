"""Signals that come in the middle of a request: once the simulator has it, whenever that is."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from airflow_provider_neptune_ml.simulator import Simulator


@contextmanager
def signalled(simulator: Simulator, operation: str, number: int, *, calls: int = 1) -> Iterator[None]:
    """Send this process a signal once the simulator has so many more calls of an operation."""
    before, over = len(simulator.calls(operation)), threading.Event()

    def watch() -> None:
        while len(simulator.calls(operation)) < before + calls:
            if over.wait(0.005):
                return
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


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
