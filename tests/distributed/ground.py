"""The cluster and the distributed Airflow of a session, and how rows of docs/reliability.md run on them."""

from __future__ import annotations

import json
import shutil
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_neptune_ml.kinds import ALL_KINDS
from airflow_provider_neptune_ml.simulator import Simulator
from airflow_provider_neptune_ml.simulator.auth import EXAMPLE_CREDENTIAL
from dev.processes import stop
from dev.rest_api import DagRun, until
from tests.distributed.airflow import DistributedAirflow
from tests.distributed.waits import WATCHED, sensor_jobs
from tests.system.reliability import TIMEOUT_SECONDS, Ground

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from airflow_provider_neptune_ml.simulator.journal import Request
    from dev.processes import OwnedProcess

TESTS = Path(__file__).parents[1]
DAGS = (TESTS / "system" / "reliability_dags", TESTS / "distributed" / "dags")
AWS_CONNECTION = {
    "conn_type": "aws",
    "login": EXAMPLE_CREDENTIAL.access_key,
    "password": EXAMPLE_CREDENTIAL.secret_key,
}


class DistributedGround(Ground):
    """
    A cluster with IAM authentication, and an Airflow of many processes.

    :param home: A folder for what both write.
    :param settings: Of the cluster, over those that the rows need.
    :param env: Further environment variables of Airflow.
    :param numbers: How many there are of each component: `schedulers`, `workers`, `triggerers`.
    """

    airflow: DistributedAirflow

    def __init__(
        self,
        home: Path,
        *,
        settings: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
        **numbers: int,
    ) -> None:
        # A stopped job has stopped at once, and goes on until then.
        self._settings: dict[str, Any] = {
            "clock": "manual",
            "iam_auth": True,
            "durations": {kind: {"stop": 0} for kind in ALL_KINDS},
            "state_file": str(home / "cluster.json"),
            "journal_size": 1_000_000,
            **(settings or {}),
        }
        self._earlier: list[Request] = []
        cluster = Simulator(**self._settings)
        cluster.start()
        cluster.seed("dataprocessing", "data")
        cluster.seed("modeltraining", "model")
        for job in (*sensor_jobs(), *WATCHED):
            cluster.seed("modeltraining", job, status="InProgress")
        for folder in DAGS:
            shutil.copytree(folder, home / "dags", dirs_exist_ok=True)
        env = {
            "AIRFLOW_CONN_NEPTUNE_ML_DEFAULT": json.dumps(cluster.connection),
            "AIRFLOW_CONN_AWS_DEFAULT": json.dumps(AWS_CONNECTION),
        }
        super().__init__(
            cluster, DistributedAirflow(home / "airflow", dags=home / "dags", env=env, **numbers)
        )

    def restart_cluster(self) -> None:
        """End the service and start it again, with its resources."""
        self.cluster.stop()
        self._earlier += self.cluster.journal
        self.cluster = Simulator(**self._settings, port=self.cluster.port)
        self.cluster.start()

    @contextmanager
    def one_triggerer(self) -> Iterator[OwnedProcess]:
        """Have but one triggerer, which gets all waits, for as long as the context lasts."""
        first, *others = self.airflow.all("triggerer")
        stop(others)
        yield first
        for process in others:
            process.start()
        self.airflow.wait_until_healthy()

    def wait_for_lingering(self) -> None:
        """Wait until a task goes on running though its wait is over, see the Dags."""
        until(self._mark.exists, within=TIMEOUT_SECONDS, what="a task that lingers")

    def end_lingering(self) -> None:
        """Let that task end."""
        self._mark.unlink()

    @property
    def _mark(self) -> Path:
        return self.airflow.home / "lingers"

    def journal(self) -> list[Request]:
        """Return all requests, those before restarts of the service too."""
        return self._earlier + self.cluster.journal


@contextmanager
def distributed_ground(home: Path, **options: Any) -> Iterator[DistributedGround]:
    """
    Have a cluster and an Airflow for as long as the context lasts.

    :param home: A folder for what both write.
    :param options: Those of :class:`DistributedGround`.
    """
    ground = DistributedGround(home, **options)
    try:
        with ground.airflow:
            yield ground
    finally:
        ground.cluster.stop()


@dataclass(frozen=True)
class Result:
    """
    How a row went, once or several times.

    :param started: How many jobs were started each time, as far as it held; as text, such as "1".
    :param errors: What went wrong, for each time that the row did not hold.
    :param times: How often it was tried.
    """

    counts: frozenset[str]
    errors: tuple[str, ...]
    times: int

    @property
    def held(self) -> int:
        """How often the row held."""
        return self.times - len(self.errors)


class Rows:
    """
    Run rows and remember how they went.

    :param ground: Where.
    :param tell: What is called with a line when a row has ended.
    """

    def __init__(self, ground: Ground, tell: Callable[[str], None] = print) -> None:
        self._ground = ground
        self._tell = tell
        self.results: dict[str, Result] = {}

    def run(
        self, rows: Mapping[str, Callable[[Any, DagRun], None]], *, at_once: int = 1, times: int = 1
    ) -> None:
        """
        Run rows.

        :param rows: The rows by name, which is that of their Dag.
        :param at_once: How many run at the same time.
        :param times: How often each runs.
        """
        with ThreadPoolExecutor(at_once) as pool:
            tries = {
                name: [pool.submit(self._try, row, alone=times == 1) for _ in range(times)]
                for name, row in rows.items()
            }
            for name, futures in tries.items():
                ended = [future.result() for future in futures]
                errors = tuple(error for _, error in ended if error)
                self.results[name] = Result(
                    frozenset(count for count, error in ended if not error), errors, times
                )
                self._tell(f"{time.strftime('%H:%M:%S')}  {name} held {self.results[name].held} of {times}")
                for error in errors:
                    self._tell(error)

    def _try(self, row: Callable[[Any, DagRun], None], *, alone: bool) -> tuple[str, str]:
        try:
            run = self._ground.airflow.api.trigger(row.__name__)
            row(self._ground, run)
        except Exception:  # whatever it is, the other rows go on
            return "", traceback.format_exc()
        jobs = self._ground.jobs_of_dag(run.dag_id) if alone else self._ground.jobs(run)
        stopped = self._ground.counts("stop")
        return f"{len(jobs)} / {sum(stopped[job] for job in jobs)}", ""
