"""The trigger of a wait, for tests."""

from __future__ import annotations

from typing import Any

from airflow_provider_neptune_ml.triggers.neptune_ml import NeptuneMLJobTrigger
from tests.modes import rebuild


def trigger(**arguments: Any) -> NeptuneMLJobTrigger:
    """Return a trigger on the job ``mine``, as it comes back from Airflow's database."""
    defaults = {"kind": "modeltraining", "resource_id": "mine", "poll_interval": 0.01}
    return rebuild(*NeptuneMLJobTrigger(**{**defaults, **arguments}).serialize())
