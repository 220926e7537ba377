"""Cancelling a job, or deleting an endpoint: on request, within the budget of a kill, and past a deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_neptune_ml.exceptions import (
    NeptuneMLError,
    NeptuneMLNotFoundError,
    NeptuneMLServiceError,
)

if TYPE_CHECKING:
    from airflow_provider_neptune_ml.hooks.neptune_ml import NeptuneMLHook
    from airflow_provider_neptune_ml.kinds import ResourceKind


@dataclass(frozen=True)
class Budgets:
    """
    How long a cancellation may take, in seconds, by what ends the task.

    :param kill: a kill in the worker: Airflow 3 sends SIGKILL 5 s after SIGTERM; the rest is for the
        supervisor to notice.
    :param kill_while_starting: the same in the middle of a start: long enough for a request under way to
        arrive, short enough to leave the main thread, which the signal handler holds up, the time to get its
        answer and to cancel the job itself.
    :param kill_question: how long a kill in the worker asks Airflow whether a user is behind it; a part of
        both.
    :param unhurried: where nothing kills the process: a time-out, an error, and a kill on Airflow 2, which
        gives a task a minute.
    :param trigger: a kill of a deferred task: Airflow gives a trigger's ``on_kill`` 30 s (``[triggerer]
        on_kill_timeout``).
    :param trigger_request: what of that is left for the request, at least.
    """

    kill: float = 4.0
    kill_while_starting: float = 2.0
    kill_question: float = 1.5
    unhurried: float = 30.0
    trigger: float = 24.0
    trigger_request: float = 8.0


BUDGETS = Budgets()
_PAUSE_SECONDS = 0.25


class Outcome(NamedTuple):
    """
    What came of a request.

    :param accepted: whether the service accepted it.
    :param words: the same for a message, such as ``cancellation requested``.
    """

    accepted: bool
    words: str


_ENDED = Outcome(False, "already in a terminal status, nothing to cancel")
_ABSENT = Outcome(False, "not found, nothing to cancel")


def cancel(
    hook: NeptuneMLHook,
    kind: ResourceKind,
    resource_id: str,
    *,
    clean: bool = False,
    urgent: bool = False,
    again: bool = True,
) -> bool:
    """
    Request the cancellation of a job, or the deletion of an endpoint.

    :param hook: sends the requests.
    :param kind: the kind of resource.
    :param resource_id: its id.
    :param clean: whether its artifacts in S3 are deleted too.
    :param urgent: whether the task is being killed: short time-outs.
    :param again: whether a refusal that the resource's status contradicts is followed by another request.
    :return: True when the request was accepted, False when the job was already in a terminal status.
    :raises NeptuneMLError: the service refused, or did not answer.
    """
    try:
        hook.request_cancellation(kind, resource_id, clean=clean, urgent=urgent)
    except NeptuneMLServiceError as refusal:
        if refusal.transient or refusal.http_status not in (400, 404):
            raise
        # "Already ended" and "no such id" differ in their wording alone: the status tells.
        description = hook.describe(kind, resource_id, urgent=urgent)
        if kind.is_stopping(description):
            return True
        if kind.is_over(description):
            return False
        if not again:
            raise
        # A request that came a moment before the resource existed was refused for that.
        return cancel(hook, kind, resource_id, clean=clean, urgent=urgent, again=False)
    return True


def cancel_now(
    hook: NeptuneMLHook,
    kind: ResourceKind,
    resource_id: str,
    *,
    clean: bool = False,
    may_appear: bool = False,
    seconds: float | None = None,
    spent: float = 0.0,
) -> Outcome:
    """
    Cancel a resource from a task that ends: within a budget, whatever the rest of the process is doing.

    In a thread of its own, since the signal may have come while the main thread held a lock.

    :param hook: sends the requests.
    :param kind: the kind of resource.
    :param resource_id: its id.
    :param clean: whether its artifacts in S3 are deleted too.
    :param may_appear: whether the request that creates it may be under way: "not found" is retried then.
    :param seconds: the budget (default: that of a kill in the worker).
    :param spent: what of it is spent already, in seconds (default: 0).
    :return: what came of it.
    """
    if seconds is None:
        seconds = BUDGETS.kill_while_starting if may_appear else BUDGETS.kill
    outcome = Outcome(False, f"no answer within {seconds:g} s")
    left = seconds - spent
    deadline = time.monotonic() + left

    def request() -> None:
        nonlocal outcome
        while time.monotonic() < deadline:
            try:
                accepted = cancel(hook, kind, resource_id, clean=clean, urgent=True)
            except NeptuneMLError as error:
                is_absent = isinstance(error, NeptuneMLNotFoundError) and not may_appear
                outcome = _ABSENT if is_absent else Outcome(False, str(error))
                refused = isinstance(error, NeptuneMLServiceError) and error.http_status in (400, 404)
                if not (error.transient or (may_appear and refused)):
                    return
                time.sleep(_PAUSE_SECONDS)
            else:
                outcome = Outcome(True, f"{kind.cancellation} requested") if accepted else _ENDED
                return

    thread = threading.Thread(target=request, name=f"cancel {resource_id}", daemon=True)
    thread.start()
    thread.join(left)
    return outcome


def cancel_late(kind: ResourceKind, request: Callable[[], bool] | None) -> str:
    """
    Cancel a resource past its deadline, and put what came of it into words.

    :param kind: the kind of resource.
    :param request: requests the cancellation, retried as any request; None: it is not to be cancelled.
    """
    if request is None:
        return _late_in_words(kind, None)
    try:
        return _late_in_words(kind, request())
    except NeptuneMLError as error:
        return _late_in_words(kind, error)


async def cancel_late_async(kind: ResourceKind, request: Callable[[], Awaitable[bool]] | None) -> str:
    """Do as :func:`cancel_late` does, without holding a thread."""
    if request is None:
        return _late_in_words(kind, None)
    try:
        return _late_in_words(kind, await request())
    except NeptuneMLError as error:
        return _late_in_words(kind, error)


def _late_in_words(kind: ResourceKind, accepted: bool | NeptuneMLError | None) -> str:
    if accepted is None:
        earlier = "" if kind.is_job else ", or it was there before (update=True)"
        return f"{kind.cancellation.capitalize()} not requested (cancel_on_timeout=False{earlier})."
    if isinstance(accepted, NeptuneMLError):
        return f"{kind.cancellation.capitalize()} failed: {accepted}"
    return f"{kind.cancellation.capitalize()} requested." if accepted else "It has ended since."
