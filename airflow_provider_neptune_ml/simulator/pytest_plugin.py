"""
Fixtures for the tests of Dags: a fresh simulator for each test that asks for one, and an Airflow to run in.

Loaded by pytest through the entry point ``pytest11`` in every run of every project that has this package
installed, so it imports nothing until a test asks, and changes nothing where no test does.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_neptune_ml.simulator import Simulator

# How many simulated seconds pass in a real one: the longest default life, a training's 20 minutes, takes 2
# seconds.
_SPEED = 600.0
# The default pause between two polls, which is for real jobs, and what it is in a test.
_DEFAULT_INTERVAL_SECONDS = 60.0
_INTERVAL_SECONDS = 1.0
_TEMPORARY = "neptune_ml_temporary_airflow"
_NEEDS_AIRFLOW = re.compile(r"\bneptune_ml_(airflow|run_dag)\b")
_HOME = pytest.StashKey[Path]()
_NO_AIRFLOW = (
    "There is no Airflow for the fixture: Airflow was imported before pytest came to the file that names it."
    f" Set {_TEMPORARY} = true in pytest's configuration, or AIRFLOW_HOME to an Airflow with a migrated"
    " database."
)
_BUNDLES = "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"
_LOCAL_BUNDLE = "airflow.dag_processing.bundles.local.LocalDagBundle"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the setting with which all tests of a project have a temporary Airflow."""
    parser.addini(
        _TEMPORARY, "run all tests with a temporary Airflow home and database", type="bool", default=False
    )


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Set up the temporary Airflow of that setting, before a conftest.py can import Airflow."""
    if early_config.getini(_TEMPORARY):
        _set_up_home(early_config)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> None:
    """Set up a temporary Airflow for a file that names the fixtures: its imports run before any fixture."""
    if file_path.suffix != ".py" or "airflow" in sys.modules or _HOME in parent.config.stash:
        return
    with contextlib.suppress(OSError):  # what can't be read is pytest's to report
        if _NEEDS_AIRFLOW.search(file_path.read_text(errors="replace")) and not _has_own_airflow():
            _set_up_home(parent.config)


def _has_own_airflow() -> bool:
    """Tell whether the user or the project has set up an Airflow: a home, a configuration or a database."""
    named = re.compile("AIRFLOW_(HOME|CONFIG)|AIRFLOW__.*__SQL_ALCHEMY_CONN.*")
    if any(named.fullmatch(name) for name in os.environ):
        return True
    # That Airflow was imported some time, which writes airflow.cfg with the default database, is no set-up.
    home = Path.home() / "airflow"
    config = home / "airflow.cfg"
    database = rf"^\s*sql_alchemy_conn\s*=(?!\s*sqlite:///{re.escape(str(home))}/airflow\.db\s*$)"
    settings = config.read_text() if config.exists() else ""
    return (home / "airflow.db").exists() or bool(re.search(database, settings, re.MULTILINE))


def _set_up_home(config: pytest.Config) -> None:
    home = tempfile.TemporaryDirectory(prefix="neptune-ml-airflow-", ignore_cleanup_errors=True)
    config.add_cleanup(home.cleanup)
    environment = pytest.MonkeyPatch()
    config.add_cleanup(environment.undo)
    environment.setenv("AIRFLOW_HOME", home.name)
    environment.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", f"sqlite:///{home.name}/airflow.db")
    environment.setenv("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
    environment.delenv("AIRFLOW_CONFIG", raising=False)
    config.stash[_HOME] = Path(home.name)


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


@pytest.fixture(scope="session")
def neptune_ml_airflow(pytestconfig: pytest.Config) -> Path | None:
    """The home of a temporary Airflow with a migrated database; None where the project has its own."""
    home = pytestconfig.stash.get(_HOME, None)
    if home:
        subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True)
        _keep_api()
    elif not _has_own_airflow():
        pytest.fail(_NO_AIRFLOW, pytrace=False)
    return home


def _keep_api() -> None:
    # dag.test() of Airflow 3.0 builds an API for each task, which takes seconds; 3.3.2 keeps it, like this.
    with contextlib.suppress(ImportError, AttributeError):
        supervisor: Any = importlib.import_module("airflow.sdk.execution_time.supervisor")
        supervisor.in_process_api_server = cache(supervisor.in_process_api_server)


@pytest.fixture
def neptune_ml_run_dag(
    neptune_ml_airflow: Path | None,
    neptune_ml_connection: Simulator,  # noqa: ARG001 - no test reaches a real cluster by accident
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[..., Any]]:
    """
    Run a Dag by its ``dag.test()``, against the simulator: call it with the Dag and arguments of ``test()``.

    In a temporary Airflow the file that makes the Dag is the Dags folder, and runs with their XComs are
    deleted after each test. An Airflow of the project is used as it is. While the test runs, this package's
    tasks with the default interval poll every second.
    """

    def run(dag: Any, **arguments: Any) -> Any:
        if neptune_ml_airflow:
            # From 3 on, Airflow runs only what it finds in a bundle.
            bundle = {"name": "dags-folder", "classpath": _LOCAL_BUNDLE, "kwargs": {"path": dag.fileloc}}
            monkeypatch.setenv(_BUNDLES, json.dumps([bundle]))
        _poll_sooner(dag, monkeypatch)
        return dag.test(**arguments)

    yield run
    if neptune_ml_airflow:
        _delete_runs()


def _poll_sooner(dag: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # What the Dag itself sets stays. A mapped task has no interval before it is expanded.
    for task in dag.tasks:
        for name in ("poke_interval", "poll_interval"):
            if hasattr(task, "neptune_ml_conn_id") and getattr(task, name, None) == _DEFAULT_INTERVAL_SECONDS:
                monkeypatch.setattr(task, name, _INTERVAL_SECONDS)


def _delete_runs() -> None:
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import delete

    with create_session() as session:
        session.execute(delete(DagRun))
