"""
What XCom has of a task's resource: the XCom ``description``, the links of the UI, an endpoint's name.

They are pushed as soon as a reply shows them: while the task runs or is deferred, however it ends. Airflow
itself would ask for the links only when a worker is done with a task.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_neptune_ml.compat import TASK_MAY_ASK_FROM_THREADS, push_xcom
from airflow_provider_neptune_ml.kinds import ResourceKind
from airflow_provider_neptune_ml.retries import Log
from airflow_provider_neptune_ml.text import one_line

if TYPE_CHECKING:
    from airflow_provider_neptune_ml.links.neptune_ml import NeptuneMLLink

DESCRIPTION = "description"
# How long a poll waits for them, in seconds; what takes longer goes on beside it.
_LONGEST_WAIT_SECONDS = 1.0
# How long the end of a task is put off for the last of them, in seconds.
_LAST_PUSH_SECONDS = 5.0


class Pushed:
    """What is in XCom, by its hash: a triggerer has thousands of waits."""

    __slots__ = ("_hashes", "_shown")

    def __init__(self) -> None:
        self._hashes: dict[str, int] = {}
        # The last reply of which all was pushed.
        self._shown: int | None = None

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def has(self, key: str, value: Any) -> bool:
        """Tell whether a value is in XCom; nothing is there at first."""
        return self._hashes.get(key, _hash(type(value)())) == _hash(value)

    def add(self, key: str, value: Any) -> None:
        """Note that a value is in XCom."""
        self._hashes[key] = _hash(value)

    def missing(self, kind: ResourceKind, reply: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a reply shows and XCom has not: nothing, most of the time."""
        reply_hash = _hash(reply)
        if reply_hash == self._shown:
            return {}
        missing = {key: value for key, value in xcoms_of(kind, reply).items() if not self.has(key, value)}
        if not missing:
            self._shown = reply_hash
        return missing


class TaskXComs:
    """
    What of a task in a worker is in XCom.

    :param kind: the kind of resource.
    :param log: the task's.
    """

    def __init__(self, kind: ResourceKind, log: Log) -> None:
        self._kind = kind
        self._log = log
        self._thread: threading.Thread | None = None
        self._has_logged = False
        self.pushed = Pushed()
        # The links that this process has seen; None: none, but another process of the task may have.
        self.links: dict[str, str] | None = None

    def push(self, task_instance: Any, key: str, value: Any) -> None:
        """Push what is not in XCom yet; what that raises, the task fails with."""
        if not self.pushed.has(key, value):
            push_xcom(task_instance, key, value)
            self.pushed.add(key, value)

    def show(self, task_instance: Any, reply: Mapping[str, Any]) -> None:
        """
        Push what a reply shows. It never fails the task, and holds up neither a poll nor a kill.

        :param task_instance: the task's.
        :param reply: a description, or the reply of a start.
        """
        if urls := _urls_of(self._kind, reply):
            self.links = {**(self.links or {}), **urls}
        if self._thread and self._thread.is_alive():
            return
        missing = self.pushed.missing(self._kind, reply)
        if missing and TASK_MAY_ASK_FROM_THREADS:
            self._thread = threading.Thread(
                target=self._push, args=(task_instance, missing), name="xcoms", daemon=True
            )
            self._thread.start()
            self._thread.join(_LONGEST_WAIT_SECONDS)
        elif missing:
            self._push(task_instance, missing)

    def finish(self, task_instance: Any, reply: Mapping[str, Any]) -> None:
        """
        Push what the last reply shows, as :meth:`show` does, and wait for it for about 5 s.

        :param task_instance: the task's.
        :param reply: a description.
        """
        until = time.monotonic() + _LAST_PUSH_SECONDS
        self._wait(until)
        self.show(task_instance, reply)
        self._wait(until)

    def _wait(self, until: float) -> None:
        if self._thread:
            self._thread.join(max(0.0, until - time.monotonic()))

    def _push(self, task_instance: Any, xcoms: Mapping[str, Any]) -> None:
        try:
            for key, value in xcoms.items():
                self.push(task_instance, key, value)
        except Exception as error:  # whatever Airflow's database, its API or the user's backend raises
            if not self._has_logged:
                self._has_logged = True
                log_failure(self._log, error)


def xcoms_of(kind: ResourceKind, reply: Mapping[str, Any]) -> dict[str, Any]:
    """Return the XComs that a reply shows; that of a start, which has no status, is no description."""
    description = {DESCRIPTION: dict(reply)} if reply.get("status") else {}
    return {**_urls_of(kind, reply), **kind.names_in(reply), **description}


class ExtraLinks:
    """The links of an operator or sensor, by its kind; also of a class, which is what mapped tasks have."""

    def __get__(self, task: object, owner: Any) -> Sequence[NeptuneMLLink]:
        """Return them. Imported here, with botocore behind Amazon's: a Dag file should not pay for that."""
        from airflow_provider_neptune_ml.links.neptune_ml import links_of

        kind: ResourceKind | None = getattr(owner, "kind", None)
        return links_of(kind) if kind else ()


def log_failure(log: Log, error: Exception) -> None:
    """Log that links and description could not be pushed."""
    log.warning("Links and description not pushed to XCom: %s: %s", type(error).__name__, one_line(error))


def _urls_of(kind: ResourceKind, reply: Mapping[str, Any]) -> dict[str, str]:
    from airflow_provider_neptune_ml.links.neptune_ml import urls_of

    return urls_of(kind, reply)


def _hash(value: Any) -> int:
    return hash(str(value))
