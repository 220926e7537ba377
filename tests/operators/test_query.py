"""The operator that runs a query."""

from __future__ import annotations

import copy
from datetime import timedelta
from pathlib import Path
from threading import Event, Timer
from typing import Any

import pytest

from airflow_provider_neptune_ml.compat import AirflowFailException
from airflow_provider_neptune_ml.exceptions import (
    NeptuneMLError,
    NeptuneMLKilledError,
    NeptuneMLUnreachableError,
)
from airflow_provider_neptune_ml.operators.query import NeptuneMLGremlinQueryOperator
from airflow_provider_neptune_ml.simulator import Fault, Simulator
from tests.conftest import TIMEOUT_SECONDS
from tests.contexts import context
from tests.interruptions import interrupted
from tests.modes import Clock
from tests.sdk import DAG

pytestmark = pytest.mark.usefixtures("connection")

QUERY = "ExecuteGremlinQuery"
READ, WRITE = "g.V().count()", "g.V('v-1').drop()"


def query(**arguments: Any) -> NeptuneMLGremlinQueryOperator:
    """Return an operator that runs a query."""
    return NeptuneMLGremlinQueryOperator(**{"task_id": "ask", "query": READ, **arguments})


def test_result(simulator: Simulator) -> None:
    """The task returns what the query did."""
    simulator.script_query([3])

    assert query().execute(context()) == [3]
    assert query().execute({}) == [3]


@pytest.mark.parametrize("flag", [True, "true"])
def test_no_result(simulator: Simulator, flag: Any) -> None:
    """A query without a result fails the task, which is not retried; the error begins with the query."""
    with pytest.raises(AirflowFailException) as caught:
        query(query="g.V()\n" + ".out()" * 50, require_result=flag).execute(context())

    assert str(caught.value) == (
        "Gremlin query 'g.V() .out().out().out().out().out().out().out().out().out()...'"
        " returned no result (require_result=True)."
    )


def test_no_result_is_required(simulator: Simulator) -> None:
    """A query that may have none is left alone."""
    assert query(require_result=False).execute(context()) == []


def test_results_too_large_for_an_xcom(simulator: Simulator) -> None:
    """What Airflow's database may not take fails the task; a task that pushes nothing has no such limit."""
    simulator.script_query(["x" * 50_000])

    with pytest.raises(AirflowFailException, match="returned 50004 bytes, more than the 49344 of an XCom"):
        query().execute(context())
    assert len(query(do_xcom_push=False).execute(context())[0]) == 50_000


