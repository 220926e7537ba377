"""What the docs quote and list is true."""

from __future__ import annotations

import ast
import json
import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from airflow_provider_neptune_ml.base import NeptuneMLTask
from airflow_provider_neptune_ml.kinds import GREMLIN, KINDS
from airflow_provider_neptune_ml.operators.base import NeptuneMLStartOperator, NeptuneMLStopOperator
from airflow_provider_neptune_ml.operators.neptune_ml import (
    NeptuneMLCancelModelTrainingJobOperator,
    NeptuneMLCreateEndpointOperator,
)
from airflow_provider_neptune_ml.sensors.neptune_ml import NeptuneMLModelTrainingJobSensor, NeptuneMLSensor
from tests.signatures import arguments

ROOT = Path(__file__).parent.parent
# Of the site's address, which the environment has.
yaml.SafeLoader.add_constructor("!ENV", lambda *_: None)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
QUOTE = re.compile(r"<!-- quote: (\S+) (\S+) -->\n```python\n(.*?)\n```", re.DOTALL)
MARK = re.compile(r"^ *# \[(?:START|END) \w+\]\n", re.MULTILINE)
QUOTES = [(page, *quote) for page in PAGES for quote in QUOTE.findall(page.read_text())]


@pytest.mark.parametrize(
    ("page", "source", "region", "quoted"),
    QUOTES,
    ids=[f"{page.name}-{region}" for page, _, region, _ in QUOTES],
)
def test_quotes_are_true(page: Path, source: str, region: str, quoted: str) -> None:
    """A quoted region is what stands in the example between its markers."""
    text = (ROOT / source).read_text()
    found = re.search(rf"# \[START {region}\]\n(.*?)\n *# \[END {region}\]", text, re.DOTALL)

    assert found
    assert quoted == textwrap.dedent(MARK.sub("", found.group(1)))


@pytest.mark.parametrize("page", sorted({*PAGES, *ROOT.glob("*.md")}), ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """A relative link of a page leads to a file of the repository, and to a heading in it."""
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", page.read_text()):
        path = page.parent / target if target else page
        assert path.exists(), target
        headings = re.findall(r"^#+ (.*)", path.read_text(), re.MULTILINE) if anchor else []
        slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert not anchor or anchor in slugs, anchor


BLOCK = re.compile(r"^```(python|json|yaml)\n(.*?)\n```", re.DOTALL | re.MULTILINE)
BLOCKS = [(page, *block) for page in PAGES for block in BLOCK.findall(page.read_text())]
PARSERS: dict[str, Callable[[str], object]] = {
    "python": ast.parse,
    "json": json.loads,
    "yaml": yaml.safe_load,
}


@pytest.mark.parametrize(
    ("page", "language", "block"), BLOCKS, ids=[f"{page.name}-{language}" for page, language, _ in BLOCKS]
)
def test_code_blocks_parse(page: Path, language: str, block: str) -> None:
    """A block of code is code of its language."""
    PARSERS[language](block)


def test_every_page_is_on_the_site() -> None:
    """The site's navigation has every page, and the list of example Dags every example."""
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    pages = {str(page.relative_to(ROOT / "docs")) for page in PAGES[1:]}
    examples = {f"example_dags/{path.name}" for path in (ROOT / "example_dags").glob("*.py")}

    assert pages == set(leaves(site["nav"]))
    assert examples == set(re.findall(r'--8<-- "(.*)"', (ROOT / "docs/examples.md").read_text()))


def leaves(nav: object) -> Iterator[str]:
    """Yield the pages of the site's navigation."""
    if isinstance(nav, str):
        yield nav
    else:
        for each in nav.values() if isinstance(nav, dict) else nav:  # type: ignore[attr-defined]
            yield from leaves(each)


def test_compatibility_tables_agree() -> None:
    """README and docs have the same table of what the tests ran on, with each environment that is pinned."""
    pages = ("README.md", "docs/installation.md")
    [readme], [docs] = (
        re.findall(
            r"<!-- compatibility -->\n(.*?)<!-- end of compatibility -->",
            (ROOT / page).read_text(),
            re.DOTALL,
        )
        for page in pages
    )
    named = {line.split(" | ")[0].removeprefix("| ") for line in readme.splitlines()[2:]}
    others = {"bench", "clients", "distributed", "docs", "mutants", "release", "uv"}
    pinned = {path.stem for path in (ROOT / ".ci" / "constraints").glob("*.txt")} - others

    assert readme == docs
    assert named == {name.replace("mwaa-", "managed Airflow ") for name in pinned}


def test_every_region_is_quoted() -> None:
    """A region that is marked to be quoted is quoted."""
    marked = {
        (f"{folder}/{path.name}", region)
        for folder in ("docs/examples", "example_dags")
        for path in (ROOT / folder).glob("*.py")
        for region in re.findall(r"\[START (\w+)\]", path.read_text())
    }

    assert marked == {(source, region) for _, source, region, _ in QUOTES}


def table(page: str, title: str) -> list[list[str]]:
    """Return the rows below the title of a page's table, each with its cells."""
    below = (ROOT / "docs" / page).read_text().split(f"\n| {title} |", 1)[1].splitlines()[2:]
    end = next((number for number, line in enumerate(below) if not line.startswith("|")), len(below))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in below[:end]]


