"""The harness itself, and with it an example Dag in an Airflow as a user runs it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from airflow_provider_neptune_ml.simulator import Simulator
from dev.local_airflow import LocalAirflow
from dev.processes import members

if TYPE_CHECKING:
    from pathlib import Path


def test_gates_on_a_training_and_leaves_no_process(tmp_path: Path) -> None:
    """A Dag in a real Airflow goes on after its training completed, and no process of that Airflow stays."""
    with Simulator(speed=300) as cluster:
        cluster.seed("dataprocessing", "nightly-data")
        connection = {"AIRFLOW_CONN_NEPTUNE_ML_DEFAULT": json.dumps(cluster.connection)}
        with LocalAirflow(tmp_path / "airflow", env=connection) as airflow:
            sessions = [process.pid for process in airflow.processes.values()]
            run = airflow.api.trigger("gate_on_training")
            state = run.wait(within=120)

            assert state == "success", "\n".join(run.log(task_id) for task_id in run.task_states())
            assert str(run.xcom("use_model")).startswith("s3://")

    assert not [process for session in sessions for process in members(session)]
