"""The state file, from the Python side; what needs processes is tested with the command line."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_neptune_ml.kinds import ENDPOINTS, MODEL_TRAINING, ResourceKind
from airflow_provider_neptune_ml.simulator import Simulator
from tests.simulator.steps import STARTS, call, get, refusal, start

if TYPE_CHECKING:
    from pathlib import Path

    from tests.simulator.conftest import ClientMaker

Edit = Callable[[dict[str, Any]], Any]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where there is no state file yet."""
    return tmp_path / "state"


def edit(path: Path, statement: str, *row: Any) -> None:
    """Change a state file behind the simulator's back."""
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(statement, row)


def edit_data(path: Path, change: Edit) -> None:
    """Change the one resource in a state file behind the simulator's back; a change returns JSON or data."""
    with closing(sqlite3.connect(path)) as database, database:
        ((text,),) = database.execute("SELECT data FROM resources")
        changed = change(json.loads(text))
        text = changed if isinstance(changed, (str, bytes)) else json.dumps(changed)
        database.execute("UPDATE resources SET data = ?", (text,))


def assert_refused(path: Path, text: str) -> None:
    """A file is refused in one line with its name and a text, and stays as it is."""
    before = path.read_bytes()
    with pytest.raises(ValueError, match="state_file=") as caught:
        Simulator(state_file=str(path))

    assert str(caught.value).startswith(f"state_file={str(path)!r}: ")
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_survives_a_restart(path: Path, make_client: ClientMaker, kind: ResourceKind) -> None:
    """With a state file a job goes on after a restart where it was."""
    first = Simulator(clock="manual", state_file=str(path))
    first.seed(kind.name, "ended")
    first.seed(kind.name, "going", kind.statuses.running)
    first.advance(10.0)
    described = first.describe(kind.name, "going")
    first.stop()

    with Simulator(clock="manual", state_file=str(path)) as second:
        assert second.now() >= first.now()
        assert second.describe(kind.name, "going") == described
        assert second.describe(kind.name, "ended")["status"] == kind.statuses.succeeded
        client = make_client(second)
        assert call(client, kind.stop_operation, id="going")
        assert (
            refusal(client, kind.start_operation, id="ended", **STARTS[kind.name])[1]
            == "InvalidParameterException"
        )


def test_stepped_clock_stands_still(path: Path) -> None:
    """A clock that is stepped by hand does not move while the simulator is down: no job ends meanwhile."""
    with Simulator(clock="manual", state_file=str(path)) as first:
        first.seed(MODEL_TRAINING.name, "going", MODEL_TRAINING.statuses.running)
        stood_at = first.now()
    with sqlite3.connect(path) as database:
        database.execute("UPDATE clock SET now = now - 86400, at = at - 86400")
    database.close()

    with Simulator(clock="manual", state_file=str(path)) as second:
        assert second.now() == stood_at - 86400
    with Simulator(state_file=str(path)) as real:
        assert real.now() >= stood_at


def test_each_change_survives(path: Path, make_client: ClientMaker) -> None:
    """Starts, updates, cancellations and what the control API does are all there after a restart."""
    with Simulator(clock="manual", state_file=str(path)) as simulator:
        client = make_client(simulator)
        start(client, simulator, MODEL_TRAINING, "started")
        start(client, simulator, MODEL_TRAINING, "stopped")
        call(client, MODEL_TRAINING.stop_operation, id="stopped")
        for id_ in ("failed", "finished", "killed", "odd"):
            simulator.seed(MODEL_TRAINING.name, id_, MODEL_TRAINING.statuses.running)
        simulator.fail(MODEL_TRAINING.name, "failed", reason="why not")
        simulator.finish(MODEL_TRAINING.name, "finished")
        simulator.stop_job(MODEL_TRAINING.name, "killed")
        simulator.set_status(MODEL_TRAINING.name, "odd", None)
        start(client, simulator, ENDPOINTS, "one")
        start(client, simulator, ENDPOINTS, "one", update=True)
        simulator.advance(5.0)
        before = _descriptions(simulator)
        ids = call(client, MODEL_TRAINING.list_operation)
    with Simulator(clock="manual", state_file=str(path)) as simulator:
        assert _descriptions(simulator) == before
        assert call(make_client(simulator), MODEL_TRAINING.list_operation) == ids


