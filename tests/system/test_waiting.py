"""Sensors on a real triggerer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from urllib.request import urlopen

import pytest

from airflow_provider_neptune_ml.compat import CAN_RUN_WITHOUT_WORKER, TRIGGERER_TAKES_XCOMS
from airflow_provider_neptune_ml.kinds import MODEL_TRAINING
from airflow_provider_neptune_ml.links.neptune_ml import urls_of
from airflow_provider_neptune_ml.simulator import Fault, Simulator
from dev.local_airflow import LocalAirflow
from dev.rest_api import DagRun, until
from tests.cloudwatch import CloudWatch, moto_server

SUCCEEDING = {
    "deferred",
    "by_output",
    "by_pull",
    "by_params",
    "by_run",
    "by_macro",
    "by_text_macro",
    "by_previous",
    "by_mapped_pull",
    "with_outlets",
    "mapped",
}
FAILING = {"failed", "failed_without_worker", "skipped"}
ENDLESS = {"deferred": "endless-1", "without_worker": "endless-2"}
EXPIRED = "403 AccessDeniedException: The security token included in the request is expired"
GET = "GetMLModelTrainingJob"
WITHOUT_WORKER = {"by_output", "by_pull", "by_params", "by_run", "failed_without_worker", "skipped"}


@pytest.fixture(scope="module")
def account() -> Iterator[CloudWatch]:
    """The AWS account in which the jobs' logs are."""
    with moto_server() as server:
        yield server


@pytest.fixture(scope="module")
def cluster(account: CloudWatch) -> Iterator[Simulator]:
    """A simulated cluster with jobs that go on until a test ends them, and one that has completed."""
    with Simulator(clock="manual", journal_size=100_000, aws_endpoint_url=account.url) as simulator:
        for job_id in ("mine", "broken", *ENDLESS.values()):
            simulator.seed("modeltraining", job_id, status="InProgress")
        simulator.seed("modeltraining", "done", status="Completed")
        # Its log is written with the first reply; on Airflow 2, lines of a poke's last second may come twice.
        urlopen(f"{simulator.url}/ml/modeltraining/mine").close()
        yield simulator


@pytest.fixture(scope="module")
def airflow(
    cluster: Simulator, account: CloudWatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalAirflow]:
    """A real Airflow with the Dags of these tests."""
    env = {
        "AIRFLOW_CONN_AWS_DEFAULT": json.dumps(account.connection),
        "AIRFLOW_CONN_NEPTUNE_ML_DEFAULT": json.dumps(cluster.connection),
        # After so many seconds, instead of 30, the triggers of a killed triggerer are up for another.
        "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "10",
    }
    home = tmp_path_factory.mktemp("waiting") / "airflow"
    with LocalAirflow(home, dags=Path(__file__).parent / "dags", env=env) as started:
        yield started


@dataclass(frozen=True)
class Restart:
    """
    Waits in which the triggerer was killed and started again.

    :param run: of waits that end with their jobs.
    :param deadlines: of waits that end with their time.
    :param over_at: when the new triggerer had them all.
    :param links: those of a task that waited for a job under way.
    """

    run: DagRun
    deadlines: DagRun
    over_at: datetime
    links: dict[str, str]


@pytest.fixture(scope="module")
def restart(airflow: LocalAirflow, cluster: Simulator) -> Restart:
    """Wait, and in the middle kill the triggerer, start it again, and let its credentials expire."""
    run = airflow.api.trigger("waiting", {"job_id": "mine"})
    waiting = SUCCEEDING | FAILING
    until(
        lambda: all(state == "deferred" for task, state in run.task_states().items() if task in waiting),
        within=120,
        what="all sensors to wait in the triggerer",
    )
    deadlines = airflow.api.trigger("deadlines")
    until(lambda: _asked(cluster, 0), within=120, what="the first polls")
    links = until(lambda: _links_of_stage(run), within=120, what="links") if TRIGGERER_TAKES_XCOMS else {}
    airflow.processes["triggerer"].kill()
    seen = len(cluster.calls(GET))
    airflow.processes["triggerer"].start()
    until(lambda: _asked(cluster, seen), within=120, what="the new triggerer")
    over_at = datetime.now(timezone.utc)
    cluster.add_fault(Fault("expired_token", id="mine", times=None))
    # A wait that was taken over logs its first error within a minute.
    until(lambda: EXPIRED in _logs(run), within=180, what="credentials to expire")
    cluster.clear_faults()
    # Not before: older versions of Airflow can take a task whose trigger ends at once for lost.
    cluster.finish("modeltraining", "mine")
    cluster.fail("modeltraining", "broken", reason="AlgorithmError: no", stage="hpoJob")
    run.wait(within=300)
    deadlines.wait(within=300)
    return Restart(run, deadlines, over_at, links)


def _links_of_stage(run: DagRun) -> dict[str, str] | None:
    """Return the links of a deferred task once that of its stage is there: they are pushed one by one."""
    links = run.links("deferred")
    return links if "SageMaker processing job" in links else None


def _logs(run: DagRun) -> str:
    """Return the logs of the tasks that wait in the triggerer until their job has completed."""
    return "".join(run.log(task) for task in SUCCEEDING - {"mapped"})


def _asked(cluster: Simulator, seen: int) -> bool:
    """Tell whether every endless job was asked for since so many requests."""
    return {*ENDLESS.values()} <= {request.id for request in cluster.calls(GET)[seen:]}


@pytest.fixture(scope="module")
def run(restart: Restart) -> DagRun:
    """The run of waits that end with their jobs."""
    return restart.run


