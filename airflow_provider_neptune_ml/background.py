"""Calls in threads that never keep the process from ending, and the futures that have their answers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def answer(future: Future[T], call: Callable[[], T]) -> None:
    """Call, and have a future return or raise the same; for one that was cancelled, nothing is called."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(call())
    except BaseException as error:  # the one that waits for the future gets it
        future.set_exception(error)


def in_daemon(call: Callable[[], T], future: Future[T] | None = None) -> Future[T]:
    """
    Call in a thread of its own, which goes on where a signal handler ends what waits for it.

    :param call: what to call.
    :param future: what has its answer (default: a new one).
    """
    answered: Future[T] = Future() if future is None else future
    threading.Thread(target=answer, args=(answered, call), name="neptune-ml", daemon=True).start()
    return answered
