"""The rows of docs/reliability.md that run on any Airflow, on a distributed one too."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from airflow_provider_neptune_ml.compat import CAN_RUN_WITHOUT_WORKER
from dev.local_airflow import AIRFLOW
from dev.rest_api import DagRun, until
from tests.system.reliability import TIMEOUT_SECONDS, Ground

# From the same Airflow on.
HAS_TASK_STATE_STORE = CAN_RUN_WITHOUT_WORKER

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
    """A worker dies between the start request and its answer: the retry adopts the job."""
    job = ground.new_job(run)  # the fixture has its answer withheld

    ground.kill_worker(run)

    ground.wait_for_poll(job)
    _retry_ends_with(ground, run, job)


@row
def worker_killed_after_reply(ground: Ground, run: DagRun) -> None:
    """A worker dies after it has read the answer: the retry adopts the job."""
    ground.wait_for_mark("after-call")
    job = ground.new_job(run)

    ground.kill_worker(run)

    ground.wait_for_poll(job)
    _retry_ends_with(ground, run, job)


@row
def worker_killed_in_wait(ground: Ground, run: DagRun) -> None:
    """A worker dies while it waits: the retry adopts the job."""
    job = ground.polled_job(run)

    ground.kill_worker(run)

    ground.wait_for_poll(job)
    _retry_ends_with(ground, run, job)


@row
def completed_while_dead(ground: Ground, run: DagRun) -> None:
    """A job completes after its worker died: the retry adopts it, or starts another on older Airflows."""
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
    """A worker is shut down (SIGTERM) while it waits: the retry adopts the job."""
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
    """The API server is killed and comes back: the deferred wait and that in the worker continue."""
    deferred, on_worker = ground.polled_job(run), ground.polled_job(run, "sync")

    servers = ground.airflow.all({2: "webserver", 3: "api-server"}[AIRFLOW])
    for server in servers:
        server.kill()
    for server in servers:
        server.start()
    until(ground.airflow.api.health, within=TIMEOUT_SECONDS, what="the new API server")

    ground.wait_for_poll(deferred)
    ground.wait_for_poll(on_worker)
    ground.finish(deferred, on_worker)
    assert ground.state_at_end(run) == "success"
    _assert_result(ground, run, {deferred: "Completed"})
    _assert_result(ground, run, {on_worker: "Completed"}, "sync")
    assert [task["try_number"] for task in run.tasks()] == [1, 1]


@disruptive_row
def triggerer_killed(ground: Ground, run: DagRun) -> None:
    """The triggerer is killed: the next one resumes the wait."""
    job = ground.polled_job(run)

    ground.airflow.triggerer_of(run, "job").restart()

    ground.wait_for_poll(job)
    ground.finish(job)
    assert ground.state_at_end(run) == "success"
    _assert_result(ground, run, {job: "Completed"})


@disruptive_row
def triggerer_stopped(ground: Ground, run: DagRun) -> None:
    """The triggerer is stopped as for a deploy (SIGTERM): the next one resumes the wait."""
    job = ground.polled_job(run)

    triggerer = ground.airflow.triggerer_of(run, "job")
    triggerer.terminate()
    until(lambda: triggerer.exit_code is not None, within=TIMEOUT_SECONDS, what="the triggerer's end")
    triggerer.restart()

    ground.wait_for_poll(job)
    ground.finish(job)
    assert ground.state_at_end(run) == "success"
    _assert_result(ground, run, {job: "Completed"})


@disruptive_row
def triggerer_comes_back(ground: Ground, run: DagRun) -> None:
    """The triggerer hangs, another one takes its wait over, and it comes back: the wait continues."""
    job = ground.polled_job(run)

    with ground.airflow.second_triggerer():
        with ground.airflow.hanging(ground.airflow.triggerer_of(run, "job")):
            # Of what it asked before it hung, nothing is on the way any more.
            ground.wait_for_poll(job)
            ground.wait_for_poll(job)
        until(
            lambda: "continues in another process" in ground.airflow.trigger_logs(run.dag_id),
            within=TIMEOUT_SECONDS,
            what="the triggerer to let go of what another one has taken over",
        )
        ground.wait_for_poll(job)
        ground.finish(job)
        assert ground.state_at_end(run) == "success"
    _assert_result(ground, run, {job: "Completed"})


@disruptive_row
def scheduler_killed(ground: Ground, run: DagRun) -> None:
    """The scheduler and its workers are killed: the deferred wait continues, a retry adopts the other job."""
    deferred, on_worker = ground.polled_job(run), ground.polled_job(run, "sync")

    # With a LocalExecutor the workers are the scheduler's own.
    lost = [*ground.airflow.all("scheduler"), *ground.airflow.all("worker")]
    for process in lost:
        process.kill()
    for process in lost:
        process.start()

    ground.wait_for_poll(on_worker)
    ground.finish(deferred, on_worker)
    assert ground.state_at_end(run) == "success"
    _assert_result(ground, run, {deferred: "Completed"})
    _assert_result(ground, run, {on_worker: "Completed"}, "sync")
    assert (run.task("job")["try_number"], run.task("sync")["try_number"]) == (1, 2)


# A user ends the task


@row
def deferred_marked_failed(ground: Ground, run: DagRun) -> None:
    """A user marks a deferred task failed: its job is cancelled."""
    job = ground.polled_job(run)

    run.set_task_state("job", "failed")

    _assert_cancelled(ground, run, job)
    assert ground.state_at_end(run) == "failed"


@row
def deferred_marked_success(ground: Ground, run: DagRun) -> None:
    """A user marks a deferred task successful: its job is cancelled."""
    job = ground.polled_job(run)

    run.set_task_state("job", "success")

    _assert_cancelled(ground, run, job)
    assert ground.state_at_end(run) == "success"


@row
def deferred_cleared(ground: Ground, run: DagRun) -> None:
    """A user clears a deferred task: its job is cancelled, and a new one started."""
    job = ground.polled_job(run)

    run.clear("job")

    _assert_second_succeeds(ground, run, job)


@row
def running_marked_failed(ground: Ground, run: DagRun) -> None:
    """A user marks a running task failed: its job is cancelled."""
    job = ground.polled_job(run)

    run.set_task_state("job", "failed")

    _assert_cancelled(ground, run, job)
    assert ground.state_at_end(run) == "failed"


@row
def running_marked_success(ground: Ground, run: DagRun) -> None:
    """A user marks a running task successful: its job is cancelled."""
    job = ground.polled_job(run)

    run.set_task_state("job", "success")

    _assert_cancelled(ground, run, job)
    assert ground.state_at_end(run) == "success"


@row
def running_cleared(ground: Ground, run: DagRun) -> None:
    """A user clears a running task: its job is cancelled, and a new one started."""
    job = ground.polled_job(run)

    ground.clear_running(run)

    _assert_second_succeeds(ground, run, job)


@row
def dag_run_failed(ground: Ground, run: DagRun) -> None:
    """A user marks a Dag run failed: the jobs of its deferred and of its running task are cancelled."""
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
    """A user clears a task that succeeded: a new job is started."""
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
    runs = (run, ground.airflow.api.trigger(run.dag_id))

    assert [ground.state_at_end(each) for each in runs] == ["success", "success"]
    for each in runs:
        for task_id, map_index in (("job", -1), ("other", -1), ("mapped", 0), ("mapped", 1)):
            [job] = ground.jobs(each, task_id, map_index)
            ground.finish(job)
        [job] = ground.jobs(each)
        assert each.xcom("job").strip('"') == job


# An export, whose id the service gives


@row
def export_worker_killed_before_start(ground: Ground, run: DagRun) -> None:
    """A worker dies before the start request of an export leaves: the retry starts the one export."""
    ground.wait_for_mark("export-before-send")
    assert not ground.jobs(run)

    ground.kill_worker(run)

    _exported_by_retry(ground, run, ground.polled_job(run))


@row
def export_worker_killed_before_reply(ground: Ground, run: DagRun) -> None:
    """A worker dies between the start request of an export and its answer: the retry starts another."""
    ground.wait_for_mark("export-sent")
    job = ground.new_job(run)

    ground.kill_worker(run)

    _exported_by_retry(ground, run, job, ground.polled_job(run, known=[job]))


@row
def export_worker_killed_after_reply(ground: Ground, run: DagRun) -> None:
    """A worker dies before it has noted the id that the answer gave: the retry starts another export."""
    ground.wait_for_mark("export-after-call")
    job = ground.new_job(run)

    ground.kill_worker(run)

    _exported_by_retry(ground, run, job, ground.polled_job(run, known=[job]))


@row
def export_worker_killed_in_wait(ground: Ground, run: DagRun) -> None:
    """A worker dies while it waits: the retry adopts the export, or starts another on older Airflows."""
    job = ground.polled_job(run)

    ground.kill_worker(run)

    if HAS_TASK_STATE_STORE:
        ground.wait_for_poll(job)
        _exported_by_retry(ground, run, job)
    else:
        _exported_by_retry(ground, run, job, ground.polled_job(run, known=[job]))


@row
def export_deferred_marked_failed(ground: Ground, run: DagRun) -> None:
    """A user marks a deferred task failed: its export is cancelled."""
    job = ground.polled_job(run)

    run.set_task_state("job", "failed")

    ground.wait_for_stop(job)
    assert ground.jobs(run) == {job: "cancelled"}
    assert ground.state_at_end(run) == "failed"


@row
def export_timeout(ground: Ground, run: DagRun) -> None:
    """The timeout passes: the export is cancelled and the task fails, deferred or not."""
    for task_id in ("job", "sync"):
        job = ground.new_job(run, task_id)
        ground.wait_for_stop(job)
        assert ground.jobs(run, task_id) == {job: "cancelled"}
    assert ground.state_at_end(run) == "failed"


def _exported_by_retry(ground: Ground, run: DagRun, *jobs: str) -> None:
    """End the exports, of which the last is the retry's; nobody knows of the others."""
    ground.finish(*jobs)
    assert ground.state_at_end(run) == "success"
    assert run.task("job")["try_number"] == 2
    assert ground.jobs(run) == dict.fromkeys(jobs, "succeeded")
    assert run.xcom("job").strip('"') == ground.cluster.describe("export", jobs[-1])["outputS3Uri"]
    assert not any(ground.requests(job, "stop") for job in jobs)


ROWS = {**CONCURRENT, **DISRUPTIVE}
