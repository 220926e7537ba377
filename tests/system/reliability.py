"""Where docs/reliability.md is proved: a simulated cluster, a real Airflow, and what may happen to them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, TypeVar

import psutil

from airflow_provider_neptune_ml.kinds import ALL_KINDS, EXPORT
from airflow_provider_neptune_ml.operators.ownership import ids_of
from airflow_provider_neptune_ml.simulator import Fault
from dev.local_airflow import AIRFLOW
from dev.rest_api import until

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from airflow_provider_neptune_ml.simulator import Simulator
    from airflow_provider_neptune_ml.simulator.journal import Request
    from dev.local_airflow import LocalAirflow
    from dev.rest_api import DagRun

T = TypeVar("T")

# When a test gives up.
TIMEOUT_SECONDS = 240
# Where exports go, each below the names of its Dag and task.
EXPORTS = "s3://bucket/exports"
PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"


def rows_of_page(heading: str) -> dict[str, list[str]]:
    """
    Return the rows of a section of docs/reliability.md: the other cells by the name in the first.

    :param heading: What the section's heading begins with.
    """
    [section] = re.findall(rf"^#+ {heading}.*?(?=^#|\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return {
        name: [cell.strip() for cell in cells.split("|")]
        for name, cells in re.findall(r"^\| `(\w+)` \|(.*)\|$", section, re.MULTILINE)
    }


def words_of(row: Callable[..., None]) -> str:
    """Return what a row's docstring says, in one line."""
    return " ".join((row.__doc__ or "").split())


