"""The listeners that a wait calls with each reply: for the links in the UI, the log, a kill."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from airflow_provider_neptune_ml.kinds import ResourceKind
from airflow_provider_neptune_ml.retries import Log
from airflow_provider_neptune_ml.text import one_line


class Progress(NamedTuple):
    """
    One reply of a wait.

    :param kind: the kind of resource.
    :param description: the reply of the Get.
    """

    kind: ResourceKind
    description: Mapping[str, Any]


# Called with each reply, before the wait ends or fails by it, and between two polls: what takes time, a
# listener does elsewhere.
Listener: TypeAlias = Callable[[Progress], object]


class Listeners:
    """
    Several listeners as one: the first exception is logged, and none ends the wait.

    :param log: where it is logged.
    :param listeners: they are called in this order.
    """

    __slots__ = ("_has_logged", "_listeners", "_log")

    def __init__(self, log: Log, *listeners: Listener) -> None:
        self._log = log
        self._listeners = listeners
        self._has_logged = False

    def __call__(self, progress: Progress) -> None:
        """Call them all."""
        for listener in self._listeners:
            try:
                listener(progress)
            except Exception as error:
                if not self._has_logged:
                    self._has_logged = True
                    self._log.warning("Progress not shown: %s: %s", type(error).__name__, one_line(error))
