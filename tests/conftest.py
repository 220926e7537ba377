"""What all tests stand on: a throwaway Airflow home, a simulator and a connection to it."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# Airflow reads these when it is imported, which the test modules do.
_HOME = tempfile.TemporaryDirectory(prefix="neptune-ml-tests-", ignore_cleanup_errors=True)
os.environ["AIRFLOW_HOME"] = _HOME.name
os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(Path(__file__).parent.parent / "example_dags")
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__CORE__UNIT_TEST_MODE"] = "False"
for name in list(os.environ):
    if name.startswith(("AWS_", "AIRFLOW_CONN_")):
        del os.environ[name]
os.environ["AWS_EC2_METADATA_DISABLED"] = "true"

from airflow_provider_neptune_ml.simulator import Simulator

CONNECTION_VARIABLE = "AIRFLOW_CONN_NEPTUNE_ML_DEFAULT"


def pytest_collection_finish() -> None:
    """Take what was imported out of the garbage collector's sight: each boto3 client makes it look at all."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def _cluster() -> Iterator[Simulator]:
    with Simulator(clock="manual") as simulator:
        yield simulator


@pytest.fixture(autouse=True)
def _no_shared_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triggers share a client for 15 minutes: not with those of the test before."""
    monkeypatch.setattr("airflow_provider_neptune_ml.hooks.neptune_ml._SHARED", {})


@pytest.fixture
def simulator(_cluster: Simulator) -> Iterator[Simulator]:
    """A simulated cluster without a trace of other tests; its clock stands still until it is stepped."""
    _cluster.reset()
    yield _cluster
    for request in _cluster.journal:
        print(json.dumps(request.summary()))  # pytest shows it where the test failed


@pytest.fixture
def connection(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The default Airflow connection, to the simulated cluster."""
    return connect(monkeypatch, simulator.connection)


def connect(monkeypatch: pytest.MonkeyPatch, connection: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Set the default Airflow connection, changed as given."""
    changed = {**connection, **changes}
    monkeypatch.setenv(CONNECTION_VARIABLE, json.dumps(changed))
    return changed


@pytest.fixture
def completed_data(simulator: Simulator) -> str:
    """The id of a completed data processing job."""
    simulator.seed("dataprocessing", "data-1", status="Completed")
    return "data-1"


@pytest.fixture(scope="session")
def airflow_database() -> None:
    """Airflow's own database, in the throwaway home."""
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True)
