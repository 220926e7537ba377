"""The journal: what the simulator was asked, and what it answered."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


# The objects of a body take several times as much memory as its text.
MOST_BYTES = 4 << 20


@dataclass(frozen=True)
class Request:
    """
    A request and its answer.

    :param operation: as botocore spells it; None for a path that isn't an ML operation's.
    :param kind: the kind's name, e.g. ``modeltraining``; None likewise.
    :param id: the id in the path, in the body, or given by the simulator; None for lists and unusable
        requests.
    :param method: the HTTP method.
    :param path: the path as received, without the query.
    :param query: the query parameters.
    :param body: the JSON body; None where there was none.
    :param status: the HTTP status of the answer; None where the client got none, e.g. after a reset.
    :param code: the exception name of an error answer; None for a good one.
    :param at: the simulated time, in seconds since the epoch.
    :param fault: the kind of the fault that was played; None for an honest answer.
    :param caller: the start of the client's ``User-Agent``.
    """

    operation: str | None
    kind: str | None
    id: str | None
    method: str
    path: str
    query: Mapping[str, str]
    body: Any
    status: int | None
    code: str | None
    at: float
    fault: str | None = None
    caller: str = ""

    def summary(self) -> dict[str, Any]:
        """Return what a log line says about it: everything but the body."""
        return {
            name: value
            for name, value in vars(self).items()
            if name != "body" and value not in (None, {}, "")
        }


class Journal:
    """
    Keep the latest requests and count all of them; safe to use from any thread.

    :param size: how many requests are kept; fewer if their text has more than :data:`MOST_BYTES`.
    """

    def __init__(self, size: int) -> None:
        self._lock = threading.Lock()
        self._requests: deque[tuple[Request, int]] = deque()
        self._size = size
        self._bytes = 0
        self._total = 0

    @property
    def total(self) -> int:
        """How many requests were seen since the start or the last reset."""
        return self._total

    def add(self, request: Request, size: int) -> None:
        """
        Note a request; the oldest ones go when the journal is full.

        :param size: how many bytes the request has.
        """
        with self._lock:
            self._requests.append((request, size))
            self._bytes += size
            self._total += 1
            while len(self._requests) > self._size or (self._bytes > MOST_BYTES and len(self._requests) > 1):
                self._bytes -= self._requests.popleft()[1]

    def discard(self, request: Request) -> None:
        """Take a request back that was noted too early to know its answer."""
        with self._lock:
            noted = next((one for one in self._requests if one[0] is request), None)
            if noted:  # the journal may have been cleared
                self._requests.remove(noted)
                self._bytes -= noted[1]
                self._total -= 1

    def requests(self, operation: str | None = None) -> list[Request]:
        """Return the kept requests in order, of one operation or of all."""
        with self._lock:
            kept = [request for request, _ in self._requests]
        return [request for request in kept if operation in (None, request.operation)]

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._requests.clear()
            self._total = self._bytes = 0