class Ground:
    """
    A cluster and an Airflow that works with it; what holds is read from the cluster.

    :param cluster: Its clock is stopped: a job goes on until it is ended from here.
    :param airflow: What runs the tasks.
    """

    def __init__(self, cluster: Simulator, airflow: LocalAirflow) -> None:
        self.cluster = cluster
        self.airflow = airflow

    def journal(self) -> list[Request]:
        """Return all requests."""
        return self.cluster.journal

    def jobs(self, run: DagRun, task_id: str = "job", map_index: int = -1) -> dict[str, str]:
        """Return the status of each job that a task instance started, by id and in order."""
        ti = SimpleNamespace(dag_id=run.dag_id, run_id=run.run_id, task_id=task_id, map_index=map_index)
        # What all of them have in them, see ADR 2.
        digest = next(ids_of(ti, 1, None)).split("-")[-2]
        return self._jobs(lambda job: f"-{digest}-" in job) | self._exports(f"{run.dag_id}/{task_id}/")

    def jobs_of_dag(self, dag_id: str) -> dict[str, str]:
        """Return the status of each job that a Dag started, by id and in order."""
        begin = re.sub(r"[^A-Za-z0-9]+", "-", f"{dag_id}-").lstrip("-")
        return self._jobs(lambda job: job.startswith(begin)) | self._exports(f"{dag_id}/" if dag_id else "")

    def _jobs(self, is_meant: Callable[[str], bool]) -> dict[str, str]:
        return {
            job["id"]: job["status"]
            for kind, jobs in self.cluster.overview()["kinds"].items()
            for job in jobs
            if kind != EXPORT.name and is_meant(job["id"])
        }

    def _exports(self, path: str) -> dict[str, str]:
        """Return the exports below a path: the service gives their ids, which name no task."""
        return {
            job["id"]: job["status"]
            for job in self.cluster.overview()["kinds"][EXPORT.name]
            if job["stages"][0]["output"].startswith(f"{EXPORTS}/{path}")
        }

    def counts(self, verb: str, since: int = 0) -> Counter[str]:
        """
        Return how often something was asked of each job, and not refused.

        :param verb: Of the operation: `get` or `stop`.
        :param since: How many requests are left out, which came first.
        """
        operations = {getattr(kind, f"{verb}_operation") for kind in ALL_KINDS.values()}
        return Counter(
            call.id
            for call in self.journal()[since:]
            if call.operation in operations and call.status == 200 and call.id
        )

    def requests(self, job: str, verb: str) -> int:
        """Return how often something was asked of a job, and not refused, see :meth:`counts`."""
        return self.counts(verb)[job]

    def new_job(self, run: DagRun, task_id: str = "job", *, known: Collection[str] = ()) -> str:
        """Wait until a task has started a job that isn't known yet, and return the job's id."""
        return _until(
            lambda: next((job for job in self.jobs(run, task_id) if job not in known), None),
            f"a job of {run.dag_id}.{task_id}",
        )

    def wait_for_poll(self, job: str) -> None:
        """Wait until somebody asks how a job is doing, from now on."""
        before = self.requests(job, "get")
        _until(lambda: self.requests(job, "get") > before, f"a poll of {job}")

    def polled_job(self, run: DagRun, task_id: str = "job", *, known: Collection[str] = ()) -> str:
        """Wait until a task waits for a job that isn't known yet, and return the job's id."""
        job = self.new_job(run, task_id, known=known)
        self.wait_for_poll(job)
        return job

    def wait_for_stop(self, job: str) -> None:
        """Wait until a job was asked to stop."""
        _until(lambda: self.requests(job, "stop"), f"the cancellation of {job}")

    def finish(self, *jobs: str) -> None:
        """Let jobs end well."""
        kinds = {job["id"]: kind for kind, jobs in self.cluster.overview()["kinds"].items() for job in jobs}
        for job in jobs:
            self.cluster.finish(kinds[job], job)

    def state_at_end(self, run: DagRun) -> str:
        """Wait for the end of a run and return its state."""
        return run.wait(within=TIMEOUT_SECONDS)

    def worker(self, run: DagRun, task_id: str = "job") -> list[psutil.Process]:
        """Return the processes that a task runs in: its supervisor, and its own."""
        task = psutil.Process(run.task(task_id)["pid"])
        supervisor = task.parent()
        assert supervisor
        assert supervisor.pid not in [process.pid for process in self.airflow.processes.values()]
        return [supervisor, task]

    def kill_worker(self, run: DagRun, task_id: str = "job") -> None:
        """Kill a task and its supervisor with SIGKILL, as the loss of their machine would."""
        for process in self.worker(run, task_id):
            process.kill()

    def shut_worker_down(self, run: DagRun, task_id: str = "job") -> None:
        """Send a task's supervisor SIGTERM, as the eviction of its pod or a deploy would."""
        self.worker(run, task_id)[0].terminate()

    def wait_for_try(self, run: DagRun, number: int, task_id: str = "job") -> None:
        """Wait until a try of a task runs."""
        _until(
            lambda: run.task(task_id)["try_number"] == number and run.task(task_id)["state"] == "running",
            f"try {number} of {run.dag_id}.{task_id}",
        )

    def clear_running(self, run: DagRun) -> None:
        """Clear the running tasks of a run, the only one of its Dag."""
        if AIRFLOW == 3:
            run.clear(*run.task_states())
            return
        # The REST API of 2.11 says that it cleared a running task, but doesn't. The UI and this do.
        command = [sys.executable, "-m", "airflow", "tasks", "clear", "--yes", run.dag_id]
        subprocess.run(command, env=self.airflow.env, check=True, capture_output=True)

    def withhold_reply(self, operation: str) -> None:
        """Let the service carry out the next request of an operation and not answer it."""
        self.cluster.add_fault(Fault("slow", operation=operation, when="after", seconds=TIMEOUT_SECONDS))

    def wait_for_mark(self, moment: str) -> None:
        """Wait until a task hangs in the middle of a request, see the Dags."""
        mark = self.airflow.home / f"stands-at-{moment}"
        _until(mark.exists, f"a task that hangs at {moment}")


def _until(condition: Callable[[], T | None], what: str) -> T:
    return until(condition, within=TIMEOUT_SECONDS, what=what)
