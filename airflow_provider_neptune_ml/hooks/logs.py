"""CloudWatch Logs, read with the AWS settings of a Neptune ML hook."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.providers.amazon.aws.hooks.logs import AwsLogsHook
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, NoCredentialsError, ReadTimeoutError

from airflow_provider_neptune_ml.exceptions import NeptuneMLError
from airflow_provider_neptune_ml.hooks.errors import is_transient
from airflow_provider_neptune_ml.hooks.limits import bound_replies
from airflow_provider_neptune_ml.hooks.sibling import SiblingHook
from airflow_provider_neptune_ml.logs import LogUnavailable, Streams
from airflow_provider_neptune_ml.text import one_line

if TYPE_CHECKING:
    from airflow_provider_neptune_ml.hooks.clients import Clients
    from airflow_provider_neptune_ml.hooks.neptune_ml import NeptuneMLHook

PERMISSION = "logs:FilterLogEvents"
# A page that is not answered is asked for again at the next poll.
_CONFIG = Config(connect_timeout=3.0, read_timeout=8.0, retries={"total_max_attempts": 1})
# The service's own limit is 1 MB.
_LONGEST_REPLY_BYTES = 16_000_000
_DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation")


class LogsHook(SiblingHook, AwsLogsHook):
    """Read CloudWatch Logs."""

    def _get_caller(self, target_function_name: str = "execute") -> str:  # noqa: ARG002
        return "NeptuneMLTaskLog"


class LogSource:
    """
    Pages of CloudWatch logs, for any number of threads.

    :param hook: the Neptune ML hook whose settings it has.
    :param clients: what the hook has read of them by now.
    """

    def __init__(self, hook: NeptuneMLHook, clients: Clients) -> None:
        self.clients = clients
        self._lock = threading.Lock()
        self._client: Any = None
        self._aws_conn_id = hook.aws_conn_id
        self._hook: LogsHook | LogUnavailable
        try:
            self._hook = LogsHook(hook)
        except Exception as error:  # whatever Airflow's look-up raises
            self._hook = self._translated(error, None)

    def page(self, streams: Streams, *, start: int, token: str | None, limit: int) -> Mapping[str, Any]:
        """Return one reply of FilterLogEvents, see :class:`airflow_provider_neptune_ml.logs.Source`."""
        given = {"logStreamNamePrefix": streams.prefix, "startTime": start, "nextToken": token}
        try:
            reply: Mapping[str, Any] = self._built().filter_log_events(
                logGroupName=streams.group,
                limit=limit,
                **{name: value for name, value in given.items() if value},
            )
        except LogUnavailable:
            raise
        except Exception as error:  # whatever boto3 raises: no log fails a task
            raise self._translated(error, streams) from None
        return reply

    def _built(self) -> Any:
        """Return the client; built in a thread, as it may ask AWS for credentials."""
        if isinstance(self._hook, LogUnavailable):
            raise self._hook
        with self._lock:
            if self._client is None:
                config = self._hook.config.merge(_CONFIG)
                self._client = self._hook.get_client_type(self._hook.region_name, config)
                bound_replies(self._client, path="/", longest=_LONGEST_REPLY_BYTES, part=65_536)
            return self._client

    def _translated(self, error: Exception, streams: Streams | None) -> LogUnavailable:
        if isinstance(error, NeptuneMLError):
            return LogUnavailable(str(error))
        if isinstance(error, NoCredentialsError):
            return LogUnavailable(
                f"no AWS credentials (aws_conn_id={self._aws_conn_id!r}); with them, {PERMISSION} is needed"
            )
        if not isinstance(error, ClientError):
            # Where no connection is made at all, the network has to be set up.
            is_lost = isinstance(error, (ConnectionClosedError, ReadTimeoutError))
            return LogUnavailable(f"{type(error).__name__}: {one_line(error)}", later=is_lost)
        said = error.response.get("Error", {})
        code, message = said.get("Code", ""), one_line(said.get("Message", ""))
        if code in _DENIED:
            return LogUnavailable(f"permission {PERMISSION} is missing for {streams}: {message}")
        if code == "ResourceNotFoundException":
            return LogUnavailable(f"there is no log group {streams.group if streams else ''} (yet)")
        return LogUnavailable(f"{code}: {message}", later=is_transient(error))
