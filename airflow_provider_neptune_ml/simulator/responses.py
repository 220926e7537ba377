"""Answers, good and bad, and how they go over the wire or don't."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from airflow_provider_neptune_ml.simulator.errors import ServiceError
from airflow_provider_neptune_ml.simulator.faults import BINARY, ERRORS, GARBLED, PROXY_REPLIES, RESET, Fault
from airflow_provider_neptune_ml.simulator.intake import Receive
from airflow_provider_neptune_ml.simulator.model import http_status

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

# What errors come as; documented: https://docs.aws.amazon.com/neptune/latest/userguide/errors-engine-codes.html
ERROR_TYPE = b"application/x-amz-json-1.0"
_WAIT_STEP_SECONDS = 0.05
_FLUSH_SECONDS = 0.1


class Line(Protocol):
    """The connections of the server; what is needed of it to break one off."""

    @property
    def is_stopping(self) -> bool:
        """Whether the server is about to end and nothing may be waited for."""

    def transport(self, client: tuple[str, int]) -> asyncio.Transport:
        """Return the transport of the connection from a client's address."""


@dataclass(frozen=True)
class Answer:
    """
    An HTTP answer.

    :param status: the HTTP status.
    :param content: the body.
    :param request_id: the value of ``x-amzn-RequestId``; None for an answer that isn't the service's own.
    :param code: the exception name of an error; None for a good answer.
    :param content_type: the media type.
    :param error_type: the value of ``x-amzn-ErrorType``, which Neptune doesn't send.
    """

    status: int
    content: bytes
    request_id: str | None = None
    code: str | None = None
    content_type: bytes = b"application/json"
    error_type: str | None = None


# What a connection that breaks off before any work was done would have carried.
NOTHING_DONE = Answer(200, json.dumps({"status": "unfinished"}).encode())


def error_answer(error: ServiceError, request_id: str, status: int | None = None) -> Answer:
    """Return the documented error body with the HTTP status that belongs to the exception, or another."""
    body = {"requestId": request_id, "code": error.code, "detailedMessage": error.message}
    content = json.dumps(body).encode()
    return Answer(status or http_status(error.code), content, request_id, error.code, ERROR_TYPE)


def of_gateway(answer: Answer) -> Answer:
    """Return an error in the form that API Gateway has for it, which has no request id in its body."""
    if answer.code is None or answer.request_id is None:
        return answer
    message = json.loads(answer.content)["detailedMessage"]
    content = json.dumps({"message": message}).encode()
    return replace(answer, content=content, content_type=b"application/json", error_type=answer.code)


def spoil(fault: Fault, answer: Answer, request_id: str) -> Answer:
    """Return what a fault makes of an answer."""
    status = fault.status or answer.status
    if fault.kind in ERRORS:
        code, text = ERRORS[fault.kind]
        error = ServiceError(fault.code or code, text if fault.text is None else fault.text)
        return error_answer(error, request_id, fault.status or http_status(code))
    if fault.kind in PROXY_REPLIES:
        usual, content_type, content = PROXY_REPLIES[fault.kind]
        content = content if fault.text is None else fault.text.encode()
        return Answer(fault.status or usual, content, content_type=content_type)
    if fault.kind == GARBLED:
        return replace(answer, status=status, content=answer.content[: len(answer.content) // 2] + b"{{")
    if fault.kind == BINARY:
        return replace(answer, status=status, content=b"\x89\xff\x00" + answer.content)
    return answer


async def wait(seconds: float, line: Line) -> None:
    """Hold an answer back for real seconds, or until the server is about to end."""
    loop = asyncio.get_running_loop()
    ends = loop.time() + seconds
    while loop.time() < ends and not line.is_stopping:
        await asyncio.sleep(min(_WAIT_STEP_SECONDS, max(0.0, ends - loop.time())))


async def send_answer(answer: Answer, send: Send, *, with_body: bool = True) -> None:
    """Send an answer whole."""
    await _send_head(answer, send)
    await send({"type": "http.response.body", "body": answer.content if with_body else b""})


async def break_off(
    fault: Fault, answer: Answer, transport: asyncio.Transport, receive: Receive, send: Send
) -> None:
    """End the connection with a reset, or in the middle of the answer's body."""
    if fault.kind == RESET:
        # Closing with a linger time of 0 makes the kernel send RST instead of FIN.
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    else:
        await _send_head(answer, send)
        half = answer.content[: len(answer.content) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})
        transport.close()
        if transport.get_extra_info("ssl_object"):
            # TLS would wait for the client's goodbye; the half must be out before the end, though.
            await asyncio.sleep(_FLUSH_SECONDS)
            transport.abort()
    # Returning earlier would make the server complain that the answer isn't complete.
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send_head(answer: Answer, send: Send) -> None:
    headers = [(b"content-type", answer.content_type), (b"content-length", str(len(answer.content)).encode())]
    if answer.request_id:
        headers.append((b"x-amzn-requestid", answer.request_id.encode()))
    if answer.error_type:
        headers.append((b"x-amzn-errortype", answer.error_type.encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
