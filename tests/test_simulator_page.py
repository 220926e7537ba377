"""The page about the simulator does what it says."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_provider_neptune_ml.simulator import Simulator
from airflow_provider_neptune_ml.simulator.faults import FAULTS
from airflow_provider_neptune_ml.simulator.web import COMMANDS
from tests.simulator.cli import running, url_in

PAGE = (Path(__file__).parents[1] / "docs" / "simulator.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
SHELL = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("steps", PYTHON)
def test_steps(steps: str) -> None:
    """The steps on the page work."""
    exec(steps, {"__name__": "steps"})


def test_commands() -> None:
    """The command on the page starts a simulator, and the calls on the page reach it."""
    start, calls = SHELL
    command = start.splitlines()[1].split()
    assert command[:5] == ["python", "-m", "airflow_provider_neptune_ml.simulator", "--port", "8182"]
    with running(*command[5:]) as (_, banner):
        there = calls.replace("http://127.0.0.1:8182", url_in(banner))
        done = subprocess.run(["sh", "-ec", there], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert '"status": "Completed"' in done.stdout


@pytest.mark.parametrize("name", [*FAULTS, *COMMANDS])
def test_nothing_is_missing(name: str) -> None:
    """Every fault and every command is on the page."""
    assert re.search(rf"`{name}\b", PAGE)


def test_flags_exist() -> None:
    """Every flag on the page exists."""
    flags = set(re.findall(r"`(--[a-z-]+)", PAGE))
    usage = subprocess.run(
        [sys.executable, "-m", "airflow_provider_neptune_ml.simulator", "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert [flag for flag in flags if flag not in usage] == []


def test_every_setting_has_a_flag() -> None:
    """Each setting of the Python side is mirrored on the command line."""
    from airflow_provider_neptune_ml.simulator import __main__

    source = inspect.getsource(__main__._build_simulator)

    assert [name for name in inspect.signature(Simulator).parameters if f"{name}=" not in source] == []
