"""Calls of the service from the triggerer's event loop: a few threads, and the hook that they share."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from asgiref.sync import sync_to_async

if TYPE_CHECKING:
    from airflow_provider_neptune_ml.hooks.neptune_ml import NeptuneMLHook

T = TypeVar("T")

# A poll is a few milliseconds of work and as long a wait; few threads serve many triggers, and a cluster that
# answers slowly must not fill the triggerer with threads.
_THREADS = 8


@cache
def _pool(purpose: str) -> ThreadPoolExecutor:  # noqa: ARG001
    """Return the threads for a purpose; asked for in the event loop alone."""
    return ThreadPoolExecutor(_THREADS, thread_name_prefix="neptune-ml")


async def in_thread(call: Callable[[], T], purpose: str = "Airflow") -> T:
    """
    Return what a call returns, without blocking the event loop.

    By way of asgiref: on Airflow before 3.3, a thread that looks up a connection finds the triggerer's event
    loop through it. From a thread of our own, the look-up would break the triggerer's line to its supervisor.

    :param call: What to call.
    :param purpose: What for; calls wait for a thread only behind others of the same purpose.
    """
    return await sync_to_async(call, thread_sensitive=False, executor=_pool(purpose))()


async def with_hook(
    parameters: Mapping[str, Any], call: Callable[[NeptuneMLHook], T], *, urgent: bool = False
) -> T:
    """
    Return what a call of the shared hook returns, without blocking the event loop.

    Each settings have threads of their own: waits on a cluster that is silent don't hold up others.

    :param parameters: The arguments of the hook.
    :param call: What to do with it, in a thread.
    :param urgent: Whether it must not wait behind polls (default: False).
    """

    def run() -> T:
        # Imported and built here too: boto3 takes its time.
        from airflow_provider_neptune_ml.hooks.neptune_ml import shared_hook

        return call(shared_hook(parameters))

    return await in_thread(run, f"{urgent} {json.dumps(parameters, sort_keys=True)}")
