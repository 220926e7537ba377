"""The rows of docs/reliability.md: exactly one job, and never one that nobody waits for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from airflow_provider_neptune_ml.simulator import Simulator
from dev.local_airflow import LocalAirflow
from tests.system.reliability import Ground, rows_of_page
from tests.system.reliability_rows import CONCURRENT, DISRUPTIVE, HAS_TASK_STATE_STORE, ROWS, Row

# How long Airflow takes to miss a lost worker, instead of 5 minutes. An API server that starts again must not
# take as long: the tasks whose heartbeats it misses would count as lost.
MISSED_SECONDS = 45
SETTINGS = {
    "AIRFLOW__CORE__PARALLELISM": 16,
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": MISSED_SECONDS,
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": 2,
    # A scheduler that is lost is missed as late, and others see to its tasks then.
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": MISSED_SECONDS,
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": 2,
    # A triggerer has nothing that would be missed wrongly.
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": 10,
    # Lost workers on Airflow 2. It reports one at each interval until its Dag processor has seen to the first
    # report, and what comes later fails the retry as well: the interval is long enough for a slow machine.
    "AIRFLOW__SCHEDULER__SCHEDULER_ZOMBIE_TASK_THRESHOLD": MISSED_SECONDS,
    "AIRFLOW__SCHEDULER__ZOMBIE_DETECTION_INTERVAL": MISSED_SECONDS,
}

ROWS_AT_ONCE = 8
PAGE_ROWS = rows_of_page("Exactly one job")
# The cell with the jobs started and cancelled, on Airflow 3.3 and newer or on older ones.
NUMBERS = 1 if HAS_TASK_STATE_STORE else 2


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """A cluster in which a stopped job has stopped at once, and an Airflow that soon misses a worker."""
    home = tmp_path_factory.mktemp("reliability") / "airflow"
    durations = {"modeltraining": {"stop": 0.0}, "export": {"stop": 0.0, "pending": 0.0}}
    with Simulator(clock="manual", durations=durations, journal_size=100_000) as cluster:
        cluster.seed("dataprocessing", "data")
        env = {name: str(value) for name, value in SETTINGS.items()}
        env["AIRFLOW_CONN_NEPTUNE_ML_DEFAULT"] = json.dumps(cluster.connection)
        dags = Path(__file__).parent / "reliability_dags"
        with LocalAirflow(home, dags=dags, env=env) as airflow:
            ground = Ground(cluster, airflow)
            ground.withhold_reply("StartMLDataProcessingJob")
            yield ground


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, ground: Ground) -> dict[str, Future[None]]:
    """How the rows that were asked for went."""
    wanted = [
        str(item.callspec.params["name"])
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.originalname == test_row.__name__
    ]
    ended: dict[str, Future[None]] = {}
    for rows, workers in ((CONCURRENT, ROWS_AT_ONCE), (DISRUPTIVE, 1)):
        with ThreadPoolExecutor(workers) as pool:
            ended.update({name: pool.submit(_run, rows[name], ground) for name in rows if name in wanted})
    return ended


def _run(scenario: Row, ground: Ground) -> None:
    scenario(ground, ground.airflow.api.trigger(scenario.__name__))


@pytest.mark.parametrize("name", ROWS)
def test_row(name: str, outcomes: Mapping[str, Future[None]], ground: Ground) -> None:
    """What the page says of a row holds, and as many jobs were started and cancelled as it says."""
    outcomes[name].result()

    jobs = ground.jobs_of_dag(name)
    cancelled = sum(ground.requests(job, "stop") for job in jobs)
    assert f"{len(jobs)} / {cancelled}" == PAGE_ROWS[name][NUMBERS]


def test_nothing_is_left(outcomes: Mapping[str, Future[None]], ground: Ground) -> None:
    """When all is done, no job is going on, and none was cancelled twice."""
    jobs = ground.jobs_of_dag("")

    assert set(jobs.values()) <= {"Completed", "Failed", "Stopped", "succeeded", "cancelled"}
    assert {ground.requests(job, "stop") for job in jobs} <= {0, 1}


def test_page() -> None:
    """The page has a row for each of these, in their order and words."""
    assert {name: cells[0] for name, cells in PAGE_ROWS.items()} == {
        name: scenario.__doc__ for name, scenario in ROWS.items()
    }
    assert list(PAGE_ROWS) == list(ROWS)
