"""Write the table of what the tests ran on into README.md and docs/installation.md, for `make test-all`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

PAGES = ("README.md", "docs/installation.md")
MARKED = re.compile(r"(<!-- compatibility -->\n).*?(<!-- end of compatibility -->)", re.DOTALL)
HEAD = """\
| environment | Airflow | Python | Amazon provider | boto3 | tests | on |
|---|---|---|---|---|---|---|"""
VERSIONS = """
import platform
from importlib.metadata import version
names = ("apache-airflow", "apache-airflow-providers-amazon", "boto3")
airflow, amazon, boto3 = map(version, names)
print(airflow, platform.python_version(), amazon, boto3, sep=" | ")
"""
NOT_RUN = "| not run | | | | | |"


def row(name: str, page: str) -> str:
    """Return the row of an environment, from the report that pytest left in it, else the earlier one."""
    environment = Path(".venv") / name
    title = f"managed Airflow {name.removeprefix('mwaa-')}" if name.startswith("mwaa-") else name
    report = environment / "pytest.xml"
    if not report.exists():
        earlier = re.search(rf"^\| {re.escape(title)} \|.*$", page, re.MULTILINE)
        return earlier[0] if earlier else f"| {title} {NOT_RUN}"
    [suite] = ElementTree.parse(report).getroot()  # noqa: S314 - pytest wrote it
    total, failed, skipped = (
        sum(int(suite.attrib[name]) for name in names)
        for names in (("tests",), ("failures", "errors"), ("skipped",))
    )
    command = [environment / "bin" / "python", "-c", VERSIONS]
    versions = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
    tests = f"{total - failed - skipped} passed, {skipped} skipped" + f", **{failed} failed**" * bool(failed)
    return f"| {title} | {versions} | {tests} | {suite.attrib['timestamp'][:10]} |"


def main(names: list[str]) -> None:
    """Replace the table in each page."""
    for path in map(Path, PAGES):
        page = path.read_text()
        table = "\n".join([HEAD, *(row(name, page) for name in names), ""])
        path.write_text(MARKED.sub(lambda marks, table=table: marks[1] + table + marks[2], page))


if __name__ == "__main__":
    main(sys.argv[1:])
