"""What all tests stand on: a throwaway Airflow home, a simulator and a connection to it."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from botocore.config import Config

# No test modules, but what fails there should say why as well.
pytest.register_assert_rewrite("tests.system.reliability_rows", "tests.distributed.rows")

# Airflow reads these when it is imported, which the test modules do.
_HOME = tempfile.TemporaryDirectory(prefix="neptune-ml-tests-", ignore_cleanup_errors=True)
os.environ["AIRFLOW_HOME"] = _HOME.name
os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(Path(__file__).parent.parent / "example_dags")
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__CORE__UNIT_TEST_MODE"] = "False"
# The default waits for the lock of another thread for 5 s.
os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = f"sqlite:///{_HOME.name}/airflow.db?timeout=60"
for name in list(os.environ):
    if name.startswith(("AWS_", "AIRFLOW_CONN_")):
        del os.environ[name]
os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
# The log of a job that fails in a test is looked for where nobody listens.
os.environ["AWS_ENDPOINT_URL_LOGS"] = "http://127.0.0.1:9"

from airflow_provider_neptune_ml import cancellation
from airflow_provider_neptune_ml.compat import AIRFLOW_V_3_0_PLUS
from airflow_provider_neptune_ml.simulator import Simulator, responses
from airflow_provider_neptune_ml.triggers import threads
from tests.task_states import LeftAs, task_states

CONNECTION_VARIABLE = "AIRFLOW_CONN_NEPTUNE_ML_DEFAULT"
# For what must happen at some time; machines hang for seconds.
TIMEOUT_SECONDS = 60.0
REAL_AIRFLOW_SECONDS = 4 * 3600
# boto3's own retries would only make tests slower.
ONCE = {"retries": {"total_max_attempts": 1}}
_HOOK = "airflow_provider_neptune_ml.hooks.neptune_ml"
# Modules and folders whose tests have processes or servers of their own, ask the same of every kind in every
# mode, or are about time.
_SLOW = {
    *("distributed", "system", "test_cli", "test_imports", "test_pytest_plugin", "test_real_clients"),
    *("fuzz", "kills", "test_all_kinds", "test_left_behind", "test_outcomes", "test_transient_errors"),
    *("test_account", "test_cluster_policy", "test_copies", "test_logs", "test_metrics", "test_state"),
    *("test_delivery", "test_endpoints", "test_events", "test_gremlin", "test_limits", "test_replies"),
    *("test_start", "test_wheel"),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what `make test-fast` leaves out; have those with a real Airflow first, with more time."""
    items.sort(key=lambda item: "system" not in item.path.parts)
    for item in items:
        parts = {*item.path.parts, item.path.stem}
        if parts & _SLOW or "airflow_database" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)
        if {"system", "distributed"} & parts:
            item.add_marker(pytest.mark.timeout(REAL_AIRFLOW_SECONDS))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """
    Have tests with a real Airflow in one process, one Airflow after the other, where files go to several.

    Two Airflows at once on two cores take each other's time.
    """
    from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

    class OneAirflow(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return "tests/system" if file.startswith("tests/system/") else file

    return OneAirflow(config, log) if config.getoption("dist") == "loadfile" else None


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
    monkeypatch.setattr(f"{_HOOK}._SHARED", {})


@pytest.fixture(autouse=True)
def _no_threads_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A cancelled wait leaves its call to a thread: it must not be counted in the next test."""
    monkeypatch.setattr(threads, "_IDLE_SECONDS", 0.0)
    yield
    for thread in threading.enumerate():
        if thread.name == threads.NAME:
            thread.join()


@pytest.fixture(autouse=True)
def _no_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the product allows a kill, or a last look, is not over because this machine hung."""
    patient = Config(
        connect_timeout=TIMEOUT_SECONDS, read_timeout=TIMEOUT_SECONDS, retries={"total_max_attempts": 1}
    )
    monkeypatch.setattr("airflow_provider_neptune_ml.hooks.clients.KILL_CONFIG", patient)
    names = ("kill", "kill_while_starting", "kill_question", "unhurried", "trigger_request")
    set_budgets(monkeypatch, **dict.fromkeys(names, TIMEOUT_SECONDS), trigger=2 * TIMEOUT_SECONDS)
    for name in ("polling._LAST_LOOK_SECONDS", "xcoms._LONGEST_WAIT_SECONDS"):
        monkeypatch.setattr(f"airflow_provider_neptune_ml.{name}", TIMEOUT_SECONDS)
    monkeypatch.setattr("airflow_provider_neptune_ml.triggers.xcoms._LONGEST_WAIT_SECONDS", TIMEOUT_SECONDS)


@pytest.fixture
def simulator(_cluster: Simulator) -> Iterator[Simulator]:
    """A simulated cluster without a trace of other tests; its clock is stopped until it is stepped."""
    _cluster.reset()
    yield _cluster
    for request in _cluster.journal:
        print(json.dumps(request.summary()))  # pytest shows it where the test failed


@pytest.fixture
def held(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Event]:
    """Set it to let go of answers that are slow: until then they are held back, however long it takes."""
    let_go = Event()

    async def wait(*_: object) -> None:
        while not let_go.is_set():
            await asyncio.sleep(0.005)

    def slow() -> list[int | None]:
        return [request.status for request in simulator.journal if request.fault == "slow"]

    monkeypatch.setattr(responses, "wait", wait)
    yield let_go
    # None is left for the journal of the next test.
    asked = len(slow())
    let_go.set()
    while len(list(filter(None, slow()))) < asked:
        time.sleep(0.005)


@pytest.fixture
def connection(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The default Airflow connection, to the simulated cluster."""
    return connect(monkeypatch, simulator.connection)


def set_budgets(monkeypatch: pytest.MonkeyPatch, **seconds: float) -> None:
    """Change what a cancellation may take, see there."""
    monkeypatch.setattr(cancellation, "BUDGETS", replace(cancellation.BUDGETS, **seconds))


def connect(monkeypatch: pytest.MonkeyPatch, connection: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Set the default Airflow connection, changed as given."""
    changed = {**connection, **changes}
    monkeypatch.setenv(CONNECTION_VARIABLE, json.dumps(changed))
    return changed


def use_dags_folder(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Have Airflow look for Dags in a folder: from 3 on, ``dag.test()`` runs only what it finds there."""
    classpath = "airflow.dag_processing.bundles.local.LocalDagBundle"
    bundle = {"name": "dags-folder", "classpath": classpath, "kwargs": {"path": str(folder)}}
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps([bundle]))


@pytest.fixture
def completed_data(simulator: Simulator) -> str:
    """The id of a completed data processing job."""
    simulator.seed("dataprocessing", "data-1", status="Completed")
    return "data-1"


@pytest.fixture
def left_as(airflow_database: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[LeftAs]:
    """Say in which state Airflow has the task of ``KEY``, and its XComs."""
    with task_states(monkeypatch) as say:
        yield say


@pytest.fixture(scope="session")
def airflow_database() -> None:
    """Airflow's own database, in the throwaway home."""
    _migrate()
    if AIRFLOW_V_3_0_PLUS:
        from airflow.sdk.execution_time import supervisor

        # `dag.test()` builds an API for each task, which takes seconds; Airflow 3.3.2 keeps it, like this.
        supervisor.in_process_api_server = cache(supervisor.in_process_api_server)


@cache
def _migrate() -> None:
    # Once, also where tests run in forks of this process.
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True)
