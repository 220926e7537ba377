"""The operator that runs a query, such as one that tries an inference endpoint."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_neptune_ml.base import NeptuneMLTask, TemplatedText
from airflow_provider_neptune_ml.compat import AirflowFailException
from airflow_provider_neptune_ml.exceptions import NeptuneMLKilledError
from airflow_provider_neptune_ml.kinds import GREMLIN
from airflow_provider_neptune_ml.retries import (
    DEFAULT_QUERY_TIMEOUT_SECONDS,
    DEFAULT_UNREACHABLE_TIMEOUT_SECONDS,
    RetryBudget,
    retry_transient,
)
from airflow_provider_neptune_ml.validation import validate_flag, validate_seconds

if TYPE_CHECKING:
    from airflow_provider_neptune_ml.compat import Context

# What Airflow 2 allowed an XCom; MySQL still takes no more.
_LONGEST_RESULT_BYTES = 49_344


class NeptuneMLGremlinQueryOperator(NeptuneMLTask):
    """
    Run a Gremlin query on the cluster, and return its result.

    Made to try an inference endpoint before it counts as deployed: the task fails without a retry when the
    result is empty. A transient error (throttling, 5xx, no connection) is retried; not where the query has a
    step that changes the graph, and may have been carried out. ``execution_timeout`` ends the task at any
    time. A query that was sent runs on in Neptune until its time limit (``neptune_query_timeout``), also when
    the task is killed.

    .. seealso::
        - https://docs.aws.amazon.com/neptune/latest/userguide/machine-learning-gremlin-inference-queries.html
        - https://docs.aws.amazon.com/neptune/latest/data-api/API_ExecuteGremlinQuery.html

    :param query: The query, or the path of a file with it that ends in ``.gremlin``: as for all templates of
        Airflow, in the folder of the Dag or in its ``template_searchpath``. (templated)
    :param require_result: Whether an empty result fails the task (default: True).
    :param timeout: Time in seconds, or a timedelta, for which the answer is waited for (default: 150;
        Neptune's own limit, ``neptune_query_timeout``, is 120 by default).
    :param unreachable_timeout: Time in seconds, or a timedelta, of transient errors alone after which the
        task fails (default: 600).
    :return: The result, a list of plain JSON values: see :func:`plain()
        <airflow_provider_neptune_ml.hooks.graphson.plain>`. One of more than 49,344 bytes fails the task: for
        those, use :meth:`NeptuneMLHook.gremlin()
        <airflow_provider_neptune_ml.hooks.neptune_ml.NeptuneMLHook.gremlin>` in a task of your own.
    :raises ValueError: when an argument breaks its rule; nothing is sent.
    :raises AirflowFailException: when the result is empty, or too large for an XCom; not retried.
    :raises NeptuneMLTimeoutError: when ``timeout`` has passed.
    :raises NeptuneMLError: when the service refuses, or was out of reach for too long.
    """

    template_fields: Sequence[str] = (*NeptuneMLTask.template_fields, "query")
    template_ext: Sequence[str] = (".gremlin",)
    _is_killed = False

    def __init__(
        self,
        *,
        query: TemplatedText,
        require_result: bool = True,
        timeout: float | timedelta = DEFAULT_QUERY_TIMEOUT_SECONDS,
        unreachable_timeout: float | timedelta = DEFAULT_UNREACHABLE_TIMEOUT_SECONDS,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.query = query
        self.require_result = validate_flag("require_result", require_result)
        self.timeout = validate_seconds("timeout", timeout, zero=False)
        self.unreachable_timeout = validate_seconds("unreachable_timeout", unreachable_timeout)
        self.validate_arguments()

    @property
    def required_fields(self) -> Sequence[str]:
        """The query."""
        return ("query",)

    def execute(self, context: Context) -> list[Any]:  # noqa: ARG002
        """Run the query."""
        self.validate_arguments(rendered=True)
        query = str(self.query)
        subject = GREMLIN.name_of(query)
        budget = RetryBudget(subject, self.unreachable_timeout, self.log)
        result = retry_transient(lambda: self._run(query), budget, sleep=time.sleep, now=time.time)
        if self.require_result and not result:
            raise AirflowFailException(f"{subject} returned no result (require_result=True).")
        size = len(json.dumps(result))
        if self.do_xcom_push and size > _LONGEST_RESULT_BYTES:
            raise AirflowFailException(
                f"{subject} returned {size} bytes, more than the {_LONGEST_RESULT_BYTES} of an XCom. Have it"
                " return less, such as by limit(), or use NeptuneMLHook.gremlin() in a task of your own."
            )
        self.log.info("%s returned %d values", subject, len(result))
        return result

    def on_kill(self) -> None:
        """Note it: Airflow 3 lets a task that was killed go on for some seconds."""
        self._is_killed = True

    def _run(self, query: str) -> list[Any]:
        self._raise_if_killed()
        try:
            return self.hook.gremlin(query, timeout=self.timeout)
        finally:
            self._raise_if_killed()

    def _raise_if_killed(self) -> None:
        if self._is_killed:
            raise NeptuneMLKilledError("The task was killed.")
