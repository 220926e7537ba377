"""Dag files that a test writes and Airflow reads."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.conftest import use_dags_folder
from tests.sdk import DAG

IMPORTS = """
from typing import Any

from airflow_provider_neptune_ml.operators.neptune_ml import *
from airflow_provider_neptune_ml.sensors.neptune_ml import *
from tests.sdk import DAG, Asset, task

"""


def load(path: Path) -> DAG:
    """Import a Dag file and return its Dag."""
    spec = importlib.util.spec_from_file_location(f"dag_file_{path.stem}", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    dag: DAG = module.dag
    return dag


def write_dag(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str) -> DAG:
    """Write a file, in a Dags folder of its own, that makes ``dag``; return that."""
    use_dags_folder(monkeypatch, folder)
    path = folder / "dag.py"
    path.write_text(IMPORTS + text)
    return load(path)


def run(dag: DAG) -> tuple[str, dict[str, str]]:
    """Run a Dag by ``dag.test()``, and return the state of the run and of each task."""
    dag_run = dag.test()
    return str(dag_run.state), {ti.task_id: str(ti.state) for ti in dag_run.get_task_instances()}
