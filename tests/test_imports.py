"""What importing the provider costs a process that only parses Dags."""

from __future__ import annotations

import subprocess
import sys
from functools import cache

import pytest

HEAVY = (
    "boto3",
    "botocore",
    "aiobotocore",
    "starlette",
    "uvicorn",
    "openlineage",
    "airflow.providers.openlineage",
    "airflow.providers.amazon.aws.hooks.base_aws",
)


@cache
def modules_after(code: str) -> set[str]:
    """Return the modules that a fresh interpreter has after some code."""
    script = f"{code}\nimport sys\nprint('\\n'.join(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module",
    [
        "operators.neptune_ml",
        "operators.export",
        "sensors.export",
        "operators.query",
        "sensors.neptune_ml",
        "triggers.neptune_ml",
        "triggers.events",
        "pipeline",
        "compat",
        "exceptions",
        "kinds",
    ],
)
def test_dag_files_do_not_import_boto3(module: str) -> None:
    """Operators, sensors and triggers leave boto3, the hook and the simulator's web server alone."""
    loaded = modules_after(f"import airflow_provider_neptune_ml.{module}")

    # Airflow 2 itself may load some of these, through its settings.
    assert not set(HEAVY) & (loaded - modules_after("import airflow.models, airflow.triggers.base"))
    assert "airflow_provider_neptune_ml.hooks.neptune_ml" not in loaded


def test_tasks_are_built_without_boto3() -> None:
    """Building tasks, as every parse of a Dag file does, does not import boto3 either."""
    loaded = modules_after(
        "from airflow_provider_neptune_ml.sensors.neptune_ml import NeptuneMLModelTrainingJobSensor\n"
        "NeptuneMLModelTrainingJobSensor(task_id='wait', job_id='mine')"
    )

    assert "boto3" not in loaded


def test_asset_uris_need_the_table_alone() -> None:
    """Airflow imports what checks asset URIs in every process that makes an asset of any kind."""
    loaded = modules_after("import airflow_provider_neptune_ml.assets.neptune_ml")

    assert {name for name in loaded if name.startswith("airflow")} == {
        "airflow_provider_neptune_ml",
        "airflow_provider_neptune_ml.assets",
        "airflow_provider_neptune_ml.assets.neptune_ml",
        "airflow_provider_neptune_ml.kinds",
    }


def test_provider_info_needs_the_standard_library_alone() -> None:
    """Airflow reads the metadata in every process: it must not import Airflow, or anything else."""
    loaded = modules_after(
        "from airflow_provider_neptune_ml.get_provider_info import get_provider_info as g; g()"
    )
    ours = {"airflow_provider_neptune_ml", "airflow_provider_neptune_ml.get_provider_info"}

    assert loaded - modules_after("import __future__, typing") == ours
