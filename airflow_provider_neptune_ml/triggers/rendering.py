"""Templates that are rendered in the triggerer: with what is known there as it is in a worker."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from jinja2 import StrictUndefined

_WHOLE = (
    *("run_id", "params", "macros", "var", "conn", "partition_key", "partition_date"),
    *("logical_date", "data_interval_start", "data_interval_end"),
    *("ds", "ds_nodash", "ts", "ts_nodash", "ts_nodash_with_tz"),
)
_PARTS = {
    "ti": ("dag_id", "task_id", "run_id", "map_index", "try_number"),
    "dag_run": ("dag_id", "run_id", "conf", "logical_date", "data_interval_start", "data_interval_end"),
    "dag": ("dag_id",),
    "task": ("task_id",),
}


class Unknown(StrictUndefined):
    """
    What a template names and is not available in the triggerer.

    A worker may know it, such as the Dag's own macros, so that no default may stand in for it. What a mapping
    (``params``, ``dag_run.conf``) lacks, it lacks for a worker too.
    """

    def __init__(self, hint: str | None = None, obj: Any = None, name: str | None = None, *args: Any) -> None:
        super().__init__(hint, obj, name, *args)
        if not isinstance(obj, Mapping):
            raise LookupError(f"{name or hint} is not available in the triggerer")


class _TaskInstance(SimpleNamespace):
    """
    A task instance for templates that are rendered in the triggerer.

    There, Airflow 3.3's ``xcom_pull`` without a map index never returns, and one that finds nothing would
    turn into an id that is not meant. The first gets the map index of an unmapped task, the second raises.
    """

    def __init__(self, ti: Any, **known: Any) -> None:
        super().__init__(**known)
        self._pull = ti.xcom_pull

    def xcom_pull(self, *args: Any, map_indexes: Any = -1, default: Any = None, **kwargs: Any) -> Any:  # noqa: ARG002
        """Pull one XCom; a worker's pull takes no heed of a default where there is no map index either."""
        if not isinstance(map_indexes, int):
            raise LookupError("XComs of several map indexes")
        value = self._pull(*args, map_indexes=map_indexes, **kwargs)
        if any(item is None for item in (value if isinstance(value, list) else [value])):
            raise LookupError("no such XCom of an unmapped task")
        return value


def known_in_triggerer(context: Mapping[str, Any]) -> Any:
    """
    Return what of a context is here as it is in a worker.

    The rest of Airflow 3.3's is empty or made up in the triggerer (``triggering_asset_events``,
    ``dag_run.clear_number``, ``ti.max_tries``), or asks its supervisor what that never answers
    (``prev_start_date_success``, ``task_state_store``, ``ti.get_previous_dagrun()``).
    """
    parts = {key: {name: getattr(context[key], name) for name in names} for key, names in _PARTS.items()}
    ti = _TaskInstance(context["ti"], **parts.pop("ti"))
    known = {key: context[key] for key in _WHOLE if key in context}
    known |= {key: SimpleNamespace(**part) for key, part in parts.items()}
    return {**known, "ti": ti, "task_instance": ti}
