"""The rows of docs/reliability.md that only a distributed Airflow has."""

from __future__ import annotations

import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable
from urllib.error import HTTPError

from airflow_provider_neptune_ml.simulator import Fault
from dev.rest_api import ENDED_RUN_STATES, DagRun, until
from tests.distributed.ground import DistributedGround
from tests.distributed.waits import FEW, FEW_SLOTS, HELD, MANY, SERVING, STARTS, WATCHED, sensor_jobs

# Hundreds of tasks on two cores that others may use, too: an end to a run that hangs, no promise.
TIMEOUT_SECONDS = 2400
THROTTLED_SECONDS = 60
OUTAGE_SECONDS = 5

DistributedRow = Callable[[DistributedGround, DagRun], None]
DISTRIBUTED: dict[str, DistributedRow] = {}


def row(scenario: DistributedRow) -> DistributedRow:
    """Make a function a row."""
    DISTRIBUTED[scenario.__name__] = scenario
    return scenario


@row
def triggerer_hung(ground: DistributedGround, run: DagRun) -> None:
    """
    A triggerer hangs until its waits were taken over, and comes back while their tasks wait, are
    queued, run, are done or were retried: nothing is cancelled, no endpoint deleted.
    """
    tasks = ("waiting", "retried", "queued", "running", "done")
    with ground.one_triggerer() as triggerer:
        jobs = {task_id: ground.polled_job(run, task_id) for task_id in tasks}
        triggerer_id = run.task("waiting")["triggerer_job"]["id"]

    with ground.airflow.held(HELD):
        with triggerer.suspended():
            seen = len(ground.journal())
            # The other triggerer asks for each; of the first one, one request at most was on the way.
            _until_polled(ground, jobs.values(), seen, times=2)
            ground.finish(jobs["queued"], jobs["running"], jobs["done"])
            ground.cluster.fail("modeltraining", jobs["retried"])
            for task_id, state in (("queued", "queued"), ("running", "running"), ("done", "success")):
                run.wait_for_task(task_id, state, within=TIMEOUT_SECONDS)
            second = ground.polled_job(run, "retried", known=[jobs["retried"]])
            ground.wait_for_lingering()
        until(
            lambda: ground.airflow.completed_triggers(run, triggerer_id) == set(tasks),
            within=TIMEOUT_SECONDS,
            what="the triggerer to let go of what another one has taken over",
        )

    ground.end_lingering()
    ground.finish(jobs["waiting"], second)
    assert ground.state_at_end(run) == "success"
    assert set(ground.jobs_of_dag(run.dag_id)) == {*jobs.values(), second}
    _assert_none_cancelled(ground, [*jobs.values(), second])


@row
def servers_restarted(ground: DistributedGround, run: DagRun) -> None:
    """
    Redis is restarted and has lost its queues, after it both workers, then PostgreSQL; the Airflow
    processes that exit are started again: each start has one job.
    """
    with ground.airflow.supervised():
        _restart_servers(ground, run)


def _restart_servers(ground: DistributedGround, run: DagRun) -> None:
    airflow = ground.airflow
    instances = {"deferred": 8, "on_worker": 4, "queued": 4}
    with airflow.held(HELD):
        before = _until_started(ground, run, instances["deferred"] + instances["on_worker"])
        _until_polled(ground, before)
        _until_states(run, "queued", instances["queued"])
        airflow.redis.stop()
        airflow.redis.start()
        # One of Celery 5.6 that has seen this takes messages whose tasks it never runs: operators restart it.
        for worker in airflow.all("worker"):
            worker.terminate(signal.SIGKILL)
    jobs = _until_started(ground, run, sum(instances.values()))
    _until_polled(ground, jobs, len(ground.journal()))

    airflow.postgres.stop()
    _let_pass(OUTAGE_SECONDS)
    airflow.postgres.start()

    _until_polled(ground, jobs, len(ground.journal()), times=2)
    ground.finish(*jobs)
    assert run.wait(within=TIMEOUT_SECONDS) == "success"
    assert ground.jobs_of_dag(run.dag_id) == dict.fromkeys(jobs, "Completed")
    _assert_none_cancelled(ground, jobs)


@row
def everything_at_once(ground: DistributedGround, run: DagRun) -> None:
    """
    During 200 waits of all sorts a triggerer, a worker and a scheduler are killed, the service
    throttles for a minute and is restarted: each start has one job, and no wait is lost.
    """
    airflow = ground.airflow
    # Of the pipeline, the first job has been started.
    started = _until_started(ground, run, sum(STARTS.values()) + 1)
    waits = [*started, *sensor_jobs()]
    _until_polled(ground, waits)

    lost = [airflow.all(component)[0] for component in ("triggerer", "worker", "scheduler")]
    for process in lost:
        process.kill()
    ground.cluster.add_fault(Fault("too_many_requests", times=None))
    over = time.monotonic() + THROTTLED_SECONDS
    for process in lost:
        process.start()
    until(lambda: time.monotonic() > over, within=TIMEOUT_SECONDS, what="the end of the throttling")
    ground.restart_cluster()

    _until_polled(ground, waits, len(ground.journal()), times=2)
    until(
        lambda: _finish_all(ground, run) and run.state() in ENDED_RUN_STATES,
        within=TIMEOUT_SECONDS,
        what=f"the end of {run.dag_id}",
    )
    assert run.state() == "success"
    assert set(run.task_states().values()) == {"success"}
    jobs = ground.jobs_of_dag(run.dag_id)
    # The second job of the pipeline is a training; its endpoint has a name of its own.
    assert len(jobs) == sum(STARTS.values()) + 2
    assert set(jobs.values()) == {"Completed"}
    created = [
        call for call in ground.journal() if call.operation == "CreateMLEndpoint" and call.id == SERVING
    ]
    assert [call.status for call in created if call.status != 429] == [200]
    _assert_none_cancelled(ground, [*jobs, *sensor_jobs(), SERVING])


