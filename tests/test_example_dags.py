"""The example Dags, run end to end with ``dag.test()`` against the simulator."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_neptune_ml.simulator import Simulator
from tests.conftest import connect

FOLDER = Path(__file__).parent.parent / "example_dags"

pytestmark = pytest.mark.usefixtures("airflow_database")


def load(name: str) -> DAG:
    """Import an example and return its Dag."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    dag: DAG = module.dag
    return dag


def run(name: str, **conf: Any) -> tuple[str, dict[str, str]]:
    """Run an example, and return the state of the run and of each task."""
    dag_run = load(name).test(run_conf=conf)
    return str(dag_run.state), {ti.task_id: str(ti.state) for ti in dag_run.get_task_instances()}


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    """A simulated cluster in which hours pass in a second, with a completed data processing job."""
    with Simulator(speed=20_000) as simulator:
        connect(monkeypatch, simulator.connection)
        simulator.seed("dataprocessing", "nightly-data", status="Completed")
        yield simulator


def test_gate_on_training(fast: Simulator) -> None:
    """Training is started, waited for, and what is behind the gate runs."""
    state, tasks = run("gate_on_training")

    assert state == "success"
    assert tasks == {"start": "success", "wait": "success", "use_model": "success"}
    assert len(fast.calls("StartMLModelTrainingJob")) == 1


def test_gate_stays_shut(fast: Simulator) -> None:
    """What is behind the gate does not run when the training failed."""
    fast.script("modeltraining", None, fail_stage="hpoJob", reason="AlgorithmError: no")

    state, tasks = run("gate_on_training")

    assert state == "failed"
    assert tasks == {"start": "success", "wait": "failed", "use_model": "upstream_failed"}


def test_gate_on_existing_job(fast: Simulator) -> None:
    """A job that somebody else started opens the gate too."""
    fast.seed("modeltraining", "theirs", status="Completed")

    state, tasks = run("gate_on_existing_job", job_id="theirs")

    assert state == "success"
    assert tasks == {"wait": "success", "use_model": "success"}


def test_train_with_cleanup(fast: Simulator) -> None:
    """When all goes well, the emergency cancel is skipped and the teardown finds nothing to stop."""
    state, tasks = run("train_with_cleanup")

    assert state == "success"
    assert tasks["cancel"] == "skipped"
    assert tasks["clean_up"] == "success"
    assert tasks["use_model"] == "success"


def test_train_with_cleanup_cancels(monkeypatch: pytest.MonkeyPatch) -> None:
    """When a check fails while the training runs, the training is cancelled."""
    with Simulator(speed=30) as simulator:
        connect(monkeypatch, simulator.connection)
        simulator.seed("dataprocessing", "nightly-data", status="Completed")

        state, tasks = run("train_with_cleanup", data_is_good=False)

        assert state == "failed"
        assert tasks["cancel"] == "success"
        assert tasks["wait"] == "failed"
        assert tasks["use_model"] == "upstream_failed"
        [job] = simulator.overview()["kinds"]["modeltraining"]
        assert job["status"] == "Stopped"
