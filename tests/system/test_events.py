"""A Dag that is scheduled by an asset whose watcher sees trainings complete, on a real Airflow."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError

import pytest

from airflow_provider_neptune_ml.compat import AIRFLOW_V_3_0_PLUS, CAN_RUN_WITHOUT_WORKER
from airflow_provider_neptune_ml.simulator import Simulator
from dev.local_airflow import EXAMPLE_DAGS, LocalAirflow
from dev.rest_api import DagRun, until

DAG = "on_training_completed"
GET, LIST = "GetMLModelTrainingJob", "ListMLModelTrainingJobs"

pytestmark = pytest.mark.skipif(not AIRFLOW_V_3_0_PLUS, reason="Airflow 2 has no asset watchers")


@pytest.fixture
def cluster() -> Iterator[Simulator]:
    """A simulated cluster with a training that has completed, and others that go on until they are ended."""
    with Simulator(clock="manual") as simulator:
        simulator.seed("modeltraining", "nightly-0", status="Completed")
        for job_id in ("nightly-1", "nightly-2", "weekly-1"):
            simulator.seed("modeltraining", job_id, status="InProgress")
        yield simulator


@pytest.fixture
def airflow(cluster: Simulator, tmp_path: Path) -> Iterator[LocalAirflow]:
    """A real Airflow with the example Dag, which looks sooner than every minute."""
    env = {
        "AIRFLOW_CONN_NEPTUNE_ML_DEFAULT": json.dumps(cluster.connection),
        # After so many seconds, instead of 30, the triggers of a killed triggerer are up for another.
        "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "10",
    }
    example = (EXAMPLE_DAGS / f"{DAG}.py").read_text()
    hurried = example.replace('Trigger(job_id="nightly-*")', 'Trigger(job_id="nightly-*", poll_interval=5)')
    assert hurried != example
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / f"{DAG}.py").write_text(hurried)
    with LocalAirflow(tmp_path / "airflow", dags=tmp_path / "dags", env=env) as started:
        yield started


def runs(airflow: LocalAirflow) -> list[DagRun]:
    """Return the runs of the Dag, in order."""
    found = airflow.api.call("GET", f"/dags/{DAG}/dagRuns?order_by=run_after")["dag_runs"]
    return [DagRun(airflow.api, DAG, run["dag_run_id"]) for run in found]


def ended(airflow: LocalAirflow) -> list[str]:
    """Return the jobs that the watch remembers as ended, on Airflow 3.3 or newer."""
    [asset] = airflow.api.call("GET", "/assets?name_pattern=nightly")["assets"]
    store = airflow.api.call("GET", f"/assets/{asset['id']}/state-store")["asset_state_store"]
    return [job_id for entry in store for job_id in entry["value"]["ended"]]


def used(run: DagRun) -> list[str]:
    """Return the jobs that a run was for, once it has ended well."""
    assert run.wait(within=120) == "success"
    # The API has it as text, in Python's or in JSON's quotes.
    return sorted(set(re.findall(r"(?:nightly|weekly)-\d", str(run.xcom("completed")))))


@pytest.mark.skipif(CAN_RUN_WITHOUT_WORKER, reason="this Airflow has state of assets: the next test")
def test_one_run(cluster: Simulator, airflow: LocalAirflow) -> None:
    """Before Airflow 3.3, too, a training that completes while it is watched runs the Dag once."""
    until(lambda: len(cluster.calls(GET)) > 3, within=120, what="the watch to begin")
    cluster.finish("modeltraining", "weekly-1")
    cluster.finish("modeltraining", "nightly-1")
    until(lambda: runs(airflow), within=120, what="the run")
    listed = len(cluster.calls(LIST))
    until(lambda: len(cluster.calls(LIST)) > listed + 1, within=120, what="one more look")

    assert [used(run) for run in runs(airflow)] == [["nightly-1"]]


@pytest.mark.skipif(not CAN_RUN_WITHOUT_WORKER, reason="Airflow 3.3 is the first with state of assets")
def test_one_run_per_job(cluster: Simulator, airflow: LocalAirflow) -> None:
    """Each training that completes runs the Dag once, while the triggerer was dead too, and never again."""
    until(lambda: len(cluster.calls(GET)) > 3, within=120, what="the watch to begin")
    cluster.finish("modeltraining", "weekly-1")
    cluster.finish("modeltraining", "nightly-1")
    until(lambda: "nightly-1" in ended(airflow), within=120, what="nightly-1 to be remembered")

    airflow.processes["triggerer"].kill()
    cluster.finish("modeltraining", "nightly-2")
    airflow.processes["triggerer"].start()
    until(lambda: "nightly-2" in ended(airflow), within=120, what="the new triggerer to see nightly-2")
    listed = len(cluster.calls(LIST))
    until(lambda: len(cluster.calls(LIST)) > listed, within=120, what="one more look")
    until(lambda: len(runs(airflow)) > 1, within=120, what="the second run")

    assert [used(run) for run in runs(airflow)] == [["nightly-1"], ["nightly-2"]]


def fired(airflow: LocalAirflow) -> Counter[str]:
    """Return how often each job fired an event that Airflow has stored."""
    try:
        events = airflow.api.call("GET", "/assets/events?limit=100")["asset_events"]
    except HTTPError:  # 500 from Airflow 3.3.2 as long as a run of such an event has not begun
        return Counter()
    return Counter(event["extra"]["payload"]["id"] for event in events)


@pytest.mark.skipif(not CAN_RUN_WITHOUT_WORKER, reason="Airflow 3.3 is the first with state of assets")
def test_shutdowns(cluster: Simulator, airflow: LocalAirflow) -> None:
    """Of 24 trainings around two SIGTERMs and a SIGKILL, none is missed, and a SIGTERM repeats none."""
    triggerer = airflow.processes["triggerer"]
    until(lambda: len(cluster.calls(GET)) > 3, within=120, what="the watch to begin")
    jobs = [f"nightly-{number}" for number in range(10, 34)]
    for job_id in jobs:
        cluster.seed("modeltraining", job_id, status="InProgress")

    def finish(batch: list[str]) -> None:
        for job_id in batch:
            cluster.finish("modeltraining", job_id)

    def until_remembered(batch: list[str]) -> None:
        until(lambda: {*batch} <= {*ended(airflow)}, within=120, what=f"{batch} to be remembered")

    for first in (0, 8):
        finish(jobs[first : first + 4])
        until_remembered(jobs[first : first + 4])
        triggerer.terminate()
        triggerer.wait(60)
        finish(jobs[first + 4 : first + 8])
        triggerer.start()
        until_remembered(jobs[first + 4 : first + 8])
    finish(jobs[16:20])
    until(lambda: jobs[19] in fired(airflow), within=120, what="an event of the last one")
    triggerer.kill()
    finish(jobs[20:])
    triggerer.start()
    until_remembered(jobs)

    counts = until(lambda: fired(airflow), within=120, what="the events")
    assert set(counts) == {*jobs}
    assert {job_id: counts[job_id] for job_id in jobs[:16]} == dict.fromkeys(jobs[:16], 1)
