"""The state file: what outlives the simulator's process, in a SQLite database."""

from __future__ import annotations

import fcntl
import json
import math
import os
import random
import sqlite3
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_neptune_ml.kinds import ALL_KINDS
from airflow_provider_neptune_ml.simulator.clock import END
from airflow_provider_neptune_ml.simulator.intake import check, hints, read_json
from airflow_provider_neptune_ml.simulator.resources import Resource

if TYPE_CHECKING:
    from collections.abc import Callable

_APPLICATION_ID = 0x4E4D4C53  # "NMLS": tells our files from other programs' databases
_VERSION = 2  # version 1 was a JSON file
_SCHEMA = (
    # One row: the simulated time at a real time, and how fast it runs. Later times follow from it, so a clock
    # is written when it starts or jumps, not with each change.
    "CREATE TABLE clock (now REAL NOT NULL, at REAL NOT NULL, rate REAL NOT NULL)",
    # The numbers give the order of creation.
    "CREATE TABLE resources (number INTEGER PRIMARY KEY, kind TEXT NOT NULL, id TEXT NOT NULL, "
    "data TEXT NOT NULL, UNIQUE (kind, id))",
    f"PRAGMA application_id = {_APPLICATION_ID}",
    f"PRAGMA user_version = {_VERSION}",
)
_MOST_NUMBER = 1 << 62
_TRIES = 5
_MOST_SECONDS_BETWEEN_TRIES = 0.1
_MOST_DETAIL = 200
_UNREADABLE = (sqlite3.Error, KeyError, RecursionError, TypeError, ValueError)


class Contents(NamedTuple):
    """
    What a state file holds.

    :param now: the simulated time, at this moment.
    :param resources: by the number that each was made with, in that order.
    """

    now: float
    resources: dict[int, Resource]


class StateFile:
    """
    Keep resources and clock in a file; each change writes one row, however many resources there are.

    What was written when a method returns survives the end of the process at any moment, by SIGKILL too.
    The file belongs to one simulator at a time: two locks of the operating system's are on it, which end with
    the process. SQLite's keeps other programs out, but ends early when this process opens and closes the file
    elsewhere, as a copy does; the other one doesn't.

    The callers see to it that one thread at a time is in here.

    :param path: the file; made when there is none.
    :param rate: simulated seconds per real second, as for the clock.
    """

    def __init__(self, path: str, rate: float) -> None:
        self._path = path
        self._rate = rate
        self._database: sqlite3.Connection | None = None
        self._close: Callable[[], None]

    @property
    def is_open(self) -> bool:
        """Whether the file is this simulator's at the moment."""
        return self._database is not None

    def open(self) -> Contents:
        """Lock and read the file; raise ValueError, with the file as it was, if it can't be used."""
        try:
            with ExitStack() as undo:
                undo.callback(_unlock, _lock_whole(self._path))
                database = _lock(self._path)
                undo.callback(database.close)
                contents = _read(database, is_stepped=not self._rate)
                _set_clock(database, contents.now, self._rate)
                self._close = undo.pop_all().close
        except _UNREADABLE as error:
            raise ValueError(f"state_file={self._path!r}: {_explain(error)}") from error
        self._database = database
        return contents

    def close(self) -> None:
        """Give the file free for others; nothing to do if it isn't open."""
        if self._database is not None:
            self._database = None
            self._close()

    def put(self, number: int, resource: Resource) -> None:
        """Take a resource in, in the place of one that had its id and is gone."""
        row = (number, resource.kind, resource.id, _dump(resource))
        self._write("INSERT OR REPLACE INTO resources VALUES (?, ?, ?, ?)", row)

    def update(self, resource: Resource) -> None:
        """Write a resource as it is now."""
        row = (_dump(resource), resource.kind, resource.id)
        self._write("UPDATE resources SET data = ? WHERE kind = ? AND id = ?", row)

    def set_clock(self, now: float) -> None:
        """Note that the clock jumped."""
        with self._opened as database:
            _set_clock(database, now, self._rate)

    def clear(self) -> None:
        """Remove all resources."""
        self._write("DELETE FROM resources", ())

    @property
    def _opened(self) -> sqlite3.Connection:
        if self._database is None:
            raise RuntimeError(f"state_file={self._path!r}: closed since the simulator was stopped; start it")
        return self._database

    def _write(self, statement: str, row: tuple[Any, ...]) -> None:
        with self._opened as database:  # commits
            database.execute(statement, row)


