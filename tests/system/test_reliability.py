"""The rows of docs/reliability.md: exactly one job, and never one that nobody waits for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from airflow_provider_neptune_ml.compat import CAN_RUN_WITHOUT_WORKER
from airflow_provider_neptune_ml.simulator import Fault, Simulator
from tests.system.local_airflow import AIRFLOW, LocalAirflow
from tests.system.reliability import PATIENCE_SECONDS, Ground
from tests.system.rest_api import DagRun, until

# From the same Airflow on.
HAS_TASK_STATE_STORE = CAN_RUN_WITHOUT_WORKER
PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
# How long Airflow takes to miss a lost worker, instead of 5 minutes. An API server that starts again must not
# take as long: the tasks whose heartbeats it misses would count as lost.
MISSED_SECONDS = 30
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

Row = Callable[[Ground, DagRun], None]
# Rows that leave the components of Airflow alone run all at once, the others one after the other.
CONCURRENT: dict[str, Row] = {}
DISRUPTIVE: dict[str, Row] = {}


def row(scenario: Row) -> Row:
    """Make a function a row that runs with others."""
    CONCURRENT[scenario.__name__] = scenario
    return scenario


def disruptive_row(scenario: Row) -> Row:
    """Make a function a row that kills what the others need."""
    DISRUPTIVE[scenario.__name__] = scenario
    return scenario


# A worker dies


@row
def worker_killed_before_start(ground: Ground, run: DagRun) -> None:
    """A worker dies before the start request leaves: the retry starts the one job."""
    ground.wait_for_mark("before-send")
    assert not ground.jobs(run)

    ground.kill_worker(run)

    _retry_ends_with(ground, run, ground.polled_job(run))


@row
def worker_killed_before_reply(ground: Ground, run: DagRun) -> None:
    """A worker dies between the start request and its answer: the retry takes the job over."""
    job = ground.new_job(run)  # the fixture has its answer withheld

    ground.kill_worker(run)

    ground.wait_for_poll(job)
    _retry_ends_with(ground, run, job)


@row
def worker_killed_after_reply(ground: Ground, run: DagRun) -> None:
    """A worker dies with the answer in hand: the retry takes the job over."""
    ground.wait_for_mark("after-call")
    job = ground.new_job(run)

    ground.kill_worker(run)

    ground.wait_for_poll(job)
    _retry_ends_with(ground, run, job)


@row
def worker_killed_in_wait(ground: Ground, run: DagRun) -> None:
    """A worker dies while it waits: the retry takes the job over."""
    job = ground.polled_job(run)

    ground.kill_worker(run)

    ground.wait_for_poll(job)
    _retry_ends_with(ground, run, job)


@row
def completed_while_dead(ground: Ground, run: DagRun) -> None:
    """A job completes after its worker died: the retry takes it over, or starts another on older Airflows."""
    job = ground.polled_job(run)

    worker = ground.worker(run)
    for process in worker:
        process.suspend()
    ground.finish(job)
    for process in worker:
        process.kill()

    if HAS_TASK_STATE_STORE:
        assert ground.state_at_end(run) == "success"
        _assert_result(ground, run, {job: "Completed"})
    else:
        second = ground.polled_job(run, known=[job])
        ground.finish(second)
        assert ground.state_at_end(run) == "success"
        _assert_result(ground, run, {job: "Completed", second: "Completed"})


@row
def worker_shut_down(ground: Ground, run: DagRun) -> None:
    """A worker is shut down (SIGTERM) while it waits: the retry takes the job over."""
    job = ground.polled_job(run)

    ground.shut_worker_down(run)

    ground.wait_for_try(run, 2)
    ground.wait_for_poll(job)
    _retry_ends_with(ground, run, job)


@row
def last_try_shut_down(ground: Ground, run: DagRun) -> None:
    """A worker is shut down (SIGTERM) at the last try: its job is cancelled."""
    job = ground.polled_job(run)

    ground.shut_worker_down(run)

    _assert_cancelled(ground, run, job)
    assert ground.state_at_end(run) == "failed"


def _retry_ends_with(ground: Ground, run: DagRun, job: str) -> None:
    ground.finish(job)
    assert ground.state_at_end(run) == "success"
    assert run.task("job")["try_number"] == 2
    _assert_result(ground, run, {job: "Completed"})


def _assert_result(ground: Ground, run: DagRun, jobs: Mapping[str, str], task_id: str = "job") -> None:
    """Check the jobs that there are, that the last one is the task's result, and that none was cancelled."""
    assert ground.jobs(run, task_id) == jobs
    assert run.xcom(task_id).strip('"') == list(jobs)[-1]
    assert not any(ground.requests(job, "stop") for job in jobs)


# A component dies