@row
def watcher(ground: DistributedGround, run: DagRun) -> None:
    """
    Of 24 trainings that an asset watcher sees, its triggerer is stopped (SIGTERM) and killed in
    between: none is missed, and only the kill repeats events.
    """
    assert run.wait(within=TIMEOUT_SECONDS) == "success"  # of its own: the Dag is there
    _until_polled(ground, WATCHED)
    size = len(WATCHED) // 6
    batches = [WATCHED[first : first + size] for first in range(0, len(WATCHED), size)]
    seen: list[str] = []
    for number, end in ((0, signal.SIGTERM), (3, signal.SIGKILL)):
        before, during, after = batches[number : number + 3]
        ground.finish(*before)
        seen += before
        _until_events(ground, seen)
        triggerer = ground.airflow.triggerer_of_watchers()
        asked = len(ground.journal())
        ground.finish(*during)
        _until_polled(ground, during, asked)
        if end == signal.SIGTERM:
            triggerer.terminate()
            triggerer.wait(TIMEOUT_SECONDS)
        triggerer.kill()
        ground.finish(*after)
        triggerer.start()
        seen += [*during, *after]
        _until_events(ground, seen)
        ground.airflow.wait_until_healthy()
    twice = {job for job, count in _until_events(ground, seen).items() if count > 1}
    assert not twice - {*batches[3], *batches[4]}


@row
def many_deferred(ground: DistributedGround, run: DagRun) -> None:
    """
    A triggerer with 500 waits is stopped (SIGTERM), which cancels nothing, and the other resumes them;
    then their Dag run is marked failed, which cancels each job once.
    """
    # Deferred tasks take no slot of it. Its tasks are scheduled as soon as it is there.
    pool = {"name": FEW, "slots": FEW_SLOTS, "include_deferred": False}
    ground.airflow.api.call("POST", "/pools", pool)
    with ground.one_triggerer() as triggerer:
        jobs = _until_started(ground, run, MANY)
        _until_polled(ground, jobs)
        assert ground.airflow.waits(triggerer) >= MANY
    triggerer.terminate()
    triggerer.wait(TIMEOUT_SECONDS)
    _until_polled(ground, jobs, len(ground.journal()))
    _assert_none_cancelled(ground, jobs)
    triggerer.restart()
    ground.airflow.wait_until_healthy()

    run.set_state("failed")

    until(
        lambda: ground.counts("stop").keys() >= set(jobs),
        within=TIMEOUT_SECONDS,
        what="the cancellation of all jobs",
    )
    assert ground.jobs_of_dag(run.dag_id) == dict.fromkeys(jobs, "Stopped")


def _let_pass(seconds: float) -> None:
    """Wait for a time, where it is what the row is about."""
    over = time.monotonic() + seconds
    until(lambda: time.monotonic() > over, within=2 * seconds, what="the end of a time")


def _until_started(ground: DistributedGround, run: DagRun, count: int) -> list[str]:
    """Wait until a Dag has started so many jobs, and return their ids."""
    return until(
        lambda: jobs if len(jobs := list(ground.jobs_of_dag(run.dag_id))) >= count else None,
        within=TIMEOUT_SECONDS,
        what=f"{count} jobs of {run.dag_id}",
    )


def _until_polled(ground: DistributedGround, jobs: Iterable[str], since: int = 0, times: int = 1) -> None:
    """Wait until each job was asked for so often, since so many requests."""
    wanted = set(jobs)

    def polled() -> bool:
        counts = ground.counts("get", since)
        return all(counts[job] >= times for job in wanted)

    until(polled, within=TIMEOUT_SECONDS, what=f"{times} polls of each of {len(wanted)} jobs")


def _until_states(run: DagRun, state: str, count: int) -> None:
    """Wait until so many task instances of a run are in a state."""
    until(
        lambda: sum(task["state"] == state for task in run.tasks()) >= count,
        within=TIMEOUT_SECONDS,
        what=f"{count} {state} tasks of {run.dag_id}",
    )


def _finish_all(ground: DistributedGround, run: DagRun) -> bool:
    """Let everything that a run waits for end well."""
    mine = {*ground.jobs_of_dag(run.dag_id), *sensor_jobs(), SERVING}
    for kind, resources in ground.cluster.overview()["kinds"].items():
        for resource in resources:
            if resource["id"] in mine and resource["status"] in ("InProgress", "Creating"):
                ground.cluster.finish(kind, resource["id"])
    return True


def _events(ground: DistributedGround) -> Counter[str]:
    """Return how many asset events each watched job has; none where Airflow can't tell just now."""
    try:
        events = ground.airflow.api.call("GET", "/assets/events?limit=100")["asset_events"]
    except HTTPError as error:
        # Airflow 3.3.2 answers 500 while a run that an event has created is queued, and so has no start.
        if error.code != 500:
            raise
        return Counter()
    return Counter(job for event in events for job in set(re.findall(r"watched-\d+", str(event["extra"]))))


def _until_events(ground: DistributedGround, jobs: Iterable[str]) -> Counter[str]:
    """Wait until each job has an asset event, and return how many each has."""
    wanted = set(jobs)

    def events() -> Counter[str] | None:
        found = _events(ground)
        return found if found.keys() >= wanted else None

    return until(events, within=TIMEOUT_SECONDS, what=f"events of {len(wanted)} jobs")


def _assert_none_cancelled(ground: DistributedGround, jobs: Iterable[str]) -> None:
    stopped = ground.counts("stop")
    assert not [job for job in jobs if stopped[job]]
