"""Scripted faults: rules that say which requests are answered badly, how, and how often."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_neptune_ml.kinds import ALL_KINDS, GREMLIN
from airflow_provider_neptune_ml.simulator.intake import check, hints

if TYPE_CHECKING:
    from collections.abc import Mapping

# By name: the exception and its text. The names of the exceptions and their HTTP codes are documented, the
# texts are assumed, except for the expired token's: text and exception are those of a real reply
# (aws/graph-explorer#39).
ERRORS: Mapping[str, tuple[str, str]] = {
    "too_many_requests": ("TooManyRequestsException", "Too many requests. Please retry with back-off."),
    "throttling": ("ThrottlingException", "Rate of requests exceeds the maximum throughput."),
    "internal_failure": ("InternalFailureException", "Request handling failed."),
    "server_shutdown": ("ServerShutdownException", "The server shut down while it was handling the request."),
    "client_timeout": ("ClientTimeoutException", "The request timed out in the client."),
    "read_only": (
        "ReadOnlyViolationException",
        "The request is rejected because it violates some read-only restriction, such as a designation "
        "of a replica as read-only.",
    ),
    "expired_token": ("AccessDeniedException", "The security token included in the request is expired"),
    "access_denied": ("AccessDeniedException", "The caller is not authorized to perform this operation."),
}
# Not the service itself but what stands before it: no JSON in the reply.
PROXY_REPLIES: Mapping[str, tuple[int, bytes, bytes]] = {
    "unavailable": (503, b"text/plain", b"upstream connect error or disconnect/reset before headers"),
    "html": (
        502,
        b"text/html",
        b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>",
    ),
}
SLOW, RESET, CUT, GARBLED, BINARY, REFUSED = "slow", "reset", "cut", "garbled", "binary", "refused"
FAULTS = (*ERRORS, *PROXY_REPLIES, SLOW, RESET, CUT, GARBLED, BINARY, REFUSED)

_DEFAULT_SECONDS = 1.0
_WITHOUT_BODY = (204, 205, 304)


@dataclass(frozen=True)
class Fault:
    """
    A rule for a fault.

    ``refused`` begins at once and can't be tied to requests, as none arrive.

    :param kind: what goes wrong: an error answer (``too_many_requests`` 429, ``throttling`` 500,
        ``internal_failure`` 500, ``server_shutdown`` 500, ``client_timeout`` 408, ``read_only`` 400,
        ``expired_token`` 403, ``access_denied`` 403), the answer of a proxy (``unavailable`` 503 without
        JSON, ``html`` 502), ``slow``, the connection's end (``reset`` by RST, ``cut`` in the middle of the
        body), a body that can't be read (``garbled`` JSON, ``binary``: not even text), or ``refused``:
        nobody listens.
    :param operation: only for this operation, as botocore spells it (default: all).
    :param resource: only for this kind of resource, e.g. ``modeltraining``, or for queries: ``gremlin``
        (default: all).
    :param id: only for this id (default: all).
    :param times: how many requests it hits; None for all (default: 1).
    :param skip: how many requests that it would hit are let through first (default: 0).
    :param seconds: for ``slow`` how long the answer is held back, for ``refused`` how long nobody listens, in
        real seconds (default: 1.0).
    :param status: another HTTP status than the kind's (default: the kind's); where there is an answer.
    :param code: another exception name than the kind's (default: the kind's); for an error.
    :param text: another text than the kind's (default: the kind's); for an error and a proxy's answer.
    :param when: ``"before"`` the service does anything, or ``"after"`` it has done what was asked, so that
        only the answer is lost (default: before).
    :raises ValueError: a rule that could never do what it says.
    """

    kind: str
    operation: str | None = None
    resource: str | None = None
    id: str | None = None
    times: int | None = 1
    skip: int = 0
    seconds: float = _DEFAULT_SECONDS
    when: str = "before"
    status: int | None = None
    code: str | None = None
    text: str | None = None

    def __post_init__(self) -> None:
        """Refuse a rule that could never do what it says."""
        check(vars(self), hints(Fault))
        _choose("kind", self.kind, FAULTS)
        _choose("when", self.when, ("before", "after"))
        if self.resource is not None:
            _choose("resource", self.resource, (*ALL_KINDS, GREMLIN.name))
        if self.operation is not None:
            _choose("operation", self.operation, tuple(sorted(_OPERATIONS)))
        if not 0 <= self.seconds <= threading.TIMEOUT_MAX:
            raise ValueError(f"seconds={self.seconds}: must not be negative, nor more than can be waited for")
        if self.skip < 0 or (self.times is not None and self.times < 1):
            raise ValueError(
                f"skip={self.skip}, times={self.times}: skip must not be negative, times at least 1"
            )
        self._check_request()
        self._check_answer()

    def _check_request(self) -> None:
        """Refuse what no request, or none of that operation, could be."""
        row, verb = _OPERATIONS.get(self.operation or "", (None, None))
        if row is not None and self.resource not in (None, row):
            raise ValueError(f"resource={self.resource!r}: operation={self.operation!r} is for {row}")
        if self.id == "" or (self.id and verb in ("list", "query")):
            raise ValueError(f"id={self.id!r}: operation={self.operation!r} never has that id")
        if self.kind == REFUSED and (
            self.operation
            or self.resource
            or self.id
            or self.skip
            or self.times != 1
            or self.when != "before"
        ):
            raise ValueError(
                "kind='refused': no request arrives, so operation, resource, id, skip, times and when "
                "can't be asked for"
            )

    def _check_answer(self) -> None:
        """Refuse what the kind's answer doesn't have."""
        if self.code is not None and (self.kind not in ERRORS or not self.code):
            raise ValueError(f"code={self.code!r}: only an error has one: {', '.join(ERRORS)}")
        if self.text is not None and self.kind not in (*ERRORS, *PROXY_REPLIES):
            raise ValueError(f"text={self.text!r:.100}: only {', '.join((*ERRORS, *PROXY_REPLIES))} have one")
        if self.status is not None and self.kind in (SLOW, RESET, CUT, REFUSED):
            raise ValueError(f"status={self.status}: kind={self.kind!r} has no answer of its own")
        if self.status is not None and (not 200 <= self.status <= 599 or self.status in _WITHOUT_BODY):
            raise ValueError(f"status={self.status}: must be from 200 to 599, and of an answer with a body")
        if self.seconds != _DEFAULT_SECONDS and self.kind not in (SLOW, REFUSED):
            raise ValueError(f"seconds={self.seconds}: only for slow and refused")

    def hits(self, operation: str, resource: str, id_: str | None) -> bool:
        """Tell whether a request is one that the rule is about."""
        return (
            self.operation in (None, operation)
            and self.resource in (None, resource)
            and self.id in (None, id_)
        )

    @property
    def breaks_off(self) -> bool:
        """Whether the client is left without a whole answer."""
        return self.kind in (RESET, CUT)


# By operation: the kind that it is for, and its verb.
_OPERATIONS = {
    name: (row.name, verb)
    for row in ALL_KINDS.values()
    for verb, name in (
        ("start", row.start_operation),
        ("get", row.get_operation),
        ("list", row.list_operation),
        ("stop", row.stop_operation),
    )
    if name
} | {GREMLIN.operation: (GREMLIN.name, "query")}


def _choose(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name}={value!r:.100}: must be one of {', '.join(choices)}")


@dataclass
class _Rule:
    fault: Fault
    skip: int
    left: int | None


class FaultRules:
    """Hold the rules in force; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[_Rule] = []

    def add(self, fault: Fault) -> None:
        """Put a rule in force; the one added first has the first say."""
        with self._lock:
            self._rules.append(_Rule(fault, fault.skip, fault.times))

    def take(self, operation: str, resource: str, id_: str | None) -> Fault | None:
        """Return the fault that a request meets, and count it."""
        if not self._rules:
            return None
        with self._lock:
            for rule in self._rules:
                if rule.fault.hits(operation, resource, id_):
                    return self._use(rule)
        return None

    def in_force(self) -> list[Fault]:
        """Return the faults that are still to come."""
        with self._lock:
            return [rule.fault for rule in self._rules]

    def clear(self) -> None:
        """Drop all rules."""
        with self._lock:
            self._rules.clear()

    def _use(self, rule: _Rule) -> Fault | None:
        if rule.skip:
            rule.skip -= 1
            return None
        if rule.left is not None:
            rule.left -= 1
            if not rule.left:
                self._rules.remove(rule)
        return rule.fault
