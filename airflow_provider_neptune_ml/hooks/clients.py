"""The parsed connection, the AWS settings and the clients of one moment, for all threads of a process."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

from botocore.config import Config

from airflow_provider_neptune_ml.hooks.limits import bound_replies
from airflow_provider_neptune_ml.kinds import GREMLIN

if TYPE_CHECKING:
    from airflow.providers.amazon.aws.utils.connection_wrapper import AwsConnectionWrapper
    from botocore.client import BaseClient

    from airflow_provider_neptune_ml.hooks.connection import NeptuneMLConnection
    from airflow_provider_neptune_ml.hooks.neptune_ml import NeptuneMLHook

T = TypeVar("T")

# What fits into the budget of a kill, see cancellation.py.
KILL_CONFIG = Config(connect_timeout=1.5, read_timeout=2.0, retries={"total_max_attempts": 1})
# A start that botocore has sent again can't be told from an externally started job with the same id.
START_CONFIG = Config(retries={"total_max_attempts": 1})
# Of a query, only its caller knows how long it may take, and whether it may be sent again.
QUERY_CONFIG = Config(read_timeout=None, tcp_keepalive=True, retries={"total_max_attempts": 1})
# A silent cluster should not hold the triggerer's threads for minutes, and a wait asks again by itself.
TRIGGER_CONFIG = Config(connect_timeout=5.0, read_timeout=15.0, retries={"total_max_attempts": 1})


class Clients:
    """
    What is read and built of the connections, each part when it is first asked for, and once.

    Nothing in it changes afterwards: newer settings are another object.

    :param hook: builds the parts.
    :param read_at: when, in seconds of a monotonic clock.
    """

    def __init__(self, hook: NeptuneMLHook, read_at: float) -> None:
        self._hook = hook
        # Held while a part is built, which may need other parts.
        self._lock = threading.RLock()
        self._parts: dict[str, Any] = {}
        self.read_at = read_at

    @property
    def cluster(self) -> NeptuneMLConnection:
        """The settings of the cluster."""
        return self._once("cluster", self._hook.read_cluster)

    @property
    def conn_config(self) -> AwsConnectionWrapper:
        """The AWS connection, with the cluster's endpoint and region in it."""
        return self._once("conn_config", self._hook.read_aws_connection)

    @property
    def conn(self) -> BaseClient:
        """The client."""
        return self._client("conn", Config())

    @property
    def start_conn(self) -> BaseClient:
        """The client for starts: it sends a request once."""
        return self._client("start_conn", START_CONFIG)

    @property
    def query_conn(self) -> BaseClient:
        """The client for queries: it sends a request once, and waits as long as its caller does."""
        return self._once("query_conn", self._query_client)

    @property
    def urgent_conn(self) -> BaseClient:
        """The client of a kill: short time-outs, one attempt."""
        return self._client("urgent_conn", KILL_CONFIG)

    def build_as(self, other: Clients) -> None:
        """Build what another one has built."""
        for name in tuple(other._parts):
            getattr(self, name)

    def _client(self, name: str, config: Config) -> BaseClient:
        return self._once(name, lambda: self._built(config))

    def _built(self, config: Config) -> BaseClient:
        return self._hook.get_client_type(self._hook.region_name, self._hook.config.merge(config))

    def _query_client(self) -> BaseClient:
        client = self._built(QUERY_CONFIG)
        # Its time is the caller's.
        bound_replies(client, f"/{GREMLIN.name}", seconds=math.inf)
        return client

    def _once(self, name: str, build: Callable[[], T]) -> T:
        # Without the lock where it is built: a kill may interrupt a thread that holds it.
        if name not in self._parts:
            with self._lock:
                if name not in self._parts:
                    self._parts[name] = build()
        return cast("T", self._parts[name])