@disruptive_row
def api_server_killed(ground: Ground, run: DagRun) -> None:
    """The API server is killed and comes back: both ways to wait go on."""
    deferred, on_worker = ground.polled_job(run), ground.polled_job(run, "sync")

    names = {2: ["webserver"], 3: ["api-server", "execution-api"]}[AIRFLOW]
    servers = [ground.airflow.processes[name] for name in names]
    for server in servers:
        server.kill()
    for server in servers:
        server.start()
    until(ground.airflow.api.health, within=PATIENCE_SECONDS, what="the new API server")

    ground.wait_for_poll(deferred)
    ground.wait_for_poll(on_worker)
    ground.finish(deferred, on_worker)
    assert ground.state_at_end(run) == "success"
    _assert_result(ground, run, {deferred: "Completed"})
    _assert_result(ground, run, {on_worker: "Completed"}, "sync")
    assert [task["try_number"] for task in run.tasks()] == [1, 1]


@disruptive_row
def triggerer_killed(ground: Ground, run: DagRun) -> None:
    """The triggerer is killed: the next one goes on with the wait."""
    job = ground.polled_job(run)

    ground.airflow.processes["triggerer"].restart()

    ground.wait_for_poll(job)
    ground.finish(job)
    assert ground.state_at_end(run) == "success"
    _assert_result(ground, run, {job: "Completed"})


@disruptive_row
def triggerer_stopped(ground: Ground, run: DagRun) -> None:
    """The triggerer is stopped as for a deploy (SIGTERM): the next one goes on with the wait."""
    job = ground.polled_job(run)

    triggerer = ground.airflow.processes["triggerer"]
    triggerer.terminate()
    until(lambda: triggerer.exit_code is not None, within=PATIENCE_SECONDS, what="the triggerer's end")
    triggerer.restart()

    ground.wait_for_poll(job)
    ground.finish(job)
    assert ground.state_at_end(run) == "success"
    _assert_result(ground, run, {job: "Completed"})


@disruptive_row
def triggerer_comes_back(ground: Ground, run: DagRun) -> None:
    """The triggerer stands still, another one takes its wait over, and it comes back: the wait goes on."""
    job = ground.polled_job(run)

    frozen = ground.airflow.processes["triggerer"].members()
    for process in frozen:
        process.suspend()
    with ground.airflow.another("triggerer", "--skip-serve-logs"):
        ground.wait_for_poll(job)
        for process in frozen:
            process.resume()
        until(
            lambda: "goes on elsewhere" in ground.airflow.trigger_logs(run.dag_id),
            within=PATIENCE_SECONDS,
            what="the triggerer to let go of what another one has taken over",
        )
        ground.wait_for_poll(job)
        ground.finish(job)
        assert ground.state_at_end(run) == "success"
    _assert_result(ground, run, {job: "Completed"})


@disruptive_row
def scheduler_killed(ground: Ground, run: DagRun) -> None:
    """The scheduler is killed, and its workers with it: one wait goes on, the other is taken over."""
    deferred, on_worker = ground.polled_job(run), ground.polled_job(run, "sync")

    scheduler = ground.airflow.processes["scheduler"]
    scheduler.kill()
    scheduler.start()

    ground.wait_for_poll(on_worker)
    ground.finish(deferred, on_worker)
    assert ground.state_at_end(run) == "success"
    _assert_result(ground, run, {deferred: "Completed"})
    _assert_result(ground, run, {on_worker: "Completed"}, "sync")
    assert (run.task("job")["try_number"], run.task("sync")["try_number"]) == (1, 2)


# Somebody ends the task


@row
def deferred_marked_failed(ground: Ground, run: DagRun) -> None:
    """Somebody marks a deferred task failed: its job is cancelled."""
    job = ground.polled_job(run)

    run.set_task_state("job", "failed")

    _assert_cancelled(ground, run, job)
    assert ground.state_at_end(run) == "failed"


@row
def deferred_marked_success(ground: Ground, run: DagRun) -> None:
    """Somebody marks a deferred task successful: its job is cancelled."""
    job = ground.polled_job(run)

    run.set_task_state("job", "success")

    _assert_cancelled(ground, run, job)
    assert ground.state_at_end(run) == "success"


@row
def deferred_cleared(ground: Ground, run: DagRun) -> None:
    """Somebody clears a deferred task: its job is cancelled, and a new one started."""
    job = ground.polled_job(run)

    run.clear("job")

    _assert_second_succeeds(ground, run, job)


@row
def running_marked_failed(ground: Ground, run: DagRun) -> None:
    """Somebody marks a running task failed: its job is cancelled."""
    job = ground.polled_job(run)

    run.set_task_state("job", "failed")

    _assert_cancelled(ground, run, job)
    assert ground.state_at_end(run) == "failed"


@row
def running_marked_success(ground: Ground, run: DagRun) -> None:
    """Somebody marks a running task successful: its job is cancelled."""
    job = ground.polled_job(run)

    run.set_task_state("job", "success")

    _assert_cancelled(ground, run, job)
    assert ground.state_at_end(run) == "success"


@row
def running_cleared(ground: Ground, run: DagRun) -> None:
    """Somebody clears a running task: its job is cancelled, and a new one started."""
    job = ground.polled_job(run)

    ground.clear_running(run)

    _assert_second_succeeds(ground, run, job)


