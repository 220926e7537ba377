"""
A local stand-in for a Neptune cluster's ML endpoint.

Names are imported at first use: the pytest plugin lives in this package, and a test run that doesn't use it
must not pay for botocore and a web server.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_neptune_ml.simulator.auth import Credential
    from airflow_provider_neptune_ml.simulator.faults import Fault
    from airflow_provider_neptune_ml.simulator.journal import Request
    from airflow_provider_neptune_ml.simulator.server import Simulator

__all__ = ["Credential", "Fault", "Request", "Simulator"]

_HOMES = {"Credential": "auth", "Fault": "faults", "Request": "journal", "Simulator": "server"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
