"""Gremlin queries, as boto3 and others send them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import pytest

from airflow_provider_neptune_ml.simulator import Credential, Fault, Simulator
from tests.simulator.cli import running, url_in
from tests.simulator.wire import control, send

if TYPE_CHECKING:
    from tests.simulator.conftest import ClientMaker

MISSING = "Missing required parameter: gremlin"


def values(reply: Any) -> Any:
    """Return the values of a reply's result, as GraphSON has them."""
    data = reply["result"]["data"]
    assert data["@type"] == "g:List"
    return data["@value"]


def ask(name: str) -> str:
    """Return a query that names an endpoint."""
    return (
        f"g.with('Neptune#ml.endpoint', '{name}').V().properties('genre').with('Neptune#ml.classification')"
    )


def test_scripted_results(client: Any, simulator: Simulator) -> None:
    """Of the scripts that fit, the first has the first say, as often as it said; values get their types."""
    simulator.script_query([1], "count", times=1)
    simulator.script_query([{"name": ["Ann", 2.5, True, None]}])

    found = [values(client.execute_gremlin_query(gremlinQuery="g.V().count()")) for _ in range(2)]

    assert found[0] == [{"@type": "g:Int64", "@value": 1}]
    names = {"@type": "g:List", "@value": ["Ann", {"@type": "g:Double", "@value": 2.5}, True, None]}
    assert found[1] == [{"@type": "g:Map", "@value": ["name", names]}]
    simulator.reset()
    assert values(client.execute_gremlin_query(gremlinQuery="g.V()")) == []


def test_graphson_stays(client: Any, simulator: Simulator) -> None:
    """A value that has a type already is answered as it is."""
    vertex = {"@type": "g:Vertex", "@value": {"id": "v-1", "label": "movie"}}
    simulator.script_query([vertex])

    assert values(client.execute_gremlin_query(gremlinQuery="g.V()")) == [vertex]


def test_endpoints(client: Any, simulator: Simulator) -> None:
    """An endpoint is known by its name in SageMaker, or its URL, while it serves; not by Neptune's id."""
    simulator.seed("endpoints", "fraud", status="Creating")
    name = simulator.describe("endpoints", "fraud")["endpoint"]["name"]
    url = f"https://runtime.sagemaker.us-east-1.amazonaws.com/endpoints/{name}/invocations"
    with pytest.raises(client.exceptions.BadRequestException) as creating:
        client.execute_gremlin_query(gremlinQuery=ask(name))
    simulator.finish("endpoints", "fraud")

    assert creating.value.response["detailedMessage"] == f"Endpoint {name} not found."
    for known in (name, url):
        assert values(client.execute_gremlin_query(gremlinQuery=ask(known))) == ["simulated prediction"]
    with pytest.raises(client.exceptions.BadRequestException):
        client.execute_gremlin_query(gremlinQuery=ask("fraud"))


def test_query_result(make_client: ClientMaker) -> None:
    """What queries are answered that nobody has scripted can be set."""
    with Simulator(query_result=["comedy"]) as simulator:
        client = make_client(simulator)
        assert values(client.execute_gremlin_query(gremlinQuery="g.V()")) == ["comedy"]


@pytest.mark.parametrize(
    ("body", "status", "code", "text"),
    [
        (b"{}", 400, "MissingParameterException", MISSING),
        (b'{"gremlin": " "}', 400, "MissingParameterException", MISSING),
        (b'{"gremlin": 5}', 400, "MissingParameterException", MISSING),
        (b"[]", 400, "MissingParameterException", MISSING),
        (b"{", 400, "BadRequestException", "Request body is not a JSON object."),
        (b'{"gremlin": "V()"}', 400, "MalformedQueryException", "Query parsing has failed"),
    ],
)
def test_refused(simulator: Simulator, body: bytes, status: int, code: str, text: str) -> None:
    """What is no query is refused, by the exceptions that AWS documents."""
    found, reply = send(simulator, "POST", "/gremlin", body=body)

    assert (found, reply["code"]) == (status, code)
    assert reply["detailedMessage"].startswith(text)


def test_get(simulator: Simulator) -> None:
    """A query may come by GET as well; the journal has both, with the query."""
    status, reply = send(simulator, "GET", "/gremlin?gremlin=g.V()")

    assert (status, values(reply)) == (200, [])
    [call] = simulator.calls("ExecuteGremlinQuery")
    assert (call.kind, call.id, call.method, call.body) == ("gremlin", None, "GET", {"gremlin": "g.V()"})
    assert send(simulator, "PUT", "/gremlin")[0] == 405


def test_signatures(make_client: ClientMaker) -> None:
    """With IAM authentication, a query is answered if it is signed by a key that is known."""
    credential = Credential("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
    with Simulator(iam_auth=True, credentials=[credential]) as simulator:
        client = make_client(simulator, credential)
        assert values(client.execute_gremlin_query(gremlinQuery="g.V()")) == []
        for client in (
            make_client(simulator),
            make_client(simulator, Credential(credential.access_key, "another")),
        ):
            with pytest.raises(client.exceptions.ClientError) as refused:
                client.execute_gremlin_query(gremlinQuery="g.V()")
            assert refused.value.response["Error"]["Code"] == "AccessDeniedException"


def test_faults(client: Any, simulator: Simulator) -> None:
    """A fault may be for queries alone, by their operation or by what they have for a kind."""
    for fault in (
        Fault("throttling", operation="ExecuteGremlinQuery"),
        Fault("throttling", resource="gremlin"),
    ):
        simulator.add_fault(fault)
        assert client.list_ml_endpoints()["ids"] == []
        with pytest.raises(client.exceptions.ClientError, match="ThrottlingException"):
            client.execute_gremlin_query(gremlinQuery="g.V()")
    with pytest.raises(ValueError, match="never has that id"):
        Fault("throttling", operation="ExecuteGremlinQuery", id="mine")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"result": "x"}, "result"),
        ({"result": [], "times": 0}, "times"),
        ({"result": [], "query": 5}, "query"),
    ],
)
def test_scripts_that_make_no_sense(simulator: Simulator, arguments: dict[str, Any], word: str) -> None:
    """A script with a wrong argument is refused, over HTTP too."""
    status, reply = control(simulator, "script_query", arguments)

    assert status == 400
    assert reply["error"].startswith(f"{word}=")


def test_command_line() -> None:
    """The command line has a flag for the result."""
    with (
        running("--query-result", '["comedy"]', "--no-access-log") as (_, banner),
        urlopen(f"{url_in(banner)}/gremlin?gremlin=g.V()") as response,
    ):
        assert values(json.load(response)) == ["comedy"]
