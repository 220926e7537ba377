"""Queries of the hook: results, errors, and what is sent again."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_neptune_ml.exceptions import (
    NeptuneMLError,
    NeptuneMLServiceError,
    NeptuneMLTimeoutError,
    NeptuneMLUnreachableError,
)
from airflow_provider_neptune_ml.hooks.graphson import plain
from airflow_provider_neptune_ml.hooks.neptune_ml import NeptuneMLHook
from airflow_provider_neptune_ml.simulator import Fault, Simulator
from tests.conftest import connect
from tests.raw_server import reply, serve

pytestmark = pytest.mark.usefixtures("connection")

QUERY = "ExecuteGremlinQuery"
READ, WRITE = "g.V().count()", "g.V('v-1').drop()"


def test_result(simulator: Simulator) -> None:
    """The result is plain values, whatever types the service gives them; the query is sent as it is."""
    values = [1, 2.5, "text", True, None, ["a"], {"name": ["Ann"], "nested": {"b": 1}}]
    simulator.script_query(values)

    assert NeptuneMLHook().gremlin("g.V()\n  .valueMap()") == values
    [call] = simulator.calls(QUERY)
    assert (call.kind, call.body) == ("gremlin", {"gremlin": "g.V()\n  .valueMap()"})


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ({"@type": "g:Int64", "@value": 3}, 3),
        ({"@type": "g:Double", "@value": "NaN"}, "NaN"),
        ({"@type": "g:Date", "@value": 1481750076295}, 1481750076295),
        ({"@type": "g:T", "@value": "label"}, "label"),
        ({"@type": "g:Set", "@value": ["a", {"@type": "g:Int32", "@value": 1}]}, ["a", 1]),
        ({"@type": "g:Map", "@value": [{"@type": "g:T", "@value": "id"}, "v-1"]}, {"id": "v-1"}),
        ({"@type": "g:Map", "@value": [{"@type": "g:Int32", "@value": 29}, "x"]}, {"29": "x"}),
        (
            {
                "@type": "g:Vertex",
                "@value": {
                    "id": "v-1",
                    "label": "person",
                    "properties": {
                        "age": [
                            {
                                "@type": "g:VertexProperty",
                                "@value": {
                                    "id": {"@type": "g:Int64", "@value": 7},
                                    "value": 1,
                                    "label": "age",
                                },
                            }
                        ]
                    },
                },
            },
            {
                "id": "v-1",
                "label": "person",
                "properties": {"age": [{"id": 7, "value": 1, "label": "age"}]},
            },
        ),
        # Without types, as after `Accept: application/vnd.gremlin-v3.0+json;types=false`.
        ([{"name": ["Ann"]}], [{"name": ["Ann"]}]),
        # What no database takes.
        ("a\0b\ud800", "ab?"),
        ([float("nan"), float("-inf")], ["nan", "-inf"]),
    ],
)
def test_types(typed: Any, value: Any) -> None:
    """Each type of GraphSON becomes what JSON has for it."""
    assert plain(typed) == value


@pytest.mark.parametrize(
    "body",
    [b"<html>", b"{}", {"result": {"data": 5}}, {"result": [1]}, b'{"result": {"data": ' + b"[" * 100_000],
    ids=["page", "empty", "number", "list", "deep"],
)
def test_replies_that_are_none(monkeypatch: pytest.MonkeyPatch, body: Any) -> None:
    """What has no result in it is no reply of Neptune's."""
    with serve(reply(200, body)) as (port, _):
        connect_to(monkeypatch, port)
        with pytest.raises(NeptuneMLUnreachableError, match="the reply is not one of Neptune's") as caught:
            NeptuneMLHook().gremlin(READ)
        assert caught.value.transient

        with pytest.raises(NeptuneMLUnreachableError, match="it is not sent again") as caught:
            NeptuneMLHook().gremlin(WRITE)
        assert not caught.value.transient


def test_large_results(simulator: Simulator) -> None:
    """A result that is too large is an error that says so, and is not read to its end."""
    simulator.script_query(["x" * 4_100_000])

    with pytest.raises(NeptuneMLError) as caught:
        NeptuneMLHook().gremlin(READ)

    assert str(caught.value).startswith(
        f"Gremlin query {READ!r}: the result has more than 4000000 bytes. Have the query return less"
    )
    assert not caught.value.transient


def test_limits_leave_the_client_alone(simulator: Simulator) -> None:
    """Whoever uses boto3's client gets what the service sends, as the service sends it."""
    simulator.script_query(["x" * 4_100_000])

    found: Any = NeptuneMLHook().conn
    assert found.execute_gremlin_query(gremlinQuery=READ)["result"]["data"] == {
        "@type": "g:List",
        "@value": ["x" * 4_100_000],
    }


