"""Calls of the service from the triggerer's event loop: a few threads, and the hook that they share."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from asgiref.sync import sync_to_async

from airflow_provider_neptune_ml.background import answer

if TYPE_CHECKING:
    from airflow_provider_neptune_ml.hooks.neptune_ml import NeptuneMLHook

T = TypeVar("T")

NAME = "neptune-ml"
# A poll is a few milliseconds of work and as long a wait; few threads serve many triggers, and clusters that
# answer slowly must not fill the triggerer with threads.
_THREADS = 64
_THREADS_OF_ONE_PURPOSE = 8
# Each busy thread keeps Python's lock from the event loop, 5 ms at a time. Where a cluster answers at once,
# more threads than these get nothing done sooner.
_POLLING_THREADS = 2
# Where none of their calls has ended for so long, the cluster is slow: another thread may join them.
_SLOW_SECONDS = 0.1
# What may be left out is not handed to threads behind more calls than these.
_FEW_WAITING = 20
# Starting one costs the event loop more than a call does.
_IDLE_SECONDS = 10.0


class _Call(NamedTuple):
    future: Future[Any]
    run: Callable[[], Any]


class Threads:
    """
    Threads that end when they had nothing to do for a while, and never keep the process from ending.

    Unlike those of a pool of the standard library, which stay, and are waited for at exit: silent clusters
    would hold up the end of a triggerer.

    :param limit: how many there are at most.
    :param limit_of_one: how many of them work for the same purpose at most; the rest is left to others.
    :param at_once: how many of them do as long as their calls end soon (default: as many).
    """

    def __init__(
        self,
        limit: int = _THREADS,
        limit_of_one: int = _THREADS_OF_ONE_PURPOSE,
        at_once: int = _THREADS_OF_ONE_PURPOSE,
    ) -> None:
        self._limit = limit
        self._limit_of_one = limit_of_one
        self._at_once = at_once
        self._lock = threading.Lock()
        self._waiting: dict[str, deque[_Call]] = {}
        self._handed: SimpleQueue[tuple[str, _Call]] = SimpleQueue()
        # Calls that were handed to a thread and have not ended, by purpose.
        self._busy: Counter[str] = Counter()
        # When a call was handed to a thread, or ended, for the last time; by purpose.
        self._moved_at: dict[str, float] = {}
        # Threads to which nothing was handed.
        self._idle = 0
        # Whether `_look_again` is going to be called.
        self._looks_again = False

    def submit(self, purpose: str, run: Callable[[], T]) -> Future[T]:
        """Run a call in a thread as soon as there is one for its purpose."""
        future: Future[T] = Future()
        with self._lock:
            self._waiting.setdefault(purpose, deque()).append(_Call(future, run))
            self._hand_out()
            if not self._busy:
                # Nobody would take it later.
                self._waiting.clear()
                raise RuntimeError("can't start new thread")
        return future

    def has_room(self, purpose: str) -> bool:
        """Tell whether few calls wait for a thread for a purpose."""
        with self._lock:
            return len(self._waiting.get(purpose, ())) < _FEW_WAITING

    def _hand_out(self) -> None:
        """Hand calls to threads as far as the limits allow, to each purpose in turn."""
        while self._busy.total() < self._limit:
            purpose = next(filter(self._may_have_another, self._waiting), None)
            if purpose is None:
                self._look_again_soon()
                return
            if self._idle:
                self._idle -= 1
            else:
                try:
                    threading.Thread(target=self._work, name=NAME, daemon=True).start()
                except RuntimeError:  # the process has too many: those that are busy take the calls later
                    return
            calls = self._waiting.pop(purpose)
            self._handed.put((purpose, calls.popleft()))
            if calls:
                self._waiting[purpose] = calls
            self._busy[purpose] += 1
            self._moved_at[purpose] = time.monotonic()

    def _may_have_another(self, purpose: str) -> bool:
        """Tell whether one more thread may work for a purpose."""
        busy = self._busy[purpose]
        return busy < self._limit_of_one and (
            busy < self._at_once or time.monotonic() > self._moved_at[purpose] + _SLOW_SECONDS
        )

    def _look_again_soon(self) -> None:
        """Have another thread join where calls stay slow, though none ends and none is submitted."""
        if self._looks_again or all(self._busy[name] >= self._limit_of_one for name in self._waiting):
            return
        timer = threading.Timer(_SLOW_SECONDS, self._look_again)
        timer.daemon = True
        with suppress(RuntimeError):  # the process has too many threads
            timer.start()
            self._looks_again = True

    def _look_again(self) -> None:
        with self._lock:
            self._looks_again = False
            self._hand_out()

    def _work(self) -> None:
        while True:
            try:
                purpose, call = self._handed.get(timeout=_IDLE_SECONDS)
            except Empty:
                with self._lock:
                    # None is idle any more where a call was put between these two lines.
                    if self._idle:
                        self._idle -= 1
                        return
                continue
            answer(*call)
            # A thread keeps nothing of its last call.
            del call
            with self._lock:
                self._busy[purpose] -= 1
                self._moved_at[purpose] = time.monotonic()
                if not self._busy[purpose]:
                    del self._busy[purpose], self._moved_at[purpose]
                self._idle += 1
                self._hand_out()


class _Purpose(Executor):
    """The threads as asyncio takes them."""

    def __init__(self, threads: Threads, purpose: str) -> None:
        self._threads = threads
        self._purpose = purpose

    def submit(self, run: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        return self._threads.submit(self._purpose, partial(run, *args, **kwargs))


_POLLS, _KILLS, _AIRFLOW = Threads(at_once=_POLLING_THREADS), Threads(), Threads()
# Few: what they print takes time from the event loop, and CloudWatch throttles at some requests a second.
LOGS = Threads(limit=8, limit_of_one=2)


async def in_thread(call: Callable[[], T], threads: Threads | None = None, purpose: str = "") -> T:
    """
    Return what a call returns, without blocking the event loop.

    By way of asgiref: on Airflow before 3.3, a thread that looks up a connection finds the triggerer's event
    loop through it. From a thread of our own, the look-up would break the triggerer's line to its supervisor.

    :param call: What to call.
    :param threads: The threads (default: those for questions to Airflow).
    :param purpose: What for; see :class:`Threads`.
    """
    executor = _Purpose(threads or _AIRFLOW, purpose)
    # Typed for the pools of the standard library; asyncio takes any executor.
    run: Any = sync_to_async(call, thread_sensitive=False, executor=executor)  # type: ignore[call-overload]
    result: T = await run()
    return result


async def with_hook(
    parameters: Mapping[str, Any],
    call: Callable[[NeptuneMLHook], T],
    *,
    urgent: bool = False,
    threads: Threads | None = None,
) -> T:
    """
    Return what a call of the shared hook returns, without blocking the event loop.

    The settings are the purpose: waits on a cluster that is silent don't hold up others.

    :param parameters: The arguments of the hook.
    :param call: What to do with it, in a thread.
    :param urgent: Whether it must not wait behind polls (default: False).
    :param threads: The threads (default: those for polls, or for what is urgent).
    """

    def run() -> T:
        # Imported and built here too: boto3 takes its time.
        from airflow_provider_neptune_ml.hooks.export import hook_of_trigger

        return call(hook_of_trigger(parameters))

    chosen = threads or (_KILLS if urgent else _POLLS)
    return await in_thread(run, chosen, purpose_of(parameters))


def purpose_of(parameters: Mapping[str, Any]) -> str:
    """Return the purpose of calls of the hook with these arguments, see :class:`Threads`."""
    return json.dumps(parameters, sort_keys=True)
