"""A real Airflow, its use of the machine, and the waits that run in it."""

from __future__ import annotations

import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.usage import cpu_seconds, task_states, workers_started
from dev.local_airflow import LocalAirflow
from dev.rest_api import DagRun, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.cluster import Cluster

TRIGGERER, DEFERRABLE, PEER = "triggerer", "deferrable", "peer"
INTERVAL_SECONDS = 5
# No multiple of the interval, so that the jobs end at all points of it; long enough for a worker to have
# started and ended before the next one on a small machine.
_BETWEEN_ENDS_SECONDS = 3
_TIMEOUT_SECONDS = 300
_SETTLE_SECONDS = 5
_DAGS = Path(__file__).with_name("dags")
_ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Waited:
    """
    What some waits took.

    :param cpu_seconds: CPU seconds of all of Airflow over the Dag run, its idle use taken off.
    :param workers: worker processes that were started.
    :param late_seconds: for each wait the time from its job's end to the start of the task behind it.
    """

    cpu_seconds: float
    workers: int
    late_seconds: list[float]


class WaitingAirflow:
    """
    An Airflow with the benchmarks' Dags.

    :param airflow: where they are.
    :param cluster: where their jobs are.
    """

    def __init__(self, airflow: LocalAirflow, cluster: Cluster) -> None:
        self._airflow = airflow
        self._cluster = cluster
        self.idle_share = 0.0

    def measure_idle(self, seconds: float) -> None:
        """Find out what share of a core Airflow uses with nothing to do."""
        time.sleep(_SETTLE_SECONDS)
        cpu, wall = cpu_seconds(self._airflow), time.monotonic()
        time.sleep(seconds)
        self.idle_share = (cpu_seconds(self._airflow) - cpu) / (time.monotonic() - wall)

    def wait_at_once(self, way: str, waits: int) -> Waited:
        """Run the waits and end all their jobs at once."""
        ids = self._cluster.run_jobs(way, waits)
        cpu, wall, workers = cpu_seconds(self._airflow), time.monotonic(), workers_started(self._airflow)
        run = self._defer(way)
        for id_ in ids:
            self._cluster.finish(id_)
        self._end(run)
        time.sleep(_SETTLE_SECONDS)
        used = cpu_seconds(self._airflow) - cpu - self.idle_share * (time.monotonic() - wall)
        return Waited(used, workers_started(self._airflow) - workers, [])

    def wait_followed(self, way: str, waits: int) -> Waited:
        """Run the waits that a task follows, and end their jobs one after the other."""
        ids = self._cluster.run_jobs(way, waits)
        run = self._defer(f"{way}_followed")
        ends = []
        for id_ in ids:
            ends.append(time.time())
            self._cluster.finish(id_)
            time.sleep(_BETWEEN_ENDS_SECONDS)
        self._end(run)
        starts = {task["task_id"]: task["start_date"] for task in run.tasks()}
        late = [_seconds(starts[f"after_{number:03}"]) - end for number, end in enumerate(ends)]
        return Waited(0.0, 0, late)

    def _defer(self, dag_id: str) -> DagRun:
        """Start a run and return when all of its waits wait, and have polled."""
        run = self._airflow.api.trigger(dag_id)
        self._until(
            lambda: self._states(run, "wait_") == {"deferred"}, f"the waits of {dag_id} to be deferred"
        )
        time.sleep(2 * INTERVAL_SECONDS)
        return run

    def _end(self, run: DagRun) -> None:
        self._until(lambda: self._states(run) == {"success"}, f"the tasks of {run.dag_id} to succeed")

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        def fulfilled() -> bool:
            self._airflow.check()
            return condition()

        until(fulfilled, within=_TIMEOUT_SECONDS, what=what)

    def _states(self, run: DagRun, prefix: str = "") -> set[str | None]:
        states = task_states(self._airflow, run.dag_id, run.run_id)
        if bad := [name for name, state in states.items() if state in ("failed", "up_for_retry")]:
            raise RuntimeError(f"{run.dag_id}.{bad[0]} failed:\n{run.log(bad[0])}")
        return {state for name, state in states.items() if name.startswith(prefix)}


@contextmanager
def waiting_airflow(cluster: Cluster, *, at_once: int, followed: int) -> Iterator[WaitingAirflow]:
    """Run an Airflow whose LocalExecutor has room for all waits at once."""
    environment = {
        **cluster.connections,
        "AIRFLOW__CORE__PARALLELISM": str(max(at_once, followed)),
        "BENCHMARK_AT_ONCE": str(at_once),
        "BENCHMARK_FOLLOWED": str(followed),
        "BENCHMARK_INTERVAL": str(INTERVAL_SECONDS),
        "PYTHONPATH": str(_ROOT),
    }
    with (
        tempfile.TemporaryDirectory(prefix="neptune-ml-bench-") as home,
        LocalAirflow(Path(home), dags=_DAGS, env=environment) as airflow,
    ):
        yield WaitingAirflow(airflow, cluster)


def _seconds(moment: str) -> float:
    # Python 3.10 reads no Z.
    return datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp()