def test_transient_errors_are_retried(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Throttling, and a reply that was lost, don't fail a query that reads."""
    Clock(simulator).install(monkeypatch)
    for kind in ("too_many_requests", "reset"):
        simulator.add_fault(Fault(kind, resource="gremlin"))
    simulator.script_query([3])

    assert query().execute(context()) == [3]
    assert [call.fault for call in simulator.calls(QUERY)] == ["too_many_requests", "reset", None]


def test_transient_errors_alone(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else for ``unreachable_timeout`` fails it."""
    Clock(simulator).install(monkeypatch)
    simulator.add_fault(Fault("too_many_requests", times=None))

    with pytest.raises(NeptuneMLUnreachableError, match="unreachable_timeout=90"):
        query(unreachable_timeout=timedelta(seconds=90)).execute(context())


def test_changes_are_not_repeated(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A query that changes the graph is sent again only where it was certainly not carried out."""
    Clock(simulator).install(monkeypatch)
    for kind in ("too_many_requests", "reset"):
        simulator.add_fault(Fault(kind, resource="gremlin"))

    with pytest.raises(NeptuneMLUnreachableError, match="it is not sent again"):
        query(query=WRITE).execute(context())
    assert [call.fault for call in simulator.calls(QUERY)] == ["too_many_requests", "reset"]


def test_kill(simulator: Simulator, held: Event) -> None:
    """A task that was killed while its query ran does not succeed."""
    simulator.add_fault(Fault("slow", resource="gremlin"))
    simulator.script_query([3])
    task = query()

    def kill() -> None:
        task.on_kill()
        held.set()

    Timer(0.2, kill).start()
    with pytest.raises(NeptuneMLKilledError):
        task.execute(context())
    assert len(simulator.calls(QUERY)) == 1


def test_kill_between_two_attempts(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A query is not sent for a task that was killed in the pause before."""
    task = query(query=WRITE)
    monkeypatch.setattr("airflow_provider_neptune_ml.operators.query.time.sleep", lambda _: task.on_kill())
    simulator.add_fault(Fault("too_many_requests"))

    with pytest.raises(NeptuneMLKilledError):
        task.execute(context())
    assert len(simulator.calls(QUERY)) == 1


def test_execution_timeout(simulator: Simulator, held: Event) -> None:
    """The signal by which Airflow ends a task in time interrupts it while its query runs."""

    class TimeIsUp(Exception):
        """What Airflow raises."""

    def ring() -> None:
        raise TimeIsUp

    simulator.add_fault(Fault("slow", resource="gremlin"))

    with interrupted(simulator, QUERY, ring), pytest.raises(TimeIsUp):
        query(timeout=TIMEOUT_SECONDS).execute(context())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"query": " "}, "query=' ' must be a query, a text that is not empty"),
        ({"query": None}, "query=None must be given"),
        ({"query": ["g.V()"]}, r"query=\['g.V\(\)'\] must be a query, a text that is not empty"),
        ({"require_result": "maybe"}, "require_result='maybe' must be True or False"),
        ({"timeout": 0}, "timeout=0 must be more than 0 seconds"),
        ({"timeout": "soon"}, "timeout='soon' must be a number of seconds"),
        ({"unreachable_timeout": -1}, "unreachable_timeout=-1 must be a number of seconds"),
        ({"aws_conn_id": 1.5}, "aws_conn_id=1.5 must be the id of a connection"),
    ],
)
def test_mistakes(simulator: Simulator, arguments: dict[str, Any], message: str) -> None:
    """A wrong argument is told when the Dag is parsed."""
    with pytest.raises(ValueError, match=message):
        query(**arguments)


def test_mistakes_of_templates(simulator: Simulator) -> None:
    """What a template makes of the query is checked before it is sent."""
    task = query(query="{{ nothing }}")
    task.query = ""

    with pytest.raises(ValueError, match="query='' must be a query"):
        task.execute(context())
    assert simulator.journal == []


@pytest.mark.parametrize("native", [False, True])
def test_templates(simulator: Simulator, tmp_path: Path, native: bool) -> None:
    """The query is a template, or the name of a file with one."""
    (tmp_path / "try.gremlin").write_text('g.with("Neptune#ml.endpoint", "{{ name }}").V()')
    settings: dict[str, Any] = {
        "template_searchpath": [str(tmp_path)],
        "render_template_as_native_obj": native,
    }
    with DAG("nightly", schedule=None, **settings):
        tasks = [query(task_id="file", query="try.gremlin"), query(query="g.V('{{ name }}')")]
    where: Any = {"ti": None, "name": "1-endpoint"}
    for task in tasks:
        task.render_template_fields(where)

    assert [task.query for task in tasks] == [
        'g.with("Neptune#ml.endpoint", "1-endpoint").V()',
        "g.V('1-endpoint')",
    ]


def test_copies(simulator: Simulator) -> None:
    """Airflow copies tasks, also one that has run."""
    simulator.script_query([3])
    task = query()
    task.execute(context())

    assert copy.deepcopy(task).execute(context()) == [3]


def test_error_is_one_of_ours(simulator: Simulator) -> None:
    """An endpoint that isn't there is refused in the service's words; Airflow may retry the task."""
    with pytest.raises(NeptuneMLError, match=r"400 BadRequestException: Endpoint fraud not found\."):
        query(query='g.with("Neptune#ml.endpoint", "fraud").V()').execute(context())
