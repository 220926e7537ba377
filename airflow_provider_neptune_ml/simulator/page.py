"""The status page: what the cluster looks like to a person."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_neptune_ml.kinds import ALL_KINDS

if TYPE_CHECKING:
    from airflow_provider_neptune_ml.simulator.control import Control

PAGE = Path(__file__).with_name("page.html").read_text(encoding="utf-8")


def page_state(control: Control) -> dict[str, Any]:
    """Return what the page shows, as plain data; times in simulated seconds since the epoch."""
    return control.overview() | {"titles": {kind: row.title for kind, row in ALL_KINDS.items()}}
