"""What every operator, sensor and trigger keeps, whoever adds the next one."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from airflow.providers.amazon.aws.operators.base_aws import AwsBaseOperator
from botocore import xform_name
from botocore.session import get_session

from airflow_provider_neptune_ml.base import NeptuneMLTask
from airflow_provider_neptune_ml.hooks.neptune_ml import NeptuneMLHook
from airflow_provider_neptune_ml.operators.base import NeptuneMLStartOperator
from airflow_provider_neptune_ml.sensors import neptune_ml as sensors
from airflow_provider_neptune_ml.triggers.events import NeptuneMLJobEventTrigger
from airflow_provider_neptune_ml.triggers.neptune_ml import NeptuneMLJobTrigger
from tests.leaf_classes import LEAVES
from tests.signatures import arguments

PACKAGE = Path(inspect.getfile(NeptuneMLTask)).parent
each_leaf = pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.__name__)


@each_leaf
def test_arguments_are_keywords(leaf: type[NeptuneMLTask]) -> None:
    """Every argument is keyword-only."""
    for name, parameter in arguments(leaf).items():
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY, name


@pytest.mark.parametrize(
    "cls", [*LEAVES, NeptuneMLJobTrigger, NeptuneMLJobEventTrigger], ids=lambda cls: cls.__name__
)
def test_arguments_are_documented(cls: type) -> None:
    """Every argument is in the docstring of its class or of the one above that takes it, and no other is."""
    docs = "".join(
        inspect.cleandoc(ours.__doc__ or "") + "\n"
        for ours in inspect.getmro(cls)
        if ours.__module__.startswith("airflow_provider_neptune_ml")
    )
    airflows = {"poke_interval", "timeout"}

    assert set(re.findall(r":param (\w+):", docs)) - airflows == set(arguments(cls)) - airflows


@each_leaf
def test_docstrings_lead_to_aws(leaf: type[NeptuneMLTask]) -> None:
    """A leaf names the pages of AWS's guide and API reference, and what it raises."""
    doc = leaf.__doc__ or ""

    assert "https://docs.aws.amazon.com/neptune/latest/userguide/" in doc
    assert "https://docs.aws.amazon.com/neptune/latest/data-api/API_" in doc
    assert ":raises ValueError:" in doc


@each_leaf
def test_template_fields(leaf: type[NeptuneMLTask]) -> None:
    """Every text, list and dict argument is a template field, once, and the docs say so."""
    fields = list(leaf.template_fields)
    known = arguments(leaf)
    docs = " ".join("".join(ours.__doc__ or "" for ours in inspect.getmro(leaf)).split())

    assert len(fields) == len(set(fields))
    assert set(fields) <= set(known)
    for name, parameter in known.items():
        if re.search(r"\b(str|list|dict|Sequence|Mapping|Templated\w+)\b", str(parameter.annotation)):
            assert name in fields, name
    for name in fields:
        assert str(known[name].annotation).startswith("Templated"), name
        described = re.search(rf":param {name}:(.*?)(?= :param | :raises | :return|$)", docs)
        assert described, name
        assert "(templated)" in described.group(1), name


@pytest.mark.parametrize(
    "leaf",
    [leaf for leaf in LEAVES if issubclass(leaf, NeptuneMLStartOperator)],
    ids=lambda leaf: leaf.__name__,
)
def test_start_arguments_are_botocores(leaf: type[NeptuneMLStartOperator]) -> None:
    """A start takes every member of the request in snake_case; when botocore adds one, this fails."""
    model = get_session().get_service_model("neptunedata").operation_model(leaf.kind.start_operation)
    assert model.input_shape
    members = {xform_name(member) for member in model.input_shape.members}

    assert {leaf.kind.id_argument, *leaf.request_parameters} == (members - {"id"}) | {leaf.kind.id_argument}
    assert set(leaf.request_parameters) <= set(arguments(leaf))
    for member in model.input_shape.required_members:
        assert arguments(leaf)[xform_name(member)].default is inspect.Parameter.empty


@each_leaf
def test_shared_arguments_are_amazons(leaf: type[NeptuneMLTask]) -> None:
    """What the Amazon provider's operators take to reach a service, ours take too."""
    amazons = inspect.signature(AwsBaseOperator.__init__).parameters
    shared = {name for name, parameter in amazons.items() if parameter.kind is inspect.Parameter.KEYWORD_ONLY}

    assert shared - {"region"} <= set(arguments(leaf)), "region is the deprecated name of region_name"


def test_hook_takes_what_tasks_pass_on() -> None:
    """Every setting of a task reaches its hook."""
    task = sensors.NeptuneMLModelTrainingJobSensor(
        task_id="wait",
        job_id="mine",
        neptune_ml_conn_id="cluster",
        aws_conn_id="account",
        region_name="eu-west-1",
        verify="/bundle.pem",
        botocore_config={"read_timeout": 5},
    )
    hook = NeptuneMLHook(**task.hook_parameters)

    assert (hook.neptune_ml_conn_id, hook.aws_conn_id) == ("cluster", "account")
    assert (hook._region_name, hook._verify) == ("eu-west-1", "/bundle.pem")
    assert getattr(hook._config, "read_timeout", None) == 5


def imported(tree: ast.Module) -> Iterator[str]:
    """Yield what a module imports, each as ``module.name``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize(
    "path", sorted({*PACKAGE.rglob("*.py")} - {PACKAGE / "compat.py"}), ids=lambda path: path.stem
)
def test_one_module_knows_the_versions(path: Path) -> None:
    """No module but ``compat`` asks for Airflow's version, and none takes it from another provider."""
    tree = ast.parse(path.read_text())
    asks = ("airflow.__version__", "airflow.version", "packaging", "importlib.metadata")

    assert [name for name in imported(tree) if name.startswith((*asks, "airflow.providers.common"))] == []


# Modules


ROOT = PACKAGE.parent


def imports(path: Path) -> Iterator[str]:
    """Yield each module, and each ``module.name``, that a module imports anywhere but for type checkers."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for name in imported(tree):
        yield from (name, name.rpartition(".")[0])


@pytest.mark.parametrize("folder", ["airflow_provider_neptune_ml", "benchmarks", "dev"])
def test_imports_form_a_tree(folder: str) -> None:
    """No module imports itself, by way of others."""
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in (ROOT / folder).rglob("*.py")
    }
    edges = {name: modules.keys() & set(imports(path)) for name, path in modules.items()}
    reached = edges
    for _ in modules:
        reached = {name: known.union(*(edges[each] for each in known)) for name, known in reached.items()}

    assert not [name for name, known in reached.items() if name in known]


def test_no_test_imports_another() -> None:
    """What several test modules need is in a module that has no tests."""
    for path in (ROOT / "tests").rglob("test_*.py"):
        shared = [name for name in imports(path) if re.search(r"^tests\.(.*\.)?test_\w+$", name)]
        assert not shared, path