def test_deleted_and_made_anew(path: Path, make_client: ClientMaker) -> None:
    """An endpoint that is gone stays gone, and one that has its id since is listed as the younger one."""
    with Simulator(clock="manual", state_file=str(path)) as simulator:
        for id_ in ("gone", "again", "other"):
            simulator.seed(ENDPOINTS.name, id_, ENDPOINTS.statuses.running)
        simulator.stop_job(ENDPOINTS.name, "gone")
        simulator.stop_job(ENDPOINTS.name, "again")
        simulator.seed(ENDPOINTS.name, "again")
    with Simulator(clock="manual", state_file=str(path)) as simulator:
        assert call(make_client(simulator), ENDPOINTS.list_operation) == {"ids": ["again", "other"]}


def test_reset_survives(path: Path) -> None:
    """What was reset away doesn't come back."""
    with Simulator(state_file=str(path)) as simulator:
        simulator.seed(ENDPOINTS.name, "one")
        simulator.reset()
        simulator.seed(ENDPOINTS.name, "two")
    with Simulator(state_file=str(path)) as simulator:
        assert [shown["id"] for shown in simulator.overview()["kinds"][ENDPOINTS.name]] == ["two"]


def test_one_simulator_at_a_time(path: Path, make_client: ClientMaker) -> None:
    """A file is another simulator's after stop(), and read anew when its first one starts again."""
    first = Simulator(state_file=str(path))
    with first:
        with pytest.raises(ValueError, match=r"state_file='.*state': another simulator uses it"):
            Simulator(state_file=str(path))
        first.seed(ENDPOINTS.name, "one")
    with Simulator(state_file=str(path)) as second:
        with pytest.raises(ValueError, match="another simulator uses it"):
            first.start()
        second.seed(ENDPOINTS.name, "two")
    with first:
        assert get(make_client(first), ENDPOINTS, "two")


def test_links_to_one_file(path: Path) -> None:
    """A file is one however it is called."""
    with Simulator(state_file=str(path)):
        path.with_name("symbolic").symlink_to(path)
        path.with_name("hard").hardlink_to(path)
        for name in ("symbolic", "hard"):
            with pytest.raises(ValueError, match="another simulator uses it"):
                Simulator(state_file=str(path.with_name(name)))


def test_stopped_simulator_takes_no_change(path: Path) -> None:
    """A change that could not be kept is an error; what is there can still be looked at."""
    with Simulator(state_file=str(path)) as simulator:
        simulator.seed(ENDPOINTS.name, "one")
    with pytest.raises(RuntimeError, match=r"state_file='.*state': closed"):
        simulator.seed(ENDPOINTS.name, "two")

    assert simulator.describe(ENDPOINTS.name, "one")


def test_failed_start_leaves_the_file(path: Path, simulator: Simulator) -> None:
    """A simulator that can't listen doesn't keep its state file from the next one."""
    with pytest.raises(OSError, match="in use"):
        Simulator(port=simulator.port, state_file=str(path)).start()

    Simulator(state_file=str(path)).stop()


def test_value_that_could_not_be_read_back(path: Path) -> None:
    """A value that would make the file unreadable is refused when it is set."""
    with Simulator(state_file=str(path)) as simulator:
        simulator.script(ENDPOINTS.name, seconds={"endpoint": float("inf")})
        with pytest.raises(ValueError, match="status=5: must be a valid str"):
            simulator.seed(ENDPOINTS.name, "two", status=5)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="seconds=nan"):
            simulator.advance(float("nan"))
    Simulator(state_file=str(path)).stop()


def test_empty_file_is_an_empty_cluster(path: Path) -> None:
    """A file without content, as a kill in the first moment leaves it, is one to begin with."""
    path.touch()
    with Simulator(state_file=str(path)) as simulator:
        assert not any(simulator.overview()["kinds"].values())