def _lock_whole(path: str) -> int:
    """Lock a file, which is made if there is none, until the descriptor that is returned is closed."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise sqlite3.OperationalError(error.strerror) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise sqlite3.OperationalError("database is locked") from None
    return descriptor


def _unlock(descriptor: int) -> None:
    fcntl.flock(descriptor, fcntl.LOCK_UN)  # a forked process may have the descriptor, and with it the lock
    os.close(descriptor)


def _lock(path: str) -> sqlite3.Connection:
    """Open a database, in a transaction, with a lock that lasts until it is closed or the process ends."""
    tries_left = _TRIES
    while True:
        # Threads take turns by the store's lock.
        database = sqlite3.connect(os.path.abspath(path), timeout=0, check_same_thread=False)
        try:
            # Said before the file is touched: SQLite then keeps its locks between transactions, and needs no
            # shared memory beside the WAL.
            database.execute("PRAGMA locking_mode = EXCLUSIVE")
            database.execute("BEGIN EXCLUSIVE")
            return database
        except sqlite3.Error as error:
            database.close()
            tries_left -= 1
            if not tries_left or not _is_locked(error):
                raise
        # Of two simulators that start at the same moment, each may have been in the other's way.
        time.sleep(random.uniform(0, _MOST_SECONDS_BETWEEN_TRIES))  # noqa: S311 - no secret


def _read(database: sqlite3.Connection, *, is_stepped: bool) -> Contents:
    """Check and read a locked database, or lay out an empty one; nothing is written before all is checked."""
    ((application,),) = database.execute("PRAGMA application_id")
    ((version,),) = database.execute("PRAGMA user_version")
    ((tables,),) = database.execute("SELECT count(*) FROM sqlite_master")
    if (application, version, tables) == (0, 0, 0):
        for statement in _SCHEMA:
            database.execute(statement)
    elif application != _APPLICATION_ID:
        raise ValueError("a database of another program")
    elif version != _VERSION:
        raise ValueError(f"version {version} instead of {_VERSION}")
    if database.execute("PRAGMA integrity_check(1)").fetchone() != ("ok",):
        raise ValueError("damaged")
    now, resources = _read_clock(database, is_stepped=is_stepped), _read_resources(database)
    gone = [number for number, resource in resources.items() if resource.gone and resource.gone <= now]
    database.executemany("DELETE FROM resources WHERE number = ?", ((number,) for number in gone))
    database.commit()
    # With WAL a change appends the pages it touches and rewrites nothing; the operating system keeps what was
    # appended when the process is killed. NORMAL waits for the disk only when the WAL is copied into the
    # database, every thousand pages; FULL would make the event loop wait at each change. So a power cut,
    # unlike a kill, may undo the latest changes; it never damages the file.
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    return Contents(now, {number: kept for number, kept in resources.items() if number not in gone})


def _read_clock(database: sqlite3.Connection, *, is_stepped: bool) -> float:
    row = database.execute("SELECT now, at, rate FROM clock WHERE rowid = 1").fetchone()
    if row is None:  # killed before the first time was noted
        return time.time()
    if not all(isinstance(value, float) and math.isfinite(value) for value in row):
        raise ValueError(f"clock: {row}")
    now, at, rate = map(float, row)
    if not 0 <= now <= END:
        raise ValueError(f"clock: {row}")
    reached = min(now + max(time.time() - at, 0.0) * rate, END)
    # A clock that is stepped by hand stands where it stood; any other is never behind real time.
    return reached if is_stepped else max(reached, time.time())


def _read_resources(database: sqlite3.Connection) -> dict[int, Resource]:
    resources = {}
    for number, kind, id_, data in database.execute("SELECT * FROM resources ORDER BY number"):
        try:
            if number < 0 or number > _MOST_NUMBER:  # or there would be none for the next
                raise ValueError(f"number {number}")
            resource = _parse(data)
            if (resource.kind, resource.id) != (kind, id_):
                raise ValueError(f"holds {resource.kind} {resource.id!r}")
        except _UNREADABLE as error:
            raise ValueError(f"{kind} {id_!r:.100}: {error}") from error
        resources[number] = resource
    return resources


def _set_clock(database: sqlite3.Connection, now: float, rate: float) -> None:
    with database:
        row = (now, time.time(), rate)
        database.execute("INSERT OR REPLACE INTO clock (rowid, now, at, rate) VALUES (1, ?, ?, ?)", row)


def _dump(resource: Resource) -> str:
    """Return a resource as JSON, or raise ValueError when that could not be read again."""
    text = json.dumps(resource.to_json())
    try:
        _parse(text)
    except _UNREADABLE as error:
        raise ValueError(f"{resource.kind} {resource.id!r}: not for a state file: {error}") from error
    return text


def _parse(text: str) -> Resource:
    data = read_json(text, parse_constant=_read_constant)
    if not isinstance(data, dict):
        raise TypeError("not an object")
    types = hints(Resource)
    if data.keys() != types.keys():
        raise ValueError(f"members {', '.join(sorted(data.keys() ^ types.keys()))}")
    check(data, types)
    if not 0 <= data["created"] <= END:
        raise ValueError(f"created={data['created']}")
    resource = Resource.from_json(data)
    members = {stage.member for stage in ALL_KINDS[resource.kind].stages}
    if not resource.runs or not members.issuperset(run.member for run in resource.runs):
        raise ValueError("its stages")
    return resource


def _read_constant(word: str) -> float:
    if word == "NaN":  # compares with nothing: no clock would ever reach it
        raise ValueError("NaN")
    return float(word)  # a stage may last for ever


def _is_locked(error: Exception) -> bool:
    return isinstance(error, sqlite3.OperationalError) and "locked" in str(error)


def _explain(error: Exception) -> str:
    """Say in one line what is wrong with a file, and what to do."""
    detail = " ".join(str(error).split())[:_MOST_DETAIL]
    if _is_locked(error):
        return "another simulator uses it; stop that one, or name another file"
    if isinstance(error, sqlite3.OperationalError):
        return f"can't be used ({detail})"
    return f"not a state of this simulator or its version ({detail}); move it away, or name another file"
