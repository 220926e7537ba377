"""What Dag files and tests import from ``airflow.sdk``, with the names of Airflow 3 on Airflow 2 as well."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_neptune_ml.compat import AIRFLOW_V_3_0_PLUS

if TYPE_CHECKING or AIRFLOW_V_3_0_PLUS:
    from airflow.sdk import DAG, Asset, task, task_group
else:
    from airflow.datasets import Dataset as Asset
    from airflow.decorators import task, task_group
    from airflow.models.dag import DAG

if TYPE_CHECKING:
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import TaskDeferred
else:
    # Each has moved in another release, and says so.
    import importlib

    def _newest(name: str, *modules: str) -> type:
        for module in modules:
            try:
                return getattr(importlib.import_module(module), name)
            except (AttributeError, ImportError):
                continue
        raise ImportError(name)

    BaseHook = _newest("BaseHook", "airflow.sdk", "airflow.hooks.base")
    TaskDeferred = _newest("TaskDeferred", "airflow.sdk.exceptions", "airflow.exceptions")

__all__ = ["DAG", "Asset", "BaseHook", "TaskDeferred", "task", "task_group"]
