"""The results of Gremlin queries: plain values of what comes as GraphSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from airflow_provider_neptune_ml.text import storable


def plain(value: Any) -> Any:
    """
    Return what a value of GraphSON stands for, as plain JSON.

    Each typed value is replaced by the value alone: a list or set by a list, a number by itself, a date by
    its milliseconds since 1970, a vertex by a dict of its ``id``, ``label`` and ``properties``. A map becomes
    a dict; a key of it that is no text, the JSON of that key. Without types, a value stays what it is.

    https://tinkerpop.apache.org/docs/current/dev/io/#graphson-3d0

    :param value: what was read of the JSON.
    :raises RecursionError: it is nested too deeply.
    """
    if isinstance(value, Mapping):
        inner = value.get("@value")
        if value.get("@type") == "g:Map" and isinstance(inner, list):
            return {_key(plain(key)): plain(item) for key, item in zip(inner[::2], inner[1::2], strict=False)}
        if "@type" in value:
            return plain(inner)
        return {storable(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # Python reads it in a reply, and a database of XComs takes no such JSON
    return storable(value) if isinstance(value, str) else value


def _key(key: Any) -> str:
    return key if isinstance(key, str) else json.dumps(key)
