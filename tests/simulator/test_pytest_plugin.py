"""The fixtures, in a test run of their own as a user has it."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

import pytest
from airflow.providers.amazon.aws.sensors.s3 import S3KeySensor

from airflow_provider_neptune_ml.operators.neptune_ml import NeptuneMLCancelModelTrainingJobOperator
from airflow_provider_neptune_ml.sensors.neptune_ml import NeptuneMLModelTrainingJobSensor
from airflow_provider_neptune_ml.simulator import pytest_plugin
from tests.sdk import DAG

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


AN_AIRFLOW = """
import os, pathlib

def test_home():  # as neptune_ml_run_dag would have it
    home = os.environ.get("AIRFLOW_HOME", "")
    assert os.environ["EXPECTED"] == ("temporary" if "neptune-ml-airflow-" in home else home)

def test_files():
    own = pathlib.Path.home() / "airflow"
    assert {path.name for path in own.glob("*")} <= {"airflow.cfg", "airflow.db"}
"""
ITS_CONFIGURATION = "[database]\nsql_alchemy_conn = sqlite:///{home}/airflow/{name}.db\n"
TOO_LATE = """
import sys
sys.modules["airflow"] = sys
"""


def run(folder: Path, test: str, conftest: str = "", *options: str, **environment: str) -> str:
    """Run a test file with the plugin, warnings as errors; return what pytest says."""
    (folder / "test_it.py").write_text(test)
    (folder / "conftest.py").write_text(conftest)
    installed = any(entry.value == PLUGIN for entry in entry_points(group="pytest11"))
    plugins = ["-p", "no:cacheprovider", *([] if installed else ["-p", PLUGIN])]
    # Older ones of anyio's plugin are warned of by newer pytests.
    plugins += ["-p", "no:anyio"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", *plugins, *options, str(folder)],
        env=os.environ | environment,
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


def test_intervals() -> None:
    """While a test runs, this package's tasks poll every second, unless the Dag says how often."""
    with DAG("intervals", schedule=None) as dag:
        NeptuneMLModelTrainingJobSensor(task_id="sensor", job_id="mine")
        NeptuneMLModelTrainingJobSensor(task_id="slower", job_id="mine", poke_interval=90)
        NeptuneMLCancelModelTrainingJobOperator(task_id="operator", job_id="mine")
        NeptuneMLCancelModelTrainingJobOperator.partial(task_id="mapped").expand(job_id=["mine"])
        S3KeySensor(task_id="another", bucket_key="s3://my-bucket/key")

    def intervals() -> dict[str, float | None]:
        return {
            each.task_id: getattr(each, "poke_interval", getattr(each, "poll_interval", None))
            for each in dag.tasks
            if each.task_id != "mapped"
        }

    before = intervals()
    with pytest.MonkeyPatch.context() as monkeypatch:
        pytest_plugin._poll_sooner(dag, monkeypatch)
        assert intervals() == {"sensor": 1, "slower": 90, "operator": 1, "another": 60}

    assert intervals() == before == {"sensor": 60, "slower": 90, "operator": 60, "another": 60}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of a user who has no Airflow."""
    for name in [name for name in os.environ if name.startswith("AIRFLOW")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("files", "environment", "expected"),
    [
        ({}, {}, "temporary"),
        ({"airflow.cfg": ITS_CONFIGURATION.replace("{name}", "airflow")}, {}, "temporary"),
        ({"airflow.cfg": ITS_CONFIGURATION.replace("{name}", "mine")}, {}, ""),
        ({"airflow.db": ""}, {}, ""),
        ({}, {"AIRFLOW_HOME": "/mine"}, "/mine"),
        ({}, {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_CMD": "mine"}, ""),
    ],
    ids=["nothing", "imported-once", "configuration", "database", "home", "variable"],
)
def test_own_airflow_stays(
    home: Path, files: dict[str, str], environment: dict[str, str], expected: str
) -> None:
    """A test that runs Dags has a temporary Airflow, unless the project or the user has set one up."""
    folder = home / "tests"
    (home / "airflow").mkdir()
    folder.mkdir()
    for name, text in files.items():
        (home / "airflow" / name).write_text(text.format(home=home))

    assert "2 passed" in run(folder, AN_AIRFLOW, EXPECTED=expected, **environment)


def test_temporary_airflow_on_request(home: Path) -> None:
    """With the setting, all tests of a project have a temporary Airflow, whatever is set up."""
    setting = ("-o", "neptune_ml_temporary_airflow=true")

    assert "2 passed" in run(home, AN_AIRFLOW, "", *setting, EXPECTED="temporary", AIRFLOW_HOME="/mine")


def test_airflow_imported_too_early(home: Path) -> None:
    """Where Airflow was imported before a file asks for one, the fixture says what to set."""
    output = run(home, "def test_dag(neptune_ml_run_dag): ...", TOO_LATE)

    assert "1 error" in output
    assert "Set neptune_ml_temporary_airflow = true in pytest's configuration" in output
