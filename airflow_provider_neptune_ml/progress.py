"""What a wait tells of each reply, and who hears it: the links in the UI, the log, a kill."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from airflow_provider_neptune_ml.kinds import ResourceKind, Stage
from airflow_provider_neptune_ml.retries import Log
from airflow_provider_neptune_ml.text import one_line


class Progress(NamedTuple):
    """
    One reply of a wait.

    :param kind: the kind of resource.
    :param description: the reply of the Get.
    :param is_change: whether its status or stage is another than in the reply before; True for the first.
    :param ended: the stage that was at work in the reply before, if another one is now, with what this reply
        says of it. None for the first reply, also of a wait that was taken over.
    """

    kind: ResourceKind
    description: Mapping[str, Any]
    is_change: bool = True
    ended: tuple[Stage, Mapping[str, Any]] | None = None


# Called with each reply, before the wait ends or fails by it, and between two polls: what takes time, a
# listener does elsewhere.
Listener: TypeAlias = Callable[[Progress], object]


class Listeners:
    """
    All that hear of one wait, as one: what one of them raises is logged once, and never ends the wait.

    :param log: where that goes.
    :param listeners: they are called in this order.
    """

    __slots__ = ("_has_logged", "_listeners", "_log")

    def __init__(self, log: Log, *listeners: Listener) -> None:
        self._log = log
        self._listeners = listeners
        self._has_logged = False

    def __call__(self, progress: Progress) -> None:
        """Tell them all."""
        for listener in self._listeners:
            try:
                listener(progress)
            except Exception as error:
                if not self._has_logged:
                    self._has_logged = True
                    self._log.warning("Progress not shown: %s: %s", type(error).__name__, one_line(error))
