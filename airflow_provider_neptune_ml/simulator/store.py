"""The simulated cluster's resources by kind and id, optionally kept in a file."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_neptune_ml.kinds import KINDS
from airflow_provider_neptune_ml.simulator.clock import Clock
from airflow_provider_neptune_ml.simulator.resources import Resource, Script

if TYPE_CHECKING:
    from airflow_provider_neptune_ml.simulator.settings import Settings

_STATE_VERSION = 1


class Store:
    """
    Hold the resources; callers hold :attr:`lock` while they look or change.

    :param settings: the cluster's settings.
    """

    def __init__(self, settings: Settings) -> None:
        self.lock = threading.RLock()
        self.scripts: list[Script] = []
        self.made = 0
        self._resources: dict[str, dict[str, Resource]] = {kind: {} for kind in KINDS}
        self._file = Path(settings.state_file) if settings.state_file else None
        starts_at = self._load()
        self.clock = Clock(settings.speed if settings.clock == "real" else 0.0, starts_at)

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
            raise KeyError(f"no {KINDS[kind].title} {id_!r}")
        return resource

    def all(self, kind: str) -> list[Resource]:
        """Return the resources of a kind that exist now, in the order of their creation."""
        _check_kind(kind)
        return [resource for id_ in list(self._resources[kind]) if (resource := self.get(kind, id_))]

    def put(self, resource: Resource) -> None:
        """Take a resource in."""
        self._resources[resource.kind][resource.id] = resource
        self.made += 1
        self.save()

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

    def clear(self) -> None:
        """Remove all resources and scripts."""
        for resources in self._resources.values():
            resources.clear()
        self.scripts.clear()
        self.save()

    def save(self) -> None:
        """Write the resources to the state file, if there is one; a crash leaves the old or the new state."""
        if self._file is None:
            return
        resources = [resource.to_json() for kind in KINDS for resource in self.all(kind)]
        state = {
            "version": _STATE_VERSION,
            "now": self.clock.now(),
            "made": self.made,
            "resources": resources,
        }
        temporary = self._file.with_name(f"{self._file.name}.tmp")
        temporary.write_text(json.dumps(state))
        os.replace(temporary, self._file)

    def _load(self) -> float | None:
        """Read the state file and return the time to go on from, if that lies ahead of the real time."""
        if self._file is None or not self._file.exists():
            return None
        try:
            state = json.loads(self._file.read_text())
            if state["version"] != _STATE_VERSION:
                raise ValueError(f"version {state['version']}")
            for data in state["resources"]:
                self._resources[data["kind"]][data["id"]] = Resource.from_json(data)
            self.made = state["made"]
            return max(float(state["now"]), Clock(1.0).now())
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"state_file={str(self._file)!r}: not a state of this simulator ({error})"
            ) from error


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r}: must be one of {', '.join(KINDS)}")
