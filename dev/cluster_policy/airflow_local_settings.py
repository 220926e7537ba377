"""Airflow's cluster policy where the example Dags run against a simulator, in which hours pass in seconds."""

from __future__ import annotations

from typing import Any

from airflow_provider_neptune_ml.polling import DEFAULT_POLL_INTERVAL_SECONDS

POLL_SECONDS = 5.0


def task_policy(task: Any) -> None:
    """Poll sooner than every minute, which is for real jobs; what a Dag says itself stays."""
    for name in ("poke_interval", "poll_interval"):
        if getattr(task, name, None) == DEFAULT_POLL_INTERVAL_SECONDS:
            setattr(task, name, POLL_SECONDS)
