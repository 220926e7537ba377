"""The simulated cluster's resources by kind and id, optionally kept in a file."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from airflow_provider_neptune_ml.kinds import ALL_KINDS
from airflow_provider_neptune_ml.simulator.clock import Clock
from airflow_provider_neptune_ml.simulator.queries import QueryScript
from airflow_provider_neptune_ml.simulator.resources import Resource, Script
from airflow_provider_neptune_ml.simulator.state import StateFile

if TYPE_CHECKING:
    from airflow_provider_neptune_ml.simulator.settings import Settings


class Store:
    """
    Hold the resources; callers hold :attr:`lock` while they look or change.

    :param settings: the cluster's settings.
    """

    def __init__(self, settings: Settings) -> None:
        self.lock = threading.RLock()
        self.scripts: list[Script] = []
        self.query_scripts: list[QueryScript] = []
        self.made = 0
        self._resources: dict[str, dict[str, Resource]] = {kind: {} for kind in ALL_KINDS}
        self._rate = settings.speed if settings.clock == "real" else 0.0
        self.clock = Clock(self._rate)
        self._file = StateFile(settings.state_file, self._rate) if settings.state_file else None
        self.open()

    def get(self, kind: str, id_: str) -> Resource | None:
        """Return a resource that exists now, visible or not."""
        resource = self._resources[kind].get(id_)
        if resource and resource.gone is not None and self.clock.now() >= resource.gone:
            del self._resources[kind][id_]
            return None
        return resource

    def find(self, kind: str, id_: str) -> Resource:
        """Return a resource that exists now, or raise KeyError; for the control API."""
        _check_kind(kind)
        resource = self.get(kind, id_)
        if resource is None:
            raise KeyError(f"no {ALL_KINDS[kind].title} {id_!r}")
        return resource

    def all(self, kind: str) -> list[Resource]:
        """Return the resources of a kind that exist now, in the order of their creation."""
        _check_kind(kind)
        return [resource for id_ in list(self._resources[kind]) if (resource := self.get(kind, id_))]

    def put(self, resource: Resource) -> None:
        """Take a resource in, after the state file has."""
        if self._file:
            self._file.put(self.made, resource)
        self._resources[resource.kind][resource.id] = resource
        self.made += 1

    def note_call(self, kind: str | None, id_: str | None, call: tuple[float, str, str]) -> None:
        """Remember the last request for a resource: when, what, by whom."""
        resource = self._resources[kind].get(id_) if kind and id_ else None
        if resource:
            resource.last_call = call

    def take_script(self, kind: str, id_: str) -> Script:
        """Return what was scripted for a resource that is being started, and forget it."""
        for script in self.scripts:
            if script.kind == kind and script.id in (None, id_):
                self.scripts.remove(script)
                return script
        return Script(kind)

    def take_query_script(self, query: str) -> QueryScript | None:
        """Return the first script that a query fits, and count it."""
        script = next((one for one in self.query_scripts if one.query is None or one.query in query), None)
        if script and script.times is not None:
            script.times -= 1
            if not script.times:
                self.query_scripts.remove(script)
        return script

    def clear(self) -> None:
        """Remove all resources and scripts."""
        if self._file:
            self._file.clear()
        for resources in self._resources.values():
            resources.clear()
        self.scripts.clear()
        self.query_scripts.clear()

    def save(self, resource: Resource) -> None:
        """Keep a change of a resource, if there is a state file."""
        if self._file:
            self._file.update(resource)

    def advance(self, seconds: float) -> None:
        """Move the clock ahead by simulated seconds."""
        self.clock.advance(seconds)
        if self._file:
            self._file.set_clock(self.clock.now())

    def open(self) -> None:
        """Read the state file, if there is one that isn't open yet; raise ValueError if it can't be used."""
        if self._file is None or self._file.is_open:
            return
        with self.lock:
            now, resources = self._file.open()
            self.clock = Clock(self._rate, now)
            self.made = max(resources, default=-1) + 1
            self._resources = {kind: {} for kind in ALL_KINDS}
            for resource in resources.values():
                self._resources[resource.kind][resource.id] = resource

    def close(self) -> None:
        """Leave the state file to others; what is in memory stays, but takes no change until :meth:`open`."""
        if self._file:
            with self.lock:
                self._file.close()


def _check_kind(kind: str) -> None:
    if kind not in ALL_KINDS:
        raise ValueError(f"kind={kind!r}: must be one of {', '.join(ALL_KINDS)}")
