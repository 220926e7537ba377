"""What Airflow learns about the provider."""

from __future__ import annotations

import importlib
import json
from importlib.metadata import entry_points, version
from importlib.resources import files
from importlib.util import find_spec
from typing import Any

import jsonschema
import pytest
from airflow.providers_manager import ProvidersManager

import airflow_provider_neptune_ml
from airflow_provider_neptune_ml.compat import AIRFLOW_V_3_0_PLUS
from airflow_provider_neptune_ml.get_provider_info import connection_form, get_provider_info
from airflow_provider_neptune_ml.hooks.neptune_ml import NeptuneMLHook


def test_is_valid_for_airflow() -> None:
    """The metadata fits the schema of the Airflow that is installed."""
    schema = json.loads(files("airflow").joinpath("provider_info.schema.json").read_text())

    jsonschema.validate(get_provider_info(), schema)


def test_entry_point_leads_to_it() -> None:
    """The installed package tells Airflow about itself, under the name that it has."""
    [entry] = [
        entry
        for entry in entry_points(group="apache_airflow_provider")
        if entry.value.startswith("airflow_provider_neptune_ml")
    ]

    assert entry.load() is get_provider_info
    assert entry.dist is not None
    assert entry.dist.name == get_provider_info()["package-name"]
    assert entry.dist.version == airflow_provider_neptune_ml.__version__


def test_named_modules_exist() -> None:
    """Every module that the metadata names can be imported."""
    info = get_provider_info()

    for role in ("hooks", "operators", "sensors", "triggers"):
        for integration in info[role]:
            for module in integration["python-modules"]:
                importlib.import_module(module)


def test_airflow_knows_the_connection_type() -> None:
    """Airflow's own manager finds the hook, and can test its connections."""
    hook = ProvidersManager().hooks["neptune_ml"]

    assert hook is not None
    assert hook.hook_class_name.endswith("NeptuneMLHook")
    assert hook.connection_id_attribute_name == "neptune_ml_conn_id"
    assert hook.connection_testable


def test_connection_form_has_the_settings() -> None:
    """The form has a field for each setting of the connection, in the form that Airflow wants it."""
    fields, hidden = form()

    # Airflow 2 would store a false as true: its users have these two in the extra.
    missing = set() if AIRFLOW_V_3_0_PLUS else {"iam_auth", "export_iam_auth"}
    assert fields == set(connection_form()["conn-fields"]) - missing
    assert hidden == {"login", "password"}


def form() -> tuple[set[str], set[str]]:
    """Return the names of the fields that the UI has in the form for extras, and those it hides."""
    if not AIRFLOW_V_3_0_PLUS:
        manager = ProvidersManager()
        prefix, behaviour = "extra__neptune_ml__", manager.field_behaviours["neptune_ml"]
        names = {name.removeprefix(prefix) for name in manager.connection_form_widgets if prefix in name}
        return names, set(behaviour["hidden_fields"])
    if version("apache-airflow").startswith(("3.0.", "3.1.")) and not find_spec("flask_appbuilder"):
        pytest.skip("Airflow before 3.2 makes the forms of connections by the FAB provider")
    from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService

    [ours] = [each for each in HookMetaService.hook_meta_data() if each.connection_type == "neptune_ml"]
    standard: Any = ours.standard_fields
    hidden = {name for name, field in standard.model_dump().items() if field and field["hidden"]}
    return set(ours.extra_fields or {}), hidden


def test_hook_agrees_with_the_metadata() -> None:
    """The hook's own attributes say what the metadata says."""
    form = connection_form()

    assert NeptuneMLHook.conn_type == form["connection-type"]
    assert NeptuneMLHook.hook_name == form["hook-name"]
    assert f"{NeptuneMLHook.__module__}.{NeptuneMLHook.__qualname__}" == form["hook-class-name"]
