"""The arguments of our classes."""

from __future__ import annotations

import inspect


def arguments(cls: type) -> dict[str, inspect.Parameter]:
    """Return the arguments that a class and our classes above it take."""
    found: dict[str, inspect.Parameter] = {}
    for ours in inspect.getmro(cls):
        if ours.__module__.startswith("airflow_provider_neptune_ml"):
            found = {**inspect.signature(vars(ours).get("__init__", object)).parameters, **found}
    return {name: found[name] for name in found if name not in ("self", "kwargs")}
