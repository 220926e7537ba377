"""What is built, installed beside the Airflow of this environment as users install it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from airflow_provider_neptune_ml import __version__
from airflow_provider_neptune_ml.compat import AIRFLOW_VERSION
from airflow_provider_neptune_ml.get_provider_info import get_provider_info

ROOT = Path(__file__).parent.parent
UV = os.environ.get("NEPTUNE_ML_UV") or shutil.which("uv") or ""
REPOSITORY = "https://github.com/example/neptune-ml"
DOCUMENTATION = "https://example.github.io/neptune-ml/"
# Airflow before 3.2 makes the forms of connections by the FAB provider.
HAS_FORMS = not AIRFLOW_VERSION.startswith(("3.0.", "3.1.")) or find_spec("flask_appbuilder")
COMMANDS = {
    "get airflow-provider-neptune-ml": ("airflow-provider-neptune-ml", __version__),
    "hooks": ("neptune_ml", "NeptuneMLHook"),
    "triggers": tuple(get_provider_info()["triggers"][0]["python-modules"]),
    "links": tuple(get_provider_info().get("extra-links", ())),
    "behaviours": ("neptune_ml",) if HAS_FORMS else (),
}
RUN_COMMANDS = """
import sys
from airflow.__main__ import main

for command in sys.argv[1:]:
    sys.argv = ["airflow", "providers", *command.split(), "--output", "json"]
    main()
    print("----", flush=True)
"""

# Runs after the others, whose names come first.
A_LAST_TEST = """
from airflow.utils.session import create_session
from sqlalchemy import text

def test_nothing_is_left(neptune_ml_airflow):
    with create_session() as session:
        counts = [session.scalar(text(f"SELECT count(*) FROM {table}")) for table in ("dag_run", "xcom")]
    assert counts == [0, 0]
"""

pytestmark = [
    pytest.mark.skipif(not UV, reason="NEPTUNE_ML_UV names no uv, and there is none on the path"),
    pytest.mark.timeout(1200),
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that was built of it."""
    folder = tmp_path_factory.mktemp("dist")
    pins = ROOT / ".ci" / "constraints" / "release.txt"
    subprocess.run(
        [UV, "build", "--quiet", "--build-constraint", pins, "--out-dir", folder, ROOT],
        env={**os.environ, "REPOSITORY_URL": REPOSITORY},
        check=True,
    )
    return folder


@dataclass(frozen=True)
class Machine:
    """
    A machine on which the wheel is installed, and nothing else is.

    :param python: its Python, with Airflow.
    :param home: the user's home, empty.
    :param folder: an empty folder.
    """

    python: Path
    home: Path
    folder: Path

    def run(self, *arguments: Any, **environment: str) -> str:
        """Run Python in the folder; return what is printed."""
        taken = ("AIRFLOW", "NEPTUNE_ML", "PYTEST", "PYTHON", "VIRTUAL_ENV", "COV_")
        ours = {name: value for name, value in os.environ.items() if not name.startswith(taken)}
        done = subprocess.run(
            [self.python, *arguments],
            cwd=self.folder,
            env={**ours, "HOME": str(self.home), **environment},
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout


@pytest.fixture(scope="module")
def machine(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """One whose Airflow and whose other dependencies are those of this environment."""
    environment, home, folder = (tmp_path_factory.mktemp(name) for name in ("environment", "home", "folder"))
    python = environment / "bin" / "python"
    [wheel] = built.glob("*.whl")
    subprocess.run([UV, "venv", "--quiet", "--clear", "--python", sys.executable, environment], check=True)
    subprocess.run(
        [UV, "pip", "install", "--quiet", "--no-deps", "--no-index", "--python", python, wheel], check=True
    )
    [site] = environment.glob("lib/python*/site-packages")
    # What is installed there; the link to this clone that is there too is not followed.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return Machine(python, home, folder)


def names(built: Path) -> Iterator[tuple[str, set[str]]]:
    """Yield the name of each distribution with the first two parts of what is in it."""
    [wheel], [sdist] = built.glob("*.whl"), built.glob("*.tar.gz")
    yield wheel.name, set(ZipFile(wheel).namelist())
    with tarfile.open(sdist) as archive:
        yield sdist.name, {name.partition("/")[2] for name in archive.getnames()}


def test_contents(built: Path) -> None:
    """The wheel has the package alone, nothing below ``airflow/``; the sdist has no CI and no benchmarks."""
    (wheel, in_wheel), (sdist, in_sdist) = names(built)
    package = {str(path.relative_to(ROOT)) for path in (ROOT / "airflow_provider_neptune_ml").rglob("*.py")}

    assert (wheel, sdist) == (
        f"airflow_provider_neptune_ml-{__version__}-py3-none-any.whl",
        f"airflow_provider_neptune_ml-{__version__}.tar.gz",
    )
    assert package <= in_wheel
    assert {name.partition("/")[0] for name in in_wheel} == {
        "airflow_provider_neptune_ml",
        f"airflow_provider_neptune_ml-{__version__}.dist-info",
    }
    metadata = ZipFile(built / wheel).read(f"airflow_provider_neptune_ml-{__version__}.dist-info/METADATA")
    assert f"Project-URL: Documentation, {DOCUMENTATION}\n" in metadata.decode()
    assert f"]({REPOSITORY}/blob/HEAD/docs/tasks.md)" in metadata.decode()
    assert re.findall(r"\]\((?!https?:)[^)]*", metadata.decode()) == []
    assert package <= in_sdist
    assert {name.partition("/")[0] for name in in_sdist} & {".ci", ".github", "benchmarks"} == set()


def test_first_tests(machine: Machine) -> None:
    """The tests that the docs quote pass, and leave no run, no XCom and no Airflow home behind."""
    texts = [A_LAST_TEST]
    for path in (ROOT / "docs" / "examples").glob("test_*.py"):
        texts.append(Path(shutil.copy(path, machine.folder)).read_text())
    (machine.folder / "test_the_last.py").write_text(A_LAST_TEST)
    number = sum(text.count("\ndef test_") for text in texts)

    assert f"{number} passed" in machine.run("-m", "pytest")
    assert list(machine.home.iterdir()) == []
    assert list(machine.folder.glob("airflow*")) == []


def test_airflow_knows_it(machine: Machine, tmp_path: Path) -> None:
    """Airflow lists what the provider's metadata names: hook, triggers, links, the form of its connection."""
    output = machine.run("-c", RUN_COMMANDS, *COMMANDS, AIRFLOW_HOME=str(tmp_path))

    for said, (command, expected) in zip(output.split("----"), COMMANDS.items(), strict=False):
        assert [name for name in expected if name not in said] == [], command
