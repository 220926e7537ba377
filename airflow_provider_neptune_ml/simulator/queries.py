"""Gremlin queries: scripted results, and the answers to queries that nobody has scripted."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_neptune_ml.kinds import ENDPOINTS
from airflow_provider_neptune_ml.simulator import errors
from airflow_provider_neptune_ml.simulator.errors import ServiceError

if TYPE_CHECKING:
    from airflow_provider_neptune_ml.simulator.settings import Settings
    from airflow_provider_neptune_ml.simulator.store import Store

# By name or by URL: https://runtime.sagemaker.<region>.amazonaws.com/endpoints/<name>/invocations
_ENDPOINT = re.compile(r"""["']Neptune#ml\.endpoint["']\s*,\s*["'](?:https://[^"'/]*/endpoints/)?([^"'/]*)""")
_PREDICTION = "simulated prediction"


@dataclass
class QueryScript:
    """
    What is answered to queries.

    :param result: the values of the result.
    :param query: a text that they have in them; None for all queries.
    :param times: how many are answered; None for all.
    """

    result: list[Any]
    query: str | None = None
    times: int | None = None


class Queries:
    """
    Answer queries.

    :param settings: the cluster's settings.
    :param store: its endpoints, and the scripts.
    """

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store

    def answer(self, body: Any) -> dict[str, Any]:
        """Return the reply to a query, or raise the service's error."""
        query = body.get("gremlin") if isinstance(body, dict) else None
        if not isinstance(query, str) or not query.strip():
            raise errors.missing_parameter(errors.NO_QUERY)
        if not re.match(r"\s*g\s*\.", query):
            raise ServiceError("MalformedQueryException", errors.BAD_QUERY)
        with self._store.lock:
            result = self._result(query)
        return {
            "requestId": str(uuid.uuid4()),
            "status": {"message": "", "code": 200, "attributes": typed({})},
            "result": {"data": typed(result), "meta": typed({})},
        }

    def _result(self, query: str) -> list[Any]:
        names = _ENDPOINT.findall(query)
        for name in names:
            self._check_endpoint(name)
        scripted = self._store.take_query_script(query)
        if scripted is not None:
            return scripted.result
        if self._settings.query_result is not None:
            return list(self._settings.query_result)
        # There is no graph: who asks an endpoint gets a prediction, all others nothing.
        return [_PREDICTION] if names else []

    def _check_endpoint(self, name: str) -> None:
        """Raise the service's error unless an endpoint serves under a name of SageMaker's."""
        # One that is being updated serves its earlier model.
        serving = (ENDPOINTS.statuses.succeeded, ENDPOINTS.statuses.updating)
        now = self._store.clock.now()
        endpoints = self._store.all(ENDPOINTS.name)
        if not any(each.runs[-1].name == name and each.status(now) in serving for each in endpoints):
            raise errors.bad_request(f"Endpoint {name} not found.")


def typed(value: Any) -> Any:
    """Return a plain value as GraphSON 3 has it; one that has a type already stays as it is."""
    if isinstance(value, dict):
        if "@type" in value:
            return value
        return {"@type": "g:Map", "@value": [typed(part) for item in value.items() for part in item]}
    if isinstance(value, list):
        return {"@type": "g:List", "@value": [typed(item) for item in value]}
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    return {"@type": "g:Int64" if isinstance(value, int) else "g:Double", "@value": value}
