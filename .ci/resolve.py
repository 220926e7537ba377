"""Pin every environment of the Makefile in `.ci/constraints/`: `make constraints`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import tomllib

CONSTRAINTS = Path(__file__).parent / "constraints"
OF_PROJECT = ["pyproject.toml", "--constraint=-", "--extra=simulator", "--group=test"]
# mypy and ruff run in the newest environment; on other Pythons and Airflows they would only add conflicts.
WITH_LINT = [*OF_PROJECT, "--group=lint"]
# The pages of the newest Airflow are looked at.
WITH_BROWSER = [*WITH_LINT, "--group=screenshots"]
OPTIONS = [
    *("--quiet", "--upgrade"),
    # Names and versions only: where somebody's packages come from is no business of this repository.
    *("--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"),
]
PYTHON = "3.11"
# What an older Airflow does not exclude and does not work with.
TOO_NEW = {
    "3.0": ["pyjwt==2.10.1", "fastapi<0.117"],
    "3.1": ["sqlalchemy<2.1"],
    "3.2": ["svcs==25.1.0", "fastapi<0.134", "starlette<1.1", "sqlalchemy<2.1", "pydantic<2.13"],
}
# The oldest image of Amazon's managed Airflow: it has the lower bound of each dependency.
LOWEST = "2.11.0"
# The image whose Airflow needs another provider for connection forms, and has it.
WITH_FORMS = "3.0.6"
# An image's version of these need not be ours: they run the tests, they are not tested.
TEST_TOOLS = re.compile(r"(pytest|pluggy|iniconfig|execnet)\b")


def lower_bounds() -> list[str]:
    """Return the lower bound of each dependency as a pin.

    uv's `--resolution lowest-direct` proves no bound: it raises a direct dependency to please a newer
    indirect one. With pins the resolution fails when a bound is promised that cannot be installed.
    """
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    requirements = [*project["dependencies"], *project["optional-dependencies"]["simulator"]]
    return [requirement.replace(">=", "==") for requirement in requirements]


def main(uv: str, images: str | None = None) -> None:
    """Resolve each environment from nothing and overwrite its file.

    :param uv: the path of uv.
    :param images: a folder with the pins of Amazon's images, `airflow-<version>.txt`; without it their files
        stay as they are, since a published image does not change.
    """
    newest = ["apache-airflow==3.*"]
    resolve(uv, "airflow-3", WITH_BROWSER, newest)
    resolve(uv, "airflow-2.11", OF_PROJECT, ["apache-airflow==2.11.*"])
    for version, excluded in TOO_NEW.items():
        resolve(uv, f"airflow-{version}", OF_PROJECT, [f"apache-airflow=={version}.*", *excluded])
    for python in ("3.10", "3.12", "3.13"):
        resolve(uv, f"python-{python}", OF_PROJECT, newest, python)
    for image in sorted(Path(images).glob("airflow-*.txt")) if images else ():
        version = image.stem.removeprefix("airflow-")
        pins = [line for line in image.read_text().splitlines() if not TEST_TOOLS.match(line)]
        pins.append(f"apache-airflow=={version}")
        bounds = lower_bounds() if version == LOWEST else []
        sources = [*OF_PROJECT, "--group=forms"] if version == WITH_FORMS else OF_PROJECT
        resolve(uv, f"mwaa-{version}", sources, [*pins, *bounds], "3.12")
    resolve(uv, "bench", [*WITH_LINT, "--group=bench"], newest)
    resolve(uv, "distributed", [*OF_PROJECT, "--group=distributed"], newest)
    resolve(uv, "mutants", [*OF_PROJECT, "--group=mutants"], newest)
    resolve(uv, "docs", ["--group=docs"], [])
    resolve(uv, "release", ["--group=release", "--constraint=.ci/constraints/airflow-3.txt"], [])
    resolve(uv, "clients", ["-"], ["awscli", "graph-notebook"])


def resolve(uv: str, name: str, sources: list[str], lines: list[str], python: str = PYTHON) -> None:
    """Resolve one environment."""
    output = CONSTRAINTS / f"{name}.txt"
    command = [uv, "pip", "compile", *sources, f"-o{output}", f"--python-version={python}", *OPTIONS]
    subprocess.run(  # noqa: S603 - no foreign input
        command, input="\n".join(lines), text=True, check=True, stdout=subprocess.DEVNULL
    )
    print(f"{output.name}: {len(output.read_text().splitlines())} packages")


if __name__ == "__main__":
    main(*sys.argv[1:])
