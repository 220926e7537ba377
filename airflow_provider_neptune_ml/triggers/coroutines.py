"""What a trigger does as it is cancelled: it finishes some work, or leaves it at once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


async def undisturbed(work: Coroutine[Any, Any, None]) -> bool:
    """
    Finish some work: Airflow cancels a trigger again each second until it has ended.

    Return whether it was finished: at its end, asyncio.run() cancels all tasks, that of the work too.
    """
    task = asyncio.ensure_future(work)
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.shield(task)
    return not task.cancelled()


async def promptly(work: Coroutine[Any, Any, T]) -> T:
    """Do some work; a cancellation takes effect at once with its reason, which asgiref would lose."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait((task,))
        return task.result()
    finally:
        task.cancel()
