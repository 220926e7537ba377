"""The event trigger, and a store for what it remembers, for tests."""

from __future__ import annotations

import importlib
import json
from typing import Any

from airflow_provider_neptune_ml.triggers.events import NeptuneMLJobEventTrigger

GET, LIST = "GetMLModelTrainingJob", "ListMLModelTrainingJobs"
HANGING_SECONDS = 60
# So that botocore's own retries don't hide what is scripted.
ONE_TRY = {"retries": {"total_max_attempts": 1}}


class OlderStore:
    """What Airflow 3.3.0 gives an event trigger: a key-value store of its asset, which outlives it."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.broken = 0
        self.written = 0

    @property
    def ended(self) -> list[str]:
        """The jobs that are remembered as ended."""
        return [job_id for value in self.values.values() for job_id in json.loads(value)["ended"]]

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value."""
        if self.broken:
            self.broken -= 1
            raise RuntimeError("API_SERVER_ERROR")
        return json.loads(self.values[key]) if key in self.values else default

    def set(self, key: str, value: Any) -> None:
        """Keep a value."""
        self.written += 1
        self.values[key] = json.dumps(value)


class Store(OlderStore):
    """What Airflow 3.3.2 gives it: the same with coroutines."""

    async def aget(self, key: str, default: Any = None) -> Any:
        """Return a value."""
        return self.get(key, default)

    async def aset(self, key: str, value: Any) -> None:
        """Keep a value."""
        self.set(key, value)


def trigger(store: Any = None, **arguments: Any) -> NeptuneMLJobEventTrigger:
    """Return a trigger as it comes back from Airflow's database, with the store that Airflow injects."""
    defaults = {"job_id": "nightly-*", "poll_interval": 0.01, "botocore_config": ONE_TRY}
    path, stored = NeptuneMLJobEventTrigger(**{**defaults, **arguments}).serialize()
    module, _, name = path.rpartition(".")
    rebuilt = getattr(importlib.import_module(module), name)(**json.loads(json.dumps(stored)))
    assert isinstance(rebuilt, NeptuneMLJobEventTrigger)
    rebuilt.asset_state_store = store
    return rebuilt