def sayings() -> Iterator[str]:
    """Yield every text of the package but its docstrings, with a newline for what is filled in."""
    for path in (ROOT / "airflow_provider_neptune_ml").rglob("*.py"):
        tree = ast.parse(path.read_text())
        docstrings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else "\n" for part in node.values)
                yield "".join(map(str, parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docstrings:
                yield node.value


ERRORS = [
    part
    for row in table("troubleshooting.md", "the red line says")
    for quote in re.findall(r"`([^`]+)`", row[0])
    for part in filter(None, (part.strip() for part in quote.split("…")))
    # What AWS's SageMaker says, and what a reader gave.
    if quote not in ("ResourceLimitExceeded", "job_id='None'")
]


@pytest.mark.parametrize("words", ERRORS)
def test_errors_are_quoted(words: str) -> None:
    """The words of an error are somewhere in the package, whose simulator has those of the service."""
    assert any(words in saying for saying in sayings())


GROUPS = (
    (NeptuneMLStartOperator, NeptuneMLCreateEndpointOperator(task_id="a", ml_model_training_job_id="b")),
    (NeptuneMLSensor, NeptuneMLModelTrainingJobSensor(task_id="a", job_id="b")),
    (NeptuneMLStopOperator, NeptuneMLCancelModelTrainingJobOperator(task_id="a", job_id="b")),
)
# Of Airflow's own arguments of sensors, those that matter most.
AIRFLOWS: dict[type[NeptuneMLTask], set[str]] = {NeptuneMLSensor: {"poke_interval", "timeout", "soft_fail"}}


@pytest.mark.parametrize(("column", "base", "task"), [(n, *group) for n, group in enumerate(GROUPS, 1)])
def test_arguments_are_listed(column: int, base: type[NeptuneMLTask], task: NeptuneMLTask) -> None:
    """The table of arguments has all that starts, sensors or cancels share, with their defaults."""
    rows = table("tasks.md", "argument")
    defaults = {row[0].strip("`"): ast.literal_eval(row[column].strip("`")) for row in rows if row[column]}

    assert set(defaults) == set(arguments(base)) | AIRFLOWS.get(base, set())
    assert defaults == {name: getattr(task, name) for name in defaults}


def test_policy_is_complete() -> None:
    """The policy allows each action that an operation needs, and no other."""
    [policy] = re.findall(r"```json\n(\{.*?\})\n```", (ROOT / "docs/permissions.md").read_text(), re.DOTALL)
    needed = {
        kind.iam_action(operation)
        for kind in KINDS.values()
        for operation in (
            kind.start_operation,
            kind.get_operation,
            kind.list_operation,
            kind.stop_operation,
        )
    } | {GREMLIN.iam_action}
    [statement] = json.loads(policy)["Statement"]

    assert set(statement["Action"]) == needed
    listed = {
        f"neptune-db:{action}"
        for row in table("permissions.md", "what")
        for action in re.findall(r"`(\w+)`", row[1])
    }
    assert listed <= needed
