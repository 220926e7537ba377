"""Connections: a second attempt at once on one that the server has closed meanwhile; headers in time."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
)
from urllib3.exceptions import ProtocolError, SSLError

from airflow_provider_neptune_ml.hooks.limits import TimedResponse

if TYPE_CHECKING:
    from botocore.client import BaseClient

# A second request does no harm there. A start or a deletion may have been carried out: its caller must know.
_REPEATABLE = frozenset({"GET", "HEAD"})


class _SecondAttempt:
    """
    A pool of connections that repeats a request whose connection broke before any answer, if it was reused.

    The polls of a wait are a minute apart, and a load balancer or firewall may close an idle connection
    without a word. On a new connection, the same is an error of the network.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._taken = threading.local()

    def _get_conn(self, timeout: float | None = None) -> Any:
        connection = super()._get_conn(timeout)  # type: ignore[misc]
        self._taken.is_reused = getattr(connection, "sock", None) is not None
        return connection

    def urlopen(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        """Send a request; each broken connection leaves the pool, so that the last attempt gets a new one."""
        while True:
            self._taken.is_reused = False
            try:
                return super().urlopen(method, url, *args, **kwargs)  # type: ignore[misc]
            except (ProtocolError, SSLError):
                if not self._taken.is_reused or method not in _REPEATABLE:
                    raise


class _Connection(AWSHTTPConnection):
    response_class = TimedResponse  # type: ignore[assignment]  # the stubs have another


class _TLSConnection(AWSHTTPSConnection):
    response_class = TimedResponse  # type: ignore[assignment]  # the stubs have another


class _Pool(_SecondAttempt, AWSHTTPConnectionPool):
    ConnectionCls = _Connection


class _TLSPool(_SecondAttempt, AWSHTTPSConnectionPool):
    ConnectionCls = _TLSConnection


def register(client: BaseClient) -> None:
    """Have a client use such pools; botocore has no other place for it."""
    session: Any = client._endpoint.http_session  # type: ignore[attr-defined]
    session._pool_classes_by_scheme.update(http=_Pool, https=_TLSPool)
