"""The fixtures, in a test run of their own as a user has it."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

PLUGIN = "airflow_provider_neptune_ml.simulator.pytest_plugin"

A_TEST = """
import json, os
from urllib.request import urlopen

def test_fresh(neptune_ml_simulator):
    neptune_ml_simulator.seed("endpoints", "one")
    assert "AIRFLOW_CONN_NEPTUNE_ML_DEFAULT" not in os.environ

def test_fresh_again(neptune_ml_connection, neptune_ml_simulator):
    assert neptune_ml_connection is neptune_ml_simulator
    connection = json.loads(os.environ["AIRFLOW_CONN_NEPTUNE_ML_DEFAULT"])
    with urlopen(f"http://{connection['host']}:{connection['port']}/ml/endpoints") as response:
        assert json.load(response) == {"ids": []}

def test_gone_again():
    assert "AIRFLOW_CONN_NEPTUNE_ML_DEFAULT" not in os.environ
"""
A_TEST_WITHOUT = """
import sys

def test_nothing_is_imported():
    heavy = {"starlette", "uvicorn", "botocore", "boto3", "airflow"}
    assert heavy & set(sys.modules) == set()
"""
WITHOUT_THE_EXTRA = """
import importlib.util
import sys

find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name in ("starlette", "uvicorn") else find(name, *rest)
"""


def run(folder: Path, test: str, conftest: str = "") -> str:
    """Run a test file with the plugin, warnings as errors; return what pytest says."""
    (folder / "test_it.py").write_text(test)
    (folder / "conftest.py").write_text(conftest)
    installed = any(entry.value == PLUGIN for entry in entry_points(group="pytest11"))
    plugins = ["-p", "no:cacheprovider", *([] if installed else ["-p", PLUGIN])]
    # Older ones of anyio's plugin are warned of by newer pytests.
    plugins += ["-p", "no:anyio"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", *plugins, str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout


def test_fixtures(tmp_path: Path) -> None:
    """Each test has a simulator of its own, and the connection only while it runs."""
    assert "3 passed" in run(tmp_path, A_TEST)


def test_unused_plugin_costs_nothing(tmp_path: Path) -> None:
    """A test run that doesn't use the fixtures imports no web server, no botocore and no Airflow."""
    assert "1 passed" in run(tmp_path, A_TEST_WITHOUT)


def test_without_the_extra(tmp_path: Path) -> None:
    """Without the extra only the tests that ask for a simulator fail, and say what to install."""
    output = run(tmp_path, A_TEST, WITHOUT_THE_EXTRA)

    assert "1 passed, 2 errors" in output
    assert "pip install 'airflow-provider-neptune-ml[simulator]'" in output
