"""Base of the operator that checks a model's metrics: bounds, and what a path of names leads to."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_neptune_ml.base import NeptuneMLTask, TemplatedDict
from airflow_provider_neptune_ml.compat import AirflowFailException, AirflowSkipException
from airflow_provider_neptune_ml.lineage import ReportsLineage
from airflow_provider_neptune_ml.retries import (
    DEFAULT_UNREACHABLE_TIMEOUT_SECONDS,
    RetryBudget,
    retry_transient,
)
from airflow_provider_neptune_ml.text import one_line
from airflow_provider_neptune_ml.validation import validate_flag, validate_seconds

if TYPE_CHECKING:
    from airflow_provider_neptune_ml.compat import Context


class NeptuneMLMetricsOperator(ReportsLineage, NeptuneMLTask):
    """
    Base of the operator that checks a model's metrics.

    :param minimum: The least value of each metric, by its path: ``{"test.accuracy": 0.8}`` (default: none).
        (templated)
    :param maximum: The greatest value of each metric: ``{"eval.rmse": 2}`` (default: none). (templated)
    :param soft_fail: Whether a bound that is missed skips the task instead of failing it (default: False).
    :param unreachable_timeout: Time in seconds, or a timedelta, of transient errors alone (throttling, 5xx,
        no connection) after which the task fails (default: 600).
    :return: The metrics: ``{"eval": {...}, "test": {...} or None}``.
    """

    template_fields: Sequence[str] = (*NeptuneMLTask.template_fields, "minimum", "maximum")

    def __init__(
        self,
        *,
        minimum: TemplatedDict | None = None,
        maximum: TemplatedDict | None = None,
        soft_fail: bool = False,
        unreachable_timeout: float | timedelta = DEFAULT_UNREACHABLE_TIMEOUT_SECONDS,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.minimum: Any = minimum
        self.maximum: Any = maximum
        self.soft_fail = validate_flag("soft_fail", soft_fail)
        self.unreachable_timeout = validate_seconds("unreachable_timeout", unreachable_timeout)

    def execute(self, context: Context) -> dict[str, Any]:
        """Read the metrics, and compare them with the bounds."""
        self.validate_arguments(rendered=True)
        name = self.kind.name_of(self.resource_id)
        budget = RetryBudget(name, self.unreachable_timeout, self.log)
        metrics = retry_transient(lambda: self._read(context), budget, sleep=time.sleep, now=time.time)
        there = one_line(", ".join(f"{path}={value}" for path, value in leaves_of(metrics)) or "none")
        minimum, maximum = self.minimum or {}, self.maximum or {}
        for path in (*minimum, *maximum):
            if not has_value(found := metric_at(metrics, path)):
                what = "no number" if found is not None else "not there"
                raise AirflowFailException(f"{name}: metric {path} is {what}. Its metrics: {there}.")
        self.log.info("%s has the metrics %s", name, there)
        missed = [*missed_bounds(metrics, minimum, maximum)]
        if missed:
            error = AirflowSkipException if self.soft_fail else AirflowFailException
            raise error(f"{name}: {'; '.join(missed)}.")
        return metrics

    def _read(self, context: Context) -> dict[str, Any]:
        """Read the metrics of the model, whose links the UI has by then."""
        description = self.hook.describe(self.kind, self.resource_id)
        self.show(context, description)
        return self.hook.model_metrics(self.resource_id, description=description)


def metric_at(metrics: Any, path: str) -> Any:
    """
    Return the metric at a path of names with dots between, or None.

    A name may have dots itself: one that is all that is left of the path comes first.
    """
    if not isinstance(metrics, Mapping):
        return None
    if path in metrics:
        return metrics[path]
    below = (
        metric_at(nested, path[len(name) + 1 :])
        for name, nested in metrics.items()
        if path.startswith(f"{name}.")
    )
    return next((found for found in below if found is not None), None)


def has_value(metric: Any) -> bool:
    """Tell whether a metric can be compared: a number, or the text of one that JSON doesn't know."""
    return metric in ("NaN", "Infinity", "-Infinity") or (
        isinstance(metric, (int, float)) and not isinstance(metric, bool)
    )


def missed_bounds(
    metrics: Mapping[str, Any], minimum: Mapping[str, float], maximum: Mapping[str, float]
) -> Iterator[str]:
    """Yield which metrics miss their bounds; what is no finite number misses any."""
    for word, bounds, sign in (("below the minimum", minimum, 1), ("above the maximum", maximum, -1)):
        for path, bound in bounds.items():
            value = metric_at(metrics, path)
            if not isinstance(value, (int, float)) or not math.isfinite(value):
                yield f"{path} is {value}, no finite number: {word} of {bound}"
            elif sign * value < sign * bound:
                yield f"{path} is {value}, {word} of {bound}"


def leaves_of(metrics: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the paths of all metrics, with their values."""
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            yield from leaves_of(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
