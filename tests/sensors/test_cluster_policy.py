"""What a cluster policy says of a sensor counts: Airflow asks it after ``__init__``, before it serializes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from airflow_provider_neptune_ml.compat import CAN_RUN_WITHOUT_WORKER
from airflow_provider_neptune_ml.polling import AIRFLOW_TIMEOUT_MARGIN_SECONDS
from tests.dag_files import IMPORTS

POLICY = """
from datetime import timedelta

CHANGES = {
    "changed": {"retries": 2, "timeout": 7200.0, "poke_interval": 5.0, "region_name": "eu-west-1"},
    "limited": {"timeout": timedelta(hours=2), "execution_timeout": timedelta(hours=1)},
    "kept_quiet": {"do_xcom_push": False},
    "stopped": {"start_from_trigger": False},
    "asked": {"start_from_trigger": True},
    "wrong": {"timeout": "soon"},
}


def task_policy(task):
    for name, value in CHANGES.get(task.task_id, {}).items():
        setattr(task, name, value)
"""
DAGS = """
without_worker = {"end_from_trigger": True, "timeout": 100}
with DAG("gate", schedule=None, default_args=without_worker):
    for task_id in ("as_it_was", "changed", "limited", "kept_quiet", "stopped"):
        NeptuneMLModelTrainingJobSensor(task_id=task_id, job_id="mine", start_from_trigger=True)
    NeptuneMLModelTrainingJobSensor(task_id="asked", job_id="mine")
    NeptuneMLModelTrainingJobSensor.partial(task_id="mapped", start_from_trigger=True).expand(job_id=["mine"])
with DAG("gate_of_nobody", schedule=None):
    NeptuneMLModelTrainingJobSensor(task_id="wrong", job_id="mine", start_from_trigger=True)
"""
# In a process of its own, as Airflow reads its local settings once.
SERIALIZE = """
import json, sys
try:
    from airflow.dag_processing.dagbag import DagBag
except ImportError:
    from airflow.models.dagbag import DagBag
from airflow.serialization import serialized_objects
from airflow_provider_neptune_ml.compat import CAN_RUN_WITHOUT_WORKER

bag = DagBag(sys.argv[1], include_examples=False) if not CAN_RUN_WITHOUT_WORKER else DagBag(sys.argv[1])
assert not bag.import_errors, bag.import_errors
serialization = getattr(serialized_objects, "DagSerialization", serialized_objects.SerializedDAG)
dag = serialization.from_dict(json.loads(json.dumps(serialization.to_dict(bag.dags["gate"]))))
found = {task.task_id: [bool(task.start_from_trigger), None] for task in dag.tasks}
for task in dag.tasks:
    if args := task.start_trigger_args:
        kwargs = serialized_objects.BaseSerialization.deserialize(args.trigger_kwargs)
        found[task.task_id][1] = kwargs | {"airflows": args.timeout.total_seconds()}
try:
    serialization.to_dict(bag.dags["gate_of_nobody"])
except Exception as error:
    found["error"] = str(error)
print("FOUND", json.dumps(found))
"""


@pytest.fixture(scope="module")
def serialized(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What Airflow serializes of the sensors, each under its cluster policy."""
    folder = tmp_path_factory.mktemp("policy")
    (folder / "airflow_local_settings.py").write_text(POLICY)
    (folder / "dags").mkdir()
    (folder / "dags" / "gate.py").write_text(IMPORTS + DAGS)
    done = subprocess.run(
        [sys.executable, "-c", SERIALIZE, str(folder / "dags")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *filter(None, sys.path)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout.rpartition("FOUND ")[2])
    return found


def test_who_starts_in_the_triggerer(serialized: dict[str, Any]) -> None:
    """A policy can forbid it, and ask for it; mapped tasks and an older Airflow take a worker."""
    started = {name for name, value in serialized.items() if name != "error" and value[0]}
    described = {name for name, value in serialized.items() if name != "error" and value[1]}

    possible = {"as_it_was", "changed", "limited", "kept_quiet", "asked"} if CAN_RUN_WITHOUT_WORKER else set()
    assert started - {"mapped"} == possible
    # Without arguments, Airflow takes a worker.
    assert described == possible


@pytest.mark.skipif(not CAN_RUN_WITHOUT_WORKER, reason="Airflow before 3.3 always takes a worker")
@pytest.mark.parametrize(
    ("task_id", "expected"),
    [
        ("as_it_was", {"limit": "timeout=100", "poll_interval": 60.0, "fail_from_trigger": True}),
        ("changed", {"limit": "timeout=7200", "poll_interval": 5.0, "fail_from_trigger": False}),
        ("changed", {"airflows": 7200.0 + AIRFLOW_TIMEOUT_MARGIN_SECONDS, "end_from_trigger": True}),
        ("limited", {"limit": "execution_timeout=3600", "airflows": 3600.0, "airflow_timeout": 3600.0}),
        ("kept_quiet", {"end_from_trigger": False, "fail_from_trigger": False}),
        ("asked", {"end_from_trigger": True, "resource_id": "mine"}),
    ],
)
def test_what_the_trigger_gets(serialized: dict[str, Any], task_id: str, expected: dict[str, Any]) -> None:
    """The arguments of the trigger are those of the task as the policy has left it."""
    arguments = serialized[task_id][1]

    assert {name: arguments[name] for name in expected} == expected
    region = "eu-west-1" if task_id == "changed" else None
    assert arguments["hook_parameters"]["region_name"] == region


@pytest.mark.skipif(not CAN_RUN_WITHOUT_WORKER, reason="Airflow before 3.3 checks it in the worker")
def test_mistakes_of_a_policy(serialized: dict[str, Any]) -> None:
    """A wrong value is told when the Dag is serialized, with the argument and the rule."""
    assert "timeout='soon' must be a number of seconds" in serialized["error"]
