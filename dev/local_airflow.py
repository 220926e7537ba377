"""A real Airflow on this machine: every component a process, everything else below one folder."""

from __future__ import annotations

import base64
import json
import os
import secrets
import socket
import sqlite3
import sys
import time
from contextlib import ExitStack, closing, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dev.processes import Guardian, OwnedProcess, stop
from dev.rest_api import DagRun, RestApi, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

AIRFLOW = int(version("apache-airflow").split(".")[0])
EXAMPLE_DAGS = Path(__file__).parents[1] / "example_dags"
CLUSTER_POLICY = Path(__file__).parent / "cluster_policy"
COMPONENTS = {
    2: ("scheduler", "triggerer", "webserver"),
    3: ("api-server", "scheduler", "dag-processor", "triggerer"),
}
DATABASE = "airflow.db"
START_SECONDS = 120
PROGRESS_SECONDS = 5.0
# A process that isn't hanging writes for less.
LOCK_SECONDS = 2.0


class LocalAirflow:
    """An Airflow with its scheduler, Dag processor, server and triggerer, for as long as the context lasts.

    Everybody who reaches the server is its admin, so it binds to loopback only.

    :param home: A folder of its own: configuration, database and all logs.
    :param dags: The folder with the Dag files.
    :param env: Further environment variables, such as `AIRFLOW_CONN_...`.
    :param connections: Connections by id, stored in Airflow's database before any Dag is read. The UI lists
        them, other than those of environment variables; storing them takes some seconds.
    :param progress: Called with what the start is doing.
    """

    def __init__(
        self,
        home: Path,
        *,
        dags: Path = EXAMPLE_DAGS,
        env: Mapping[str, str] | None = None,
        connections: Mapping[str, Mapping[str, Any]] | None = None,
        progress: Callable[[str], object] = str,
    ) -> None:
        self.home = home
        self.url, self.env = _configure(home, dags)
        self.env.update(env or {})
        self._connections = connections or {}
        self._progress = progress
        self._told = 0.0
        self.api = RestApi(self.url, version=AIRFLOW)
        self.processes: dict[str, OwnedProcess] = {}
        self._cleanup = ExitStack()

    def __enter__(self) -> LocalAirflow:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        if AIRFLOW == 2:
            (self.home / "webserver_config.py").write_text('AUTH_ROLE_PUBLIC = "Admin"\n')
        self._guardian = Guardian()
        self._cleanup.callback(self._guardian.close)
        self._start_database()
        self._tell("making its database")
        self._run("db", "db", "migrate")
        if self._connections:
            self._tell("storing the connection in it")
            file = self.home / "connections.json"
            file.write_text(json.dumps(self._connections))
            self._run("connections", "connections", "import", str(file))
        self.processes = {name: self._process(name, *command) for name, command in self._commands().items()}
        self._cleanup.callback(stop, list(self.processes.values()))
        # First the scheduler: its workers still report to the server when they end.
        self._cleanup.callback(stop, [*self.all("scheduler"), *self.all("worker")])
        self._tell(f"starting {', '.join(self.processes)}")
        for process in self.processes.values():
            process.start()
        self.wait_until_healthy()

    def _start_database(self) -> None:
        # Readers and a writer at the same time; Airflow 3 sets this itself, and it stays with the file.
        with closing(sqlite3.connect(self.home / DATABASE)) as database:
            database.execute("PRAGMA journal_mode=WAL")

    def _commands(self) -> dict[str, tuple[str, ...]]:
        """Return the arguments of each process that belongs to this Airflow, by its name."""
        commands: dict[str, tuple[str, ...]] = {name: (name,) for name in COMPONENTS[AIRFLOW]}
        if AIRFLOW == 3:
            # Tasks have an API server of their own. A server writes its audit log in its event loop. With
            # SQLite, that waits for the lock of another request, which waits for the event loop: after half a
            # minute, the database is locked for one of them.
            port = str(free_ports(1)[0])
            self.env["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] = f"http://127.0.0.1:{port}/execution/"
            commands["api-server-execution"] = ("api-server", "--apps", "execution", "--port", port)
        return commands

    def all(self, component: str) -> list[OwnedProcess]:
        """Return the processes of a component: none, one or several."""
        return [
            process
            for name, process in self.processes.items()
            if name == component or name.startswith(f"{component}-")
        ]

    def triggerer_of(self, run: DagRun, task_id: str) -> OwnedProcess:
        """Return the triggerer in which a deferred task waits."""
        [only] = self.all("triggerer")
        return only

    @contextmanager
    def second_triggerer(self) -> Iterator[None]:
        """Have a triggerer that takes over what the first one leaves, for as long as the context lasts."""
        process = self._process("second-triggerer", "triggerer", "--skip-serve-logs")
        process.start()
        try:
            yield
        finally:
            stop([process])

    @contextmanager
    def hanging(self, process: OwnedProcess) -> Iterator[None]:
        """Let a process hang for as long as the context lasts, but not with the database's lock.

        With that, nothing else would move either: other than other databases', it is one for all.
        """
        while True:
            with process.suspended():
                if self._is_writable():
                    yield
                    return

    def _is_writable(self) -> bool:
        with closing(sqlite3.connect(self.home / DATABASE, timeout=LOCK_SECONDS)) as database:
            try:
                database.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:  # locked
                return False
            return True

    def trigger_logs(self, dag_id: str) -> str:
        """Return what triggerers have logged for the tasks of a Dag."""
        logs = (self.home / "logs").glob(f"dag_id={dag_id}/**/*.trigger.*.log")
        return "\n".join(log.read_text() for log in logs)

    def _process(self, name: str, *arguments: str) -> OwnedProcess:
        command = [sys.executable, "-m", "airflow", *arguments]
        log = self.home / f"{name}.log"
        return OwnedProcess(name, command, env=self.env, log=log, guardian=self._guardian)

    def _run(self, name: str, *arguments: str) -> None:
        """Run a command of Airflow to its end."""
        command = self._process(name, *arguments)
        self._cleanup.callback(command.kill)
        command.start()
        what = f"airflow {' '.join(arguments)}"
        until(lambda: command.exit_code is not None, within=START_SECONDS, what=what)
        if command.exit_code:
            raise RuntimeError(f"{what} failed:\n{command.log_tail()}")

    def check(self) -> None:
        """Raise RuntimeError, with the end of its log, if a component has ended."""
        for process in self.processes.values():
            if process.exit_code is not None:
                raise RuntimeError(f"{process.name} ended with {process.exit_code}:\n{process.log_tail()}")

    def wait_until_healthy(self, *, within: float = START_SECONDS) -> None:
        """Wait until every component reports that it is healthy; see also :meth:`check`."""
        until(self._is_healthy, within=within, what=f"a healthy Airflow; its logs are in {self.home}")

    def _is_healthy(self) -> bool:
        self.check()
        health = self.api.health()
        missing = [name for name, status in (health or {"its server": ""}).items() if status != "healthy"]
        if missing and time.monotonic() > self._told + PROGRESS_SECONDS:
            self._tell(f"waiting for {', '.join(missing)}")
        return not missing

    def _tell(self, news: str) -> None:
        self._told = time.monotonic()
        self._progress(news)

    def stop(self) -> None:
        """End every component and all that they started.

        :raises RuntimeError: if anything survives.
        """
        self._cleanup.close()


def _configure(home: Path, dags: Path) -> tuple[str, dict[str, str]]:
    """Return the server's URL and the environment variables that are the whole configuration."""
    server, worker_logs, trigger_logs = free_ports(3)
    url = f"http://127.0.0.1:{server}"
    sections: dict[str, dict[str, object]] = {
        "core": {
            "dags_folder": dags,
            "load_examples": False,
            "dags_are_paused_at_creation": False,
            "executor": "LocalExecutor",
            "parallelism": 8,
            "fernet_key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            # The default looks the name up in the DNS, which takes seconds on some machines.
            "hostname_callable": "socket.gethostname",
            "simple_auth_manager_all_admins": True,
            "test_connection": "Enabled",
        },
        "database": {
            "sql_alchemy_conn": f"sqlite:///{home / DATABASE}?timeout=30",
            # The default of 15 is fewer than the requests that a busy Airflow's tasks make at once.
            "sql_alchemy_pool_size": 100,
        },
        "logging": {
            "base_log_folder": home / "logs",
            "worker_log_server_port": worker_logs,
            "trigger_log_server_port": trigger_logs,
            "colored_console_log": False,
        },
        "api": {
            "host": "127.0.0.1",
            "port": server,
            "base_url": url,
            "workers": 1,
            "secret_key": secrets.token_hex(32),
            "auth_backends": "airflow.api.auth.backend.default",
        },
        "api_auth": {"jwt_secret": secrets.token_hex(32)},
        "webserver": {
            "web_server_host": "127.0.0.1",
            "web_server_port": server,
            "base_url": url,
            "workers": 1,
            "secret_key": secrets.token_hex(32),
            "config_file": home / "webserver_config.py",
        },
        # Short intervals: a Dag of a few tasks should take seconds.
        "scheduler": {
            "scheduler_heartbeat_sec": 1,
            "scheduler_idle_sleep_time": 0.2,
            # On 2.11 a worker that has ended its task schedules the next ones. The row lock that keeps the
            # scheduler from doing the same is not in SQLite: such a task would start as its second try.
            "schedule_after_task_execution": False,
            "job_heartbeat_sec": 1,
            "trigger_timeout_check_interval": 1,
        },
        "triggerer": {"job_heartbeat_sec": 1},
        # Airflow 3 looks this often whether a task's process has ended. The default of 5 s for an answer
        # kills tasks on a slow machine, whose server has yet to warm up.
        "workers": {"min_heartbeat_interval": 1, "execution_api_timeout": 60},
        "usage_data_collection": {"enabled": False},
    }
    # Nothing of the user's own Airflow or AWS account, and no proxy between the components.
    env = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW_", "AWS_"))}
    env.update(NO_PROXY="127.0.0.1", no_proxy="127.0.0.1", AWS_EC2_METADATA_DISABLED="true")
    env["AIRFLOW_HOME"] = str(home)
    # The LocalExecutor of 2.11 starts its tasks with the `airflow` of the PATH.
    env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), env.get("PATH", os.defpath)])
    # Airflow 3 runs the LocalExecutor on SQLite as it is; 2.11 has this switch for tests.
    env["_AIRFLOW__SKIP_DATABASE_EXECUTOR_COMPATIBILITY_CHECK"] = "1"
    if dags == EXAMPLE_DAGS:
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(CLUSTER_POLICY), env.get("PYTHONPATH")]))
    for section, settings in sections.items():
        for key, value in settings.items():
            env[f"AIRFLOW__{section}__{key}".upper()] = str(value)
    return url, env


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on; held until all are found, so that they differ."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [listener.getsockname()[1] for listener in sockets]