def test_timeout(simulator: Simulator, held: Any) -> None:
    """A query that takes too long ends with the limit; it is not sent again, as it may still be running."""
    simulator.add_fault(Fault("slow", resource="gremlin"))

    with pytest.raises(
        NeptuneMLTimeoutError, match=r"timed out: no answer within 0.2 s \(timeout=0.2\)"
    ) as it:
        NeptuneMLHook(config={"read_timeout": 60}).gremlin(READ, timeout=0.2)

    assert not it.value.transient
    assert len(simulator.calls(QUERY)) == 1


def test_own_timeouts_do_not_count(simulator: Simulator) -> None:
    """A query may take longer than what botocore waits for other replies."""
    simulator.add_fault(Fault("slow", resource="gremlin", seconds=0.5))

    assert NeptuneMLHook(config={"read_timeout": 0.1}).gremlin(READ) == []


@pytest.mark.parametrize(
    ("fault", "retried_read", "retried_write"),
    [
        (Fault("too_many_requests"), True, True),
        (Fault("internal_failure", code="ConcurrentModificationException"), True, True),
        (Fault("internal_failure", code="MemoryLimitExceededException"), True, True),
        (Fault("internal_failure"), True, False),
        (Fault("reset"), True, False),
        (Fault("garbled"), True, False),
        (Fault("client_timeout"), True, False),
        (Fault("internal_failure", code="TimeLimitExceededException", text="A timeout."), False, False),
        (Fault("internal_failure", code="FailureByQueryException"), False, False),
        (Fault("read_only"), False, False),
    ],
    ids=lambda value: f"{value.kind}-{value.code}" if isinstance(value, Fault) else None,
)
def test_what_may_be_sent_again(
    simulator: Simulator, fault: Fault, retried_read: bool, retried_write: bool
) -> None:
    """A query is sent once; a transient error of one that may have changed the graph is none to retry."""
    hook, found = NeptuneMLHook(), []
    for query in (READ, WRITE):
        simulator.add_fault(fault)
        with pytest.raises(NeptuneMLError) as caught:
            hook.gremlin(query)
        found.append(caught.value.transient)

    assert found == [retried_read, retried_write]
    assert len(simulator.calls(QUERY)) == 2
    assert ("it is not sent again" in str(caught.value)) is (retried_read and not retried_write)


@pytest.mark.parametrize(
    "query",
    ["g.addV('x')", "g.V().property('a', 1)", "g.mergeE([:])", "g.V() .\n DROP ()", "g.io('f').read()"],
)
def test_queries_that_change_the_graph(simulator: Simulator, query: str) -> None:
    """A query that has the name of a step in it that changes the graph is one that may."""
    simulator.add_fault(Fault("internal_failure"))

    with pytest.raises(NeptuneMLServiceError, match="It changes the graph and may have been carried out"):
        NeptuneMLHook().gremlin(query)


@pytest.mark.parametrize(
    ("query", "actions"),
    [
        (READ, "neptune-db:ReadDataViaQuery"),
        (
            WRITE,
            "neptune-db:ReadDataViaQuery and neptune-db:WriteDataViaQuery and neptune-db:DeleteDataViaQuery",
        ),
    ],
)
def test_forbidden(simulator: Simulator, query: str, actions: str) -> None:
    """A 403 names the permissions that a query needs."""
    simulator.add_fault(Fault("access_denied"))

    with pytest.raises(NeptuneMLServiceError) as caught:
        NeptuneMLHook().gremlin(query)

    assert f"('aws_default') needs the permission {actions} on the cluster." in str(caught.value)


def test_refused(simulator: Simulator) -> None:
    """An error begins with the query, of which a long one is cut, and has the service's code and words."""
    with pytest.raises(NeptuneMLServiceError) as caught:
        NeptuneMLHook().gremlin("V()\n" + ".out()" * 50)

    assert str(caught.value).startswith(
        "Gremlin query 'V() .out().out().out().out().out().out().out().out().out().o...':"
        " 400 MalformedQueryException: Query parsing has failed at line 1"
    )
    assert (caught.value.code, caught.value.http_status) == ("MalformedQueryException", 400)
    assert caught.value.request_id


@pytest.mark.parametrize("query", ["", " \n", None, 5])
def test_queries_that_are_none(simulator: Simulator, query: Any) -> None:
    """What is no query is not sent."""
    with pytest.raises(ValueError, match="must be a query, a text that is not empty") as caught:
        NeptuneMLHook().gremlin(query)
    assert str(caught.value).startswith(f"query={query!r} must")

    assert simulator.journal == []


def connect_to(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    """Have the default connection lead to a server of the test's own."""
    extra = {"iam_auth": False, "region_name": "eu-west-1"}
    address = {"host": "127.0.0.1", "port": port, "schema": "http"}
    connect(monkeypatch, {"conn_type": "neptune_ml", **address, "extra": extra})
