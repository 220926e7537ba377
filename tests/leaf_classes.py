"""The public operators and sensors."""

from __future__ import annotations

import inspect

from airflow_provider_neptune_ml.base import NeptuneMLTask
from airflow_provider_neptune_ml.operators import export as export_operators
from airflow_provider_neptune_ml.operators import neptune_ml as operators
from airflow_provider_neptune_ml.operators import query
from airflow_provider_neptune_ml.sensors import export as export_sensors
from airflow_provider_neptune_ml.sensors import neptune_ml as sensors

LEAVES: list[type[NeptuneMLTask]] = [
    *(
        leaf
        for module in (operators, sensors, export_operators, export_sensors)
        for _, leaf in inspect.getmembers(module, inspect.isclass)
        if issubclass(leaf, NeptuneMLTask) and leaf.__module__ == module.__name__ and "kind" in vars(leaf)
    ),
    query.NeptuneMLGremlinQueryOperator,
]
