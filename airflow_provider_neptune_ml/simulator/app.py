"""The ML operations over HTTP, as a bare ASGI application: this is the hot path of load tests."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from airflow_provider_neptune_ml.kinds import EXPORT
from airflow_provider_neptune_ml.simulator import errors, responses
from airflow_provider_neptune_ml.simulator.auth import EXPORT_SERVICE, SERVICE, Received, Verifier
from airflow_provider_neptune_ml.simulator.errors import ServiceError
from airflow_provider_neptune_ml.simulator.faults import SLOW, Fault, FaultRules
from airflow_provider_neptune_ml.simulator.intake import BodyTooLarge, Receive, read_body, read_json
from airflow_provider_neptune_ml.simulator.journal import Journal, Request
from airflow_provider_neptune_ml.simulator.model import Operation, find_operation
from airflow_provider_neptune_ml.simulator.responses import Answer, Line
from airflow_provider_neptune_ml.simulator.service import Call

if TYPE_CHECKING:
    from airflow_provider_neptune_ml.simulator.service import Service
    from airflow_provider_neptune_ml.simulator.store import Store

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_log = logging.getLogger(__name__)
_access_log = logging.getLogger("airflow_provider_neptune_ml.simulator.access")
# A task in the same process may be stopped by a signal while it holds the lock of a handler of its log: the
# simulator must go on answering. The journal has the same lines; the command line sets the level to INFO.
_access_log.setLevel(logging.WARNING)
_MAX_CALLER = 120


@dataclass
class Exchange:
    """One request on its way to an answer."""

    received: Received
    raw_path: str
    query: dict[str, str]
    operation: Operation | None = None
    id: str | None = None
    parsed: Any = None
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def is_export(self) -> bool:
        """Whether it is for the export service."""
        return self.operation is not None and self.operation.kind is EXPORT

    def call(self) -> Call:
        """Return the operation's call that it is, or raise the service's error."""
        if self.operation is None:
            raise ServiceError("ResourceNotFoundException", errors.NO_SUCH_PATH)
        return Call(self.operation, self.id or "", self.query, self.parsed)


class Gateway:
    """
    Take requests for ML operations, and answer them honestly or as a fault says.

    :param service: answers the operations.
    :param store: the resources.
    :param faults: the fault rules.
    :param journal: notes every request.
    :param line: the connections, to break them off.
    :param verifier: checks signatures; None to take any request.
    """

    def __init__(
        self,
        service: Service,
        store: Store,
        faults: FaultRules,
        journal: Journal,
        line: Line,
        verifier: Verifier | None,
    ) -> None:
        self._service = service
        self._store = store
        self._faults = faults
        self._journal = journal
        self._line = line
        self._verifier = verifier

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take one request in, answer it and note it."""
        exchange = _read_head(scope)
        fault = None
        try:
            exchange.received = await _read_body(receive, exchange.received)
            fault = self._meet(exchange)
        except ServiceError as error:
            answer = responses.error_answer(error, exchange.request_id)
        else:
            answer = self._work(exchange) if fault is None else await self._suffer(exchange, fault)
        if exchange.is_export:
            answer = responses.of_gateway(answer)
        self._note(exchange, answer, fault)
        if fault is not None and fault.breaks_off:
            await responses.break_off(fault, answer, self._line.transport(scope["client"]), receive, send)
        else:
            await responses.send_answer(answer, send, with_body=exchange.received.method != "HEAD")

    def _meet(self, exchange: Exchange) -> Fault | None:
        """Find out what is asked for, and whether a fault stands in the way."""
        method = exchange.received.method
        operation, exchange.id, known = find_operation(method, exchange.raw_path)
        if operation is None:
            if known:
                raise ServiceError("MethodNotAllowedException", errors.BAD_METHOD)
            raise ServiceError("ResourceNotFoundException", errors.NO_SUCH_PATH)
        exchange.operation = operation
        if operation.verb == "query":
            exchange.parsed = exchange.query if method == "GET" else _parse(exchange.received.body)
        elif operation.verb == "start":
            exchange.parsed = _parse(exchange.received.body)
            given = None if exchange.is_export else _given_id(exchange.parsed)
            exchange.id = given or self._service.new_id(operation.row)
        return self._faults.take(operation.name, operation.kind.name, exchange.id)

    async def _suffer(self, exchange: Exchange, fault: Fault) -> Answer:
        """Answer as a fault says, with the work done before it or not at all."""
        if fault.kind != SLOW:
            answer = self._work(exchange) if fault.when == "after" else responses.NOTHING_DONE
            return responses.spoil(fault, answer, exchange.request_id)
        # A client may give up long before the answer: a test that counts calls must see this one.
        early = self._note(exchange, None, fault)
        done = self._work(exchange) if fault.when == "after" else None
        await responses.wait(fault.seconds, self._line)
        self._journal.discard(early)
        return done or self._work(exchange)

    def _work(self, exchange: Exchange) -> Answer:
        """Answer honestly."""
        try:
            if self._verifier is not None:
                self._verifier.check(exchange.received, EXPORT_SERVICE if exchange.is_export else SERVICE)
            reply = self._service.answer(exchange.call())
        except ServiceError as error:
            return responses.error_answer(error, exchange.request_id)
        except Exception:
            _log.exception("%s %s", exchange.received.method, exchange.raw_path)
            failure = ServiceError("InternalFailureException", errors.INTERNAL)
            return responses.error_answer(failure, exchange.request_id)
        return Answer(200, json.dumps(reply).encode(), exchange.request_id)

    def _note(self, exchange: Exchange, answer: Answer | None, fault: Fault | None) -> Request:
        operation = exchange.operation
        seen = None if fault is not None and fault.breaks_off else answer
        request = Request(
            operation=operation.name if operation else None,
            kind=operation.kind.name if operation else None,
            id=exchange.id,
            method=exchange.received.method,
            path=exchange.raw_path,
            query=exchange.query,
            body=exchange.parsed,
            status=seen.status if seen else None,
            code=seen.code if seen else None,
            at=self._store.clock.now(),
            fault=fault.kind if fault else None,
            caller=exchange.received.header("user-agent")[:_MAX_CALLER],
        )
        self._journal.add(request, len(exchange.received.target) + len(exchange.received.body))
        self._store.note_call(request.kind, request.id, (request.at, request.operation or "", request.caller))
        if answer is not None and _access_log.isEnabledFor(logging.INFO):
            _access_log.info("%s", json.dumps(request.summary()))
        return request


def _read_head(scope: Scope) -> Exchange:
    raw_path, query = scope["raw_path"].decode("latin-1"), scope["query_string"].decode("latin-1")
    headers: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    received = Received(scope["method"], f"{raw_path}?{query}" if query else raw_path, headers, b"")
    return Exchange(received, raw_path, dict(parse_qsl(query, keep_blank_values=True)))


async def _read_body(receive: Receive, received: Received) -> Received:
    try:
        body = await read_body(receive)
    except BodyTooLarge:
        raise errors.bad_request(errors.BODY_TOO_LARGE) from None
    return replace(received, body=body) if body else received


def _parse(body: bytes) -> Any:
    try:
        return read_json(body or b"{}")
    except ValueError:
        raise errors.bad_request(errors.BAD_BODY) from None


def _given_id(parsed: Any) -> str | None:
    id_ = parsed.get("id") if isinstance(parsed, dict) else None
    return id_ if isinstance(id_, str) else None