@pytest.mark.parametrize(
    "content",
    [b"[]", b'{"version": 1, "now": 1.0, "made": 0, "resources": []}', b"[" * 100_000, b"\0" * 5000],
    ids=["short", "json", "nested", "zeros"],
)
def test_file_that_is_no_database(path: Path, content: bytes) -> None:
    """A file in another format, that of older versions too, is refused and not touched."""
    path.write_bytes(content)

    assert_refused(path, "this simulator or its version (file is not a database); move it away")


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_database_of_another_program(path: Path, mode: str) -> None:
    """Another program's database is refused and not touched."""
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(f"PRAGMA journal_mode = {mode}")
        database.execute("CREATE TABLE resources (number, kind, id, data)")

    assert_refused(path, "a database of another program")


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        ("PRAGMA user_version = 3", "version 3 instead of 2"),
        ("DROP TABLE clock", "no such table: clock"),
        ("UPDATE clock SET now = 'soon'", "clock: ('soon'"),
        ("UPDATE clock SET rate = 1e999", "clock: "),
        ("UPDATE clock SET now = 1e18", "clock: (1e+18"),
        ("UPDATE clock SET now = -1", "clock: (-1.0"),
        ("UPDATE resources SET number = 9223372036854775807", "number 9223372036854775807"),
        ("UPDATE resources SET id = 'two'", "endpoints 'two': holds endpoints 'one'"),
        ("UPDATE resources SET data = 5", "endpoints 'one': "),
        ("UPDATE resources SET data = CAST(x'ff0a' AS TEXT)", "UTF-8"),
    ],
)
def test_broken_database(path: Path, statement: str, text: str) -> None:
    """A state of another version, or with values of wrong types, is refused and not touched."""
    _make(path)
    edit(path, statement)

    assert_refused(path, text)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda _: "[" * 100_000 + "]" * 100_000, "recursion"),
        (lambda _: "{", "Expecting"),
        (lambda _: b"\xff\xfe", "endpoints 'one'"),
        (lambda data: [data], "not an object"),
        (lambda data: data | {"colour": "red"}, "colour"),
        (lambda data: data | {"kind": "jobs"}, "jobs"),
        (lambda data: data | {"created": float("nan")}, "NaN"),
        (lambda data: data | {"body": {"x": float("nan")}}, "NaN"),
        (lambda data: data | {"created": "now"}, "created='now'"),
        (lambda data: data | {"created": True}, "created=True"),
        (lambda data: data | {"created": -1.0}, "created=-1.0"),
        (lambda data: data | {"created": 1e300}, "created=1e+300"),
        (lambda data: data | {"created": float("inf")}, "created=inf"),
        (lambda data: data | {"forced": ["\ud800"]}, "surrogates"),
        (lambda data: data | {"body": {"x": json.loads("[" * 60 + "]" * 60)}}, "nested"),
        (lambda data: data | {"models": "m" * 1000}, "models='mmm"),
        (lambda data: data | {"forced": [["a"]]}, "forced="),
        (lambda data: data | {"last_call": [1.0, "a"]}, "last_call="),
        (lambda data: data | {"runs": []}, "stages"),
        (lambda data: data | {"runs": [data["runs"][0] | {"member": "cooking"}]}, "stages"),
        (lambda data: data | {"runs": [data["runs"][0] | {"ends": None}]}, "runs="),
    ],
)
def test_broken_resource(path: Path, change: Edit, text: str) -> None:
    """A resource that this simulator would not have written is refused with its id, and not touched."""
    _make(path)
    edit_data(path, change)

    assert_refused(path, text)


@pytest.mark.parametrize("part", ["cut", "overwritten"])
def test_damaged_database(path: Path, part: str) -> None:
    """A file of which a part is lost is refused and not touched."""
    _make(path, resources=50)
    content = path.read_bytes()
    half = len(content) // 8192 * 4096
    path.write_bytes(content[:half] + (b"" if part == "cut" else b"x" * 4096 + content[half + 4096 :]))

    assert_refused(path, "not a state of this simulator or its version (da")


def _make(path: Path, resources: int = 1) -> None:
    with Simulator(state_file=str(path)) as simulator:
        for number in range(resources):
            simulator.seed(ENDPOINTS.name, "one" if not number else f"e-{number}")


def _descriptions(simulator: Simulator) -> dict[str, Any]:
    return {
        shown["id"]: (simulator.describe(kind, shown["id"]), {**shown, "last_call": None})
        for kind, resources in simulator.overview()["kinds"].items()
        for shown in resources
    }
