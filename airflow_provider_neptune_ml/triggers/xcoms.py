"""The links and the description of a job, pushed to XCom from the triggerer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from airflow_provider_neptune_ml.compat import TRIGGERER_TAKES_XCOMS, push_xcom
from airflow_provider_neptune_ml.progress import Progress
from airflow_provider_neptune_ml.retries import Log
from airflow_provider_neptune_ml.triggers.threads import Threads, in_thread
from airflow_provider_neptune_ml.xcoms import Pushed, log_failure

# Apart from polls and kills, which they must not hold up; few, as the supervisor answers one at a time.
_THREADS = Threads(limit=4, limit_of_one=4)
# How long the end of a wait is put off for a push that is under way, in seconds.
_LONGEST_WAIT_SECONDS = 2.0
# And for what a task ends with, see push_last.
_LAST_PUSH_SECONDS = 10.0


class TriggerXComs:
    """
    What of a wait in the triggerer is in XCom; a listener that holds up neither polls nor the event loop.

    :param task_instance: the one whose XComs they are; None, as in ``dag.test()``: there are none. Where an
        Airflow's triggerer can't push them, they are left to the worker that resumes the task.
    :param log: the trigger's.
    """

    __slots__ = ("_has_logged", "_is_cancelled", "_log", "_pushed", "_pushing", "_task_instance")

    def __init__(self, task_instance: Any, log: Log) -> None:
        self._task_instance = task_instance if TRIGGERER_TAKES_XCOMS else None
        self._log = log
        self._pushed = Pushed()
        self._pushing: asyncio.Future[None] | None = None
        self._has_logged = False
        self._is_cancelled = False

    def __call__(self, progress: Progress) -> None:
        """Push what a reply shows, unless the last push has not ended: the next reply shows it too."""
        if self._task_instance is None or (self._pushing and not self._pushing.done()):
            return
        if missing := self._pushed.missing(progress.kind, progress.description):
            self._pushing = asyncio.ensure_future(self._push(missing))

    async def push_last(self, xcoms: Mapping[str, Any]) -> dict[str, Any]:
        """
        Push what a task ends with, and return what was not pushed, for the event that ends it.

        Airflow 3.3 stores the XComs of such an event as JSON text, and tasks downstream get that text.
        """
        await self.finish()
        left = {key: value for key, value in xcoms.items() if not self._pushed.has(key, value)}
        if left and self._task_instance is not None:
            self._pushing = asyncio.ensure_future(self._push(left))
            await asyncio.wait((self._pushing,), timeout=_LAST_PUSH_SECONDS)
        return {key: value for key, value in left.items() if not self._pushed.has(key, value)}

    async def finish(self) -> None:
        """Wait for the last push: 2 s at most."""
        if self._pushing:
            await asyncio.wait((self._pushing,), timeout=_LONGEST_WAIT_SECONDS)

    def cancel(self) -> None:
        """Leave what was not pushed to the task, or to the event that ends it; its next try has others."""
        self._is_cancelled = True
        if self._pushing:
            self._pushing.cancel()

    async def _push(self, xcoms: Mapping[str, Any]) -> None:
        try:
            await in_thread(lambda: self._push_all(xcoms), _THREADS)
        except Exception as error:  # whatever Airflow's supervisor or database raises
            if not self._has_logged:
                self._has_logged = True
                log_failure(self._log, error)

    def _push_all(self, xcoms: Mapping[str, Any]) -> None:
        for key, value in xcoms.items():
            if self._is_cancelled:
                return
            push_xcom(self._task_instance, key, value)
            self._pushed.add(key, value)
