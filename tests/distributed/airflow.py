"""An Airflow as in production: CeleryExecutor, PostgreSQL and Redis, and more than one of each component."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from datetime import datetime
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import kombu.pools
import psutil
import redis
from celery import Celery
from kombu.exceptions import OperationalError

from dev.local_airflow import LocalAirflow, free_ports
from dev.processes import OwnedProcess
from dev.rest_api import DagRun, until
from tests.distributed import hostname
from tests.distributed.servers import Postgres, Redis, version
from tests.distributed.waits import HELD

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

# How long Airflow takes to miss a component or a worker that is lost. A triggerer of 3.3 is silent for up to
# 37 s on a busy machine, when it looks a connection up for the first time: long enough for that.
MISSED_SECONDS = 60
START_SECONDS = 300
SETTINGS = {
    "CORE__EXECUTOR": "CeleryExecutor",
    "CORE__PARALLELISM": 32,
    "CORE__MAX_ACTIVE_RUNS_PER_DAG": 100,
    "CORE__MAX_ACTIVE_TASKS_PER_DAG": 1000,
    "CORE__HOSTNAME_CALLABLE": f"{hostname.__name__}.{hostname.own_hostname.__name__}",
    "DATABASE__SQL_ALCHEMY_POOL_SIZE": 20,
    "CELERY__WORKER_CONCURRENCY": 16,
    "CELERY__OPERATION_TIMEOUT": 30,
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": MISSED_SECONDS,
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": 5,
    "SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": MISSED_SECONDS,
    "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": 10,
    # What Redis has lost is queued again after this time, instead of 10 minutes. So few tasks are queued at
    # once that none takes as long for another reason.
    "SCHEDULER__TASK_QUEUED_TIMEOUT": 180,
    "SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": 10,
    "TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": MISSED_SECONDS,
    "TRIGGERER__RUNNER_HEALTH_CHECK_THRESHOLD": 2 * MISSED_SECONDS,
    "TRIGGERER__CAPACITY": 5000,
    "WORKERS__MIN_HEARTBEAT_INTERVAL": 5,
    # Each look of an API server that is out of breath would be one more thing for it to do.
    "WORKERS__EXECUTION_API_TIMEOUT": 60,
}
# Airflow imports this as each component starts. A task is a fork of its worker, and need not import again
# what that has imported.
PRELOADED = """\
import airflow.sdk.execution_time.task_runner
import airflow_provider_neptune_ml.hooks.neptune_ml
"""


class DistributedAirflow(LocalAirflow):
    """
    A :class:`LocalAirflow` whose components are several, with hostnames of their own.

    All share one folder for logs, so that no log server listens.

    :param home: A folder of its own: all logs.
    :param dags: The folder with the Dag files.
    :param env: Further environment variables, such as `AIRFLOW_CONN_...`.
    :param schedulers: How many there are.
    :param workers: How many there are.
    :param triggerers: How many there are.
    """

    def __init__(
        self,
        home: Path,
        *,
        dags: Path,
        env: Mapping[str, str],
        schedulers: int = 2,
        workers: int = 2,
        triggerers: int = 2,
    ) -> None:
        settings = {f"AIRFLOW__{name}": str(value) for name, value in SETTINGS.items()}
        super().__init__(home, dags=dags, env={**settings, **env})
        self._numbers = {"scheduler": schedulers, "worker": workers, "triggerer": triggerers}
        self._ports = free_ports(2)

    def _start_database(self) -> None:
        (self.home / "config").mkdir()
        (self.home / "config" / "airflow_local_settings.py").write_text(PRELOADED)
        postgres_port, redis_port = self._ports
        self.postgres = Postgres(
            postgres_port, env=self.env, log=self.home / "postgresql.log", guardian=self._guardian
        )
        self._cleanup.callback(self.postgres.remove)
        self.postgres.create()
        self.redis = Redis(redis_port, env=self.env, log=self.home / "redis.log", guardian=self._guardian)
        self._cleanup.callback(self.redis.stop)
        self.redis.start()
        url = self.postgres.url.removeprefix("postgresql")
        self.env["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = f"postgresql+psycopg2{url}"
        self.env["AIRFLOW__CELERY__RESULT_BACKEND"] = f"db+postgresql+psycopg2{url}"
        self.env["AIRFLOW__CELERY__BROKER_URL"] = self.redis.url

    def _is_writable(self) -> bool:
        return True  # PostgreSQL has locks of rows

    def _commands(self) -> dict[str, tuple[str, ...]]:
        commands = {
            "scheduler": ("scheduler",),
            "worker": ("celery", "worker", "--skip-serve-logs", "--queues", f"default,{HELD}"),
            "triggerer": ("triggerer", "--skip-serve-logs"),
        }
        several = {
            f"{component}-{number + 1}": commands[component]
            for component, count in self._numbers.items()
            for number in range(count)
        }
        return {"api-server": ("api-server",), "dag-processor": ("dag-processor",), **several}

    def _process(self, name: str, *arguments: str) -> OwnedProcess:
        if arguments[:2] == ("celery", "worker"):
            arguments = (*arguments, "--celery-hostname", name)
        return OwnedProcess(
            name,
            [sys.executable, "-m", "airflow", *arguments],
            env={**self.env, hostname.VARIABLE: name},
            log=self.home / f"{name}.log",
            guardian=self._guardian,
        )

    def wait_until_healthy(self, *, within: float = START_SECONDS) -> None:
        """Wait until all components are there, the workers among them; see also :meth:`check`."""
        super().wait_until_healthy(within=within)
        until(self._all_run, within=within, what=f"all components; their logs are in {self.home}")

    def _all_run(self) -> bool:
        self.check()
        return self._is_complete()

    def _is_complete(self) -> bool:
        alive = self._registered() | self._answering_workers()
        return all(process.name in alive for name in self._numbers for process in self.all(name))

    def _registered(self) -> set[str]:
        """Return the schedulers and triggerers that have been there since their processes began."""
        jobs = self.api.call("GET", "/jobs?is_alive=true&limit=100&order_by=-start_date")["jobs"]
        began = {
            name: psutil.Process(process.pid).create_time()
            for name, process in self.processes.items()
            if process.exit_code is None
        }
        return {
            job["hostname"]
            for job in jobs
            if job["state"] == "running"
            and _seconds(job["start_date"]) >= began.get(job["hostname"], float("inf"))
        }

    def _answering_workers(self) -> set[str]:
        return {name.split("@")[1] for reply in self._control("ping") for name in reply}

    def _control(self, command: str, *arguments: str) -> list[dict[str, Any]]:
        options = {} if command == "ping" else {"reply": True}
        try:
            with Celery(broker=self.redis.url) as celery:
                replies: list[dict[str, Any]] = getattr(celery.control, command)(
                    *arguments, timeout=5, **options
                )
                return replies
        except (OperationalError, redis.ConnectionError):  # Redis is away, or was
            return []
        finally:
            # One for the whole process, with connections that a restart of Redis has closed.
            kombu.pools.reset()

    @contextmanager
    def held(self, queue: str) -> Iterator[None]:
        """Have no worker look at a queue, for as long as the context lasts."""
        self._tell_workers("cancel_consumer", queue)
        try:
            yield
        finally:
            self._tell_workers("add_consumer", queue)

    def _tell_workers(self, command: str, queue: str) -> None:
        until(
            lambda: len(self._control(command, queue)) == len(self.all("worker")),
            within=START_SECONDS,
            what=f"all workers to answer {command}",
        )

    @contextmanager
    def supervised(self) -> Iterator[None]:
        """
        Start again whatever ends, as an operator or systemd would, for as long as the context lasts.

        A component ends seconds after it lost its database. At the end of the context all are there.
        """
        over = Event()

        def supervise() -> None:
            while not over.wait(1):
                for process in self.processes.values():
                    if process.exit_code is not None:
                        process.restart()

        thread = Thread(target=supervise)
        thread.start()
        try:
            yield
            until(
                lambda: set(self.api.health().values()) == {"healthy"} and self._is_complete(),
                within=START_SECONDS,
                what=f"all components; their logs are in {self.home}",
            )
        finally:
            over.set()
            thread.join()

    def triggerer_of(self, run: DagRun, task_id: str) -> OwnedProcess:
        """Return the triggerer in which a deferred task waits."""
        job = until(
            lambda: run.task(task_id)["triggerer_job"],
            within=START_SECONDS,
            what=f"a triggerer for {task_id}",
        )
        return self.processes[job["hostname"]]

    def triggerer_of_watchers(self) -> OwnedProcess:
        """Return the triggerer that has the one asset watcher."""
        name = until(
            lambda: self.postgres.execute(
                "SELECT job.hostname FROM trigger JOIN job ON job.id = trigger.triggerer_id"
                " WHERE trigger.classpath LIKE '%EventTrigger'"
            ),
            within=START_SECONDS,
            what="a triggerer to take the watcher up",
        )
        return self.processes[str(name)]

    def waits(self, triggerer: OwnedProcess) -> int:
        """Return how many triggers a triggerer has."""
        count: Any = self.postgres.execute(
            "SELECT count(*) FROM trigger JOIN job ON job.id = trigger.triggerer_id"
            f" WHERE job.hostname = '{triggerer.name}'"
        )
        return int(count)

    def completed_triggers(self, run: DagRun, triggerer_id: int) -> set[str]:
        """Return the tasks of a run whose trigger a triggerer has let go of, in their first try."""
        folder = self.home / "logs" / f"dag_id={run.dag_id}" / f"run_id={run.run_id}"
        logs = folder.glob(f"task_id=*/attempt=1.log.trigger.{triggerer_id}.log")
        # The last of them can be missing: Airflow closes the file when it has seen the trigger's end.
        ends = ("trigger completed", "Trigger fired event", "continues in another process")
        return {
            log.parent.name.removeprefix("task_id=")
            for log in logs
            if any(end in log.read_text() for end in ends)
        }

    @contextmanager
    def second_triggerer(self) -> Iterator[None]:
        """Do nothing: there is one."""
        yield

    def versions(self) -> dict[str, str]:
        """Return the versions of what runs here, by name."""
        return {
            "Airflow": version("apache-airflow"),
            "Celery": version("celery"),
            "its provider": version("apache-airflow-providers-celery"),
            "PostgreSQL": self.postgres.version(),
            "Redis": self.redis.version(),
        }


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp()
