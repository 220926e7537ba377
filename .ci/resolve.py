"""Pin every environment of the Makefile in `.ci/constraints/`: `make constraints`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import tomllib

CONSTRAINTS = Path(__file__).parent / "constraints"
OF_PROJECT = ["pyproject.toml", "--constraint=-", "--extra=simulator", "--group=test", "--group=lint"]
OPTIONS = [
    *("--quiet", "--upgrade", "--python-version=3.11"),
    # Names and versions only: where somebody's packages come from is no business of this repository.
    *("--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"),
]


def lowest() -> list[str]:
    """Return the lower bound of each dependency as a pin.

    uv's `--resolution lowest-direct` proves no bound: it raises a direct dependency to please a newer
    indirect one. With pins the resolution fails when a bound is promised that cannot be installed.
    """
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    requirements = [*project["dependencies"], *project["optional-dependencies"]["simulator"]]
    return [requirement.replace(">=", "==") for requirement in requirements]


def main(uv: str) -> None:
    """Resolve each environment from nothing and overwrite its file."""
    environments = {
        "airflow-3": ["apache-airflow==3.*"],
        "airflow-2.11": ["apache-airflow==2.11.*"],
        "lowest": lowest(),
    }
    for name, pins in environments.items():
        resolve(uv, name, OF_PROJECT, pins)
    resolve(uv, "bench", [*OF_PROJECT, "--group=bench"], ["apache-airflow==3.*"])
    resolve(uv, "distributed", [*OF_PROJECT, "--group=distributed"], ["apache-airflow==3.*"])
    resolve(uv, "clients", ["-"], ["awscli", "graph-notebook"])


def resolve(uv: str, name: str, sources: list[str], lines: list[str]) -> None:
    """Resolve one environment."""
    output = CONSTRAINTS / f"{name}.txt"
    command = [uv, "pip", "compile", *sources, f"-o{output}", *OPTIONS]
    subprocess.run(  # noqa: S603 - no foreign input
        command, input="\n".join(lines), text=True, check=True, stdout=subprocess.DEVNULL
    )
    print(f"{output.name}: {len(output.read_text().splitlines())} packages")


if __name__ == "__main__":
    main(sys.argv[1])
