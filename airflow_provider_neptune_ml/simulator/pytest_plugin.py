"""
Fixtures for the tests of Dags: a fresh simulator for each test that asks for one.

Loaded by pytest through the entry point ``pytest11`` in every run of every project that has this package
installed, so it imports nothing until a test asks.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_neptune_ml.simulator import Simulator

# How many simulated seconds pass in a real one: the longest default life, a training's 20 minutes, takes 2
# seconds.
_SPEED = 600.0


@pytest.fixture
def neptune_ml_simulator() -> Iterator[Simulator]:
    """A local Neptune ML endpoint on a free port, whose jobs take seconds instead of minutes."""
    from airflow_provider_neptune_ml.simulator import Simulator

    with Simulator(speed=_SPEED) as simulator:
        yield simulator


@pytest.fixture
def neptune_ml_connection(neptune_ml_simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Simulator:
    """The simulator of ``neptune_ml_simulator``, with the connection ``neptune_ml_default`` leading to it."""
    monkeypatch.setenv("AIRFLOW_CONN_NEPTUNE_ML_DEFAULT", json.dumps(neptune_ml_simulator.connection))
    # Triggers share a client for 15 minutes: not with those of the test before.
    monkeypatch.setattr("airflow_provider_neptune_ml.hooks.neptune_ml._SHARED", {})
    return neptune_ml_simulator