@row
def dag_run_failed(ground: Ground, run: DagRun) -> None:
    """Somebody marks a Dag run failed: the jobs of its deferred and of its running task are cancelled."""
    deferred, on_worker = ground.polled_job(run), ground.polled_job(run, "sync")

    run.set_state("failed")

    _assert_cancelled(ground, run, deferred)
    _assert_cancelled(ground, run, on_worker, "sync")
    assert set(run.task_states().values()) == {"failed"}


def _assert_cancelled(ground: Ground, run: DagRun, job: str, task_id: str = "job") -> None:
    # That none is cancelled twice is checked when all rows are done.
    ground.wait_for_stop(job)
    assert ground.jobs(run, task_id) == {job: "Stopped"}


def _assert_second_succeeds(ground: Ground, run: DagRun, job: str) -> None:
    ground.wait_for_stop(job)
    second = ground.polled_job(run, known=[job])
    ground.finish(second)
    assert ground.state_at_end(run) == "success"
    assert ground.jobs(run) == {job: "Stopped", second: "Completed"}
    assert run.xcom("job").strip('"') == second


# The time is over


@row
def execution_timeout(ground: Ground, run: DagRun) -> None:
    """The execution_timeout passes: the job is cancelled and the task fails, deferred or not."""
    _assert_timed_out(ground, run)


@row
def timeout(ground: Ground, run: DagRun) -> None:
    """The timeout passes: the job is cancelled and the task fails, deferred or not."""
    _assert_timed_out(ground, run)


def _assert_timed_out(ground: Ground, run: DagRun) -> None:
    for task_id in ("job", "sync"):
        _assert_cancelled(ground, run, ground.new_job(run, task_id), task_id)
    assert ground.state_at_end(run) == "failed"
    assert set(run.task_states().values()) == {"failed"}


# The next job


@row
def job_failed(ground: Ground, run: DagRun) -> None:
    """The job fails: the retry starts another."""
    job = ground.polled_job(run)

    ground.cluster.fail("modeltraining", job)

    second = ground.polled_job(run, known=[job])
    ground.finish(second)
    assert ground.state_at_end(run) == "success"
    _assert_result(ground, run, {job: "Failed", second: "Completed"})


@row
def cleared_after_success(ground: Ground, run: DagRun) -> None:
    """Somebody clears a task that succeeded: a new job is started."""
    job = ground.polled_job(run)
    ground.finish(job)
    assert ground.state_at_end(run) == "success"

    run.clear("job")

    second = ground.polled_job(run, known=[job])
    ground.finish(second)
    assert ground.state_at_end(run) == "success"
    _assert_result(ground, run, {job: "Completed", second: "Completed"})


# At once


@row
def at_once(ground: Ground, run: DagRun) -> None:
    """Two tasks and two mapped instances, in two runs of the Dag at the same time, start eight jobs."""
    other_run = ground.airflow.api.trigger(run.dag_id)

    assert ground.state_at_end(run) == ground.state_at_end(other_run) == "success"
    jobs = {task_id: ground.jobs(run, task_id) for task_id in ("job", "other", "mapped")}
    assert {task_id: len(started) for task_id, started in jobs.items()} == {"job": 2, "other": 2, "mapped": 4}
    assert {run.xcom("job").strip('"'), other_run.xcom("job").strip('"')} == jobs["job"].keys()
    ground.finish(*(job for started in jobs.values() for job in started))


# How they run

ROWS = {**CONCURRENT, **DISRUPTIVE}
PAGE_ROWS = {
    name: [cell.strip() for cell in cells.split("|")]
    for name, cells in re.findall(r"^\| `(\w+)` \|(.*)\|$", PAGE.read_text(), re.MULTILINE)
}
# The cell with the jobs started and cancelled, on Airflow 3.3 and newer or on older ones.
NUMBERS = 1 if HAS_TASK_STATE_STORE else 2


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """A cluster in which a stopped job has stopped at once, and an Airflow that soon misses a worker."""
    home = tmp_path_factory.mktemp("reliability") / "airflow"
    with Simulator(clock="manual", durations={"modeltraining": {"stop": 0}}, journal_size=100_000) as cluster:
        cluster.seed("dataprocessing", "data")
        cluster.add_fault(
            Fault("slow", operation="StartMLDataProcessingJob", when="after", seconds=PATIENCE_SECONDS)
        )
        env = {name: str(value) for name, value in SETTINGS.items()}
        env["AIRFLOW_CONN_NEPTUNE_ML_DEFAULT"] = json.dumps(cluster.connection)
        dags = Path(__file__).parent / "reliability_dags"
        with LocalAirflow(home, dags=dags, env=env, busy=True) as airflow:
            yield Ground(cluster, airflow)


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

    assert set(jobs.values()) <= {"Completed", "Failed", "Stopped"}
    assert {ground.requests(job, "stop") for job in jobs} <= {0, 1}


def test_page() -> None:
    """The page has a row for each of these, in their order and words."""
    assert {name: cells[0] for name, cells in PAGE_ROWS.items()} == {
        name: scenario.__doc__ for name, scenario in ROWS.items()
    }
    assert list(PAGE_ROWS) == list(ROWS)