def test_states(run: DagRun) -> None:
    """Every sensor ends as its job did, through the restart of the triggerer."""
    states = run.task_states()

    assert {task: states[task] for task in SUCCEEDING} == dict.fromkeys(SUCCEEDING, "success")
    assert (states["failed"], states["failed_without_worker"], states["skipped"]) == (
        "failed",
        "failed",
        "skipped",
    )


def test_ended_before(run: DagRun) -> None:
    """What has ended before is not deferred."""
    log = run.log("ended_before")

    assert run.task_states()["ended_before"] == "success"
    assert "Model training job 'done' is Completed" in log
    assert "DEFERRED" not in log
    assert "Pausing task as DEFERRED" in run.log("deferred")


@pytest.mark.parametrize("task_id", ENDLESS)
def test_deadlines(restart: Restart, task_id: str) -> None:
    """A deadline stays where it was, and counts from the beginning, through the restart of the triggerer."""
    log = restart.deadlines.log(task_id)

    [task] = [task for task in restart.deadlines.tasks() if task["task_id"] == task_id]
    ended_at = datetime.fromisoformat(task["end_date"].replace("Z", "+00:00"))
    assert task["state"] == "failed"
    assert re.search(
        f"'{ENDLESS[task_id]}' timed out after 1 min( \\d+ s)? \\(.*timeout=\\d+\\): still InProgress", log
    ), log
    # A wait that had begun anew would have had its whole time from here.
    assert ended_at < restart.over_at + timedelta(seconds=60)


def test_expired_credentials(run: DagRun) -> None:
    """Credentials that expire are renewed in the triggerer, whose threads can look connections up."""
    logs = _logs(run)

    assert EXPIRED in logs
    assert "can't be renewed" not in logs


def test_descriptions(run: DagRun) -> None:
    """The description is the sensor's XCom, wherever the wait ended."""
    for task in SUCCEEDING - {"mapped"}:
        # The API has it as text, in Python's or in JSON's quotes.
        assert re.search(r"""["']status["']: *["']Completed["']""", str(run.xcom(task))), task


def test_links(restart: Restart, run: DagRun, cluster: Simulator) -> None:
    """The UI has the links while a task is deferred, and when its job has completed."""
    if TRIGGERER_TAKES_XCOMS:
        link = restart.links["SageMaker processing job"]
        assert link.startswith("https://console.aws.amazon.com/sagemaker/")
    assert_links(run, cluster, "mine", "deferred", "by_params")


def test_links_of_a_failure(run: DagRun, cluster: Simulator) -> None:
    """The UI has the links of a failed task as well, wherever it failed."""
    assert_links(run, cluster, "broken", "failed", "failed_without_worker")


def assert_links(run: DagRun, cluster: Simulator, job_id: str, *tasks: str) -> None:
    """Assert that tasks have all links that the description of their job leads to."""
    urls = urls_of(MODEL_TRAINING, cluster.describe("modeltraining", job_id))
    for task in tasks:
        assert sorted(run.links(task).values()) == sorted(urls.values()), task


def test_an_ended_job_is_not_retried(run: DagRun) -> None:
    """Retries don't help a sensor on a job that has ended."""
    [failed] = [task for task in run.tasks() if task["task_id"] == "failed"]

    assert failed["try_number"] == 1
    assert "'broken' ended as Failed in stage 'hyperparameter tuning': AlgorithmError: no" in run.log(
        "failed"
    )


@pytest.mark.parametrize("task_id", ["failed", "failed_without_worker"])
def test_a_failure_has_the_stages_last_lines(run: DagRun, task_id: str) -> None:
    """The failed stage's last lines are in the task's log, then the error, in worker and triggerer."""
    log = run.log(task_id)

    assert re.search(r"\[001-\w+/algo-1\] RuntimeError: AlgorithmError: no", log), log
    assert log.rindex("RuntimeError: AlgorithmError: no") < log.rindex("'broken' ended as Failed")


@pytest.mark.parametrize("task_id", ["deferred", "by_params", "rescheduled"])
def test_printed_log(run: DagRun, task_id: str) -> None:
    """The stages' lines are in the log of a task in the triggerer, and of a rescheduled one."""
    log = run.log(task_id)

    assert log.count("[algo-1] model transform: 10 of 10; reporting success") == 1, log
    # A triggerer that was killed in between may print it again.
    started = log.count("[algo-1] Starting processing-job mine-autotrainer-")
    assert started == 1 or task_id != "rescheduled", log


@pytest.mark.skipif(
    not CAN_RUN_WITHOUT_WORKER, reason="Airflow 3.3 is the first whose triggerer renders templates"
)
def test_no_worker(run: DagRun) -> None:
    """A wait that begins and ends in the triggerer was never on a worker; the others say why they were."""
    on_worker = {task["task_id"] for task in run.tasks() if task["pid"]}

    assert on_worker & (SUCCEEDING | FAILING) == (SUCCEEDING | {"failed", "skipped"}) - WITHOUT_WORKER
    assert "'broken' ended as Failed" in run.log("failed_without_worker")
    for task in ("by_macro", "by_text_macro", "by_previous"):
        assert "an argument can't be rendered in the triggerer" in run.log(task)
    assert "Completed on a worker, not from the trigger: outlets" in run.log("with_outlets")


@pytest.mark.skipif(CAN_RUN_WITHOUT_WORKER, reason="this Airflow can")
def test_too_old(run: DagRun) -> None:
    """An Airflow that can't begin in the triggerer defers from a worker and says so."""
    assert "Started on a worker, not from the trigger: that needs Airflow 3.3 or newer" in run.log(
        "by_params"
    )
