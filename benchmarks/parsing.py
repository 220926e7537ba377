"""The figure of a Dag file: how many modules it imports, as a fresh interpreter sees it."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.table import Row, times

_SDK = """
from airflow.sdk import DAG, BaseOperator, BaseSensorOperator
with DAG("measured", schedule=None):
    BaseOperator(task_id="operator")
    BaseSensorOperator(task_id="sensor")
"""
# Every required argument, and one of each choice, gets a value that passes for an id or a location.
_OURS = """
import inspect
from airflow.sdk import DAG, BaseOperator
from airflow_provider_neptune_ml import pipeline
from airflow_provider_neptune_ml.operators import export, neptune_ml as operators, query
from airflow_provider_neptune_ml.sensors import export as export_sensors, neptune_ml as sensors
with DAG("measured", schedule=None):
    for module in (operators, export, query, sensors, export_sensors):
        for name, cls in list(vars(module).items()):
            is_ours = inspect.isclass(cls) and cls.__module__ == module.__name__
            if is_ours and issubclass(cls, BaseOperator) and (hasattr(cls, "kind") or module is query):
                required = {
                    parameter.name: "s3://bucket/key" if "s3" in parameter.name else "an-id"
                    for base in cls.__mro__ if base.__module__.startswith("airflow_provider_neptune_ml")
                    for parameter in inspect.signature(base.__init__).parameters.values()
                    if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty
                }
                chosen = dict.fromkeys((*getattr(cls, "alternatives", ()), ())[0], "an-id")
                cls(task_id=name, **required, **chosen)
                print(name)
"""
_PEER = """
from airflow.sdk import DAG
from benchmarks.peer import PeerSensor
with DAG("measured", schedule=None):
    PeerSensor(task_id="sensor", job_id="an-id")
"""
_MARK = "-- modules --"
_HOW = """
A fresh interpreter runs a Dag file with one task of each of our {count} classes, and imports the pipeline;
another one a Dag file with an operator and a sensor of `airflow.sdk`'s own bases. The figure is the number of
modules that the first has and the second has not.
"""


def imports() -> Row:
    """Modules that a Dag file imports."""
    _, base = _run(_SDK)
    classes, ours = _run(_OURS)
    _, peer = _run(_PEER)
    ours -= base | {"inspect"}
    peer -= base | {"benchmarks", "benchmarks.peer"}
    return Row(
        figure="modules imported by a Dag file with all our operators and sensors, over `airflow.sdk` alone",
        ours=f"{len(ours)}, {'' if _has_boto3(ours) else 'no '}boto3",
        peer=f"{len(peer)}, {'' if _has_boto3(peer) else 'no '}boto3 (one sensor)",
        ratio=times(len(ours), len(peer)),
        required="<= 40, no boto3",
        aim="30",
        met=len(ours) <= 40 and not _has_boto3(ours),
        aim_met=len(ours) <= 30,
        how=_HOW.format(count=len(classes)),
        details=[f"classes: {', '.join(f'`{name}`' for name in sorted(classes))}"],
    )


def _run(code: str) -> tuple[set[str], set[str]]:
    """Run a Dag file; return what it printed, and the modules that it left."""
    script = f"{code}\nimport sys\nprint({_MARK!r}, *sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)  # noqa: S603
    printed, _, modules = done.stdout.partition(_MARK)
    return set(printed.split()), set(modules.split())


def _has_boto3(modules: set[str]) -> bool:
    return bool({"boto3", "botocore"} & modules)
