"""What the docs quote and list is true."""

from __future__ import annotations

import ast
import configparser
import json
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from airflow_provider_neptune_ml.base import NeptuneMLTask
from airflow_provider_neptune_ml.compat import AIRFLOW_V_3_0_PLUS
from airflow_provider_neptune_ml.kinds import GREMLIN, KINDS
from airflow_provider_neptune_ml.operators.base import NeptuneMLStartOperator, NeptuneMLStopOperator
from airflow_provider_neptune_ml.operators.neptune_ml import (
    NeptuneMLCancelModelTrainingJobOperator,
    NeptuneMLCreateEndpointOperator,
)
from airflow_provider_neptune_ml.sensors.neptune_ml import NeptuneMLModelTrainingJobSensor, NeptuneMLSensor
from tests import dag_files
from tests.signatures import arguments

ROOT = Path(__file__).parent.parent
# Of the site's address, which the environment has.
yaml.SafeLoader.add_constructor("!ENV", lambda *_: None)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
ALL_PAGES = sorted({*PAGES, *ROOT.glob("*.md")})
QUOTE = re.compile(r"<!-- quote: (\S+) (\S+) -->\n```python\n(.*?)\n```", re.DOTALL)
# What readers don't need: markers, and what mypy is told.
MARK = re.compile(r"^ *# \[(?:START|END) \w+\]\n|  # type: ignore\[[^]]*\]$", re.MULTILINE)
QUOTES = [(page, *quote) for page in PAGES for quote in QUOTE.findall(page.read_text())]


@pytest.mark.parametrize(
    ("page", "source", "region", "quoted"),
    QUOTES,
    ids=[f"{page.name}-{region}" for page, _, region, _ in QUOTES],
)
def test_quotes_are_true(page: Path, source: str, region: str, quoted: str) -> None:
    """A quoted region is what stands in the example between its markers, without comments for mypy."""
    text = (ROOT / source).read_text()
    found = re.search(rf"# \[START {region}\]\n(.*?)\n *# \[END {region}\]", text, re.DOTALL)

    assert found
    assert quoted == textwrap.dedent(MARK.sub("", found.group(1)))


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """A relative link of a page leads to a file of the repository, and to a heading in it."""
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", page.read_text()):
        path = page.parent / target if target else page
        assert path.exists(), target
        headings = re.findall(r"^#+ (.*)", path.read_text(), re.MULTILINE) if anchor else []
        slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert not anchor or anchor in slugs, anchor


FENCE = re.compile(r"^( *)```([^\n]*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
SNIPPET = re.compile(r'^--8<-- "(.*)"$', re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: its language, its text with the files that it includes, what precedes it."""

    page: Path
    language: str
    text: str
    before: str

    def __str__(self) -> str:
        return f"{self.page.name}-{self.language}-line{self.before.count(chr(10)) + 1}"


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page."""
    text = page.read_text()
    return [
        Block(
            page, language, SNIPPET.sub(included, re.sub(f"(?m)^{indent}", "", code)), text[: found.start()]
        )
        for found in FENCE.finditer(text)
        for indent, language, code in [found.groups()]
    ]


def included(snippet: re.Match[str]) -> str:
    """Return the file that a line of a page includes."""
    return (ROOT / snippet[1]).read_text()


def parse_ini(text: str) -> None:
    """Parse an INI file."""
    configparser.ConfigParser().read_string(text)


def parse_shell(text: str) -> None:
    """Parse commands of a shell, without running any."""
    done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def parse_console(text: str) -> None:
    """Parse the commands of a session in a terminal: what follows a prompt, over continued lines."""
    commands = re.findall(r"^\$ ((?:.*\\\n)*.*)$", text, re.MULTILINE)
    assert commands
    parse_shell("\n".join(commands))


BLOCKS = [block for page in ALL_PAGES for block in blocks(page)]
PARSERS: dict[str, Callable[[str], object]] = {
    "bash": parse_shell,
    "console": parse_console,
    "ini": parse_ini,
    "json": json.loads,
    "python": ast.parse,
    "yaml": yaml.safe_load,
}
# Lines of logs and of files without a grammar.
PLAIN = {"text"}


def test_no_block_is_overlooked() -> None:
    """Each fence of a page begins or ends one of its blocks."""
    fences = {page: page.read_text().count("```") for page in ALL_PAGES}

    assert fences == {page: 2 * len(blocks(page)) for page in ALL_PAGES}


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_blocks_parse(block: Block) -> None:
    """A block is code of its language; one that is none says so."""
    if block.language not in PLAIN:
        assert block.language in PARSERS, "add a parser, or call it text"
        PARSERS[block.language](block.text)


def leaves(nav: object) -> Iterator[str]:
    """Yield the pages of the site's navigation."""
    if isinstance(nav, str):
        yield nav
    else:
        for each in nav.values() if isinstance(nav, dict) else nav:  # type: ignore[attr-defined]
            yield from leaves(each)


SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text())


# The pages that teach, and the Python code of each.
GUIDES = [
    ROOT / "README.md",
    *(
        ROOT / "docs" / page
        for section in SITE["nav"]
        for name in ("Get started", "Guides")
        for page in leaves(section.get(name, []))
    ),
]
CODE = {page: [block for block in blocks(page) if block.language == "python"] for page in GUIDES}
NO_PYTHON = {"installation.md"}
STARTS_LATER = {"README.md", "index.md", "examples.md"}


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.name)
def test_guides_start_with_code(page: Path) -> None:
    """A guide begins with code, which is quoted: no heading, table or other block precedes it."""
    if page.name in NO_PYTHON:
        assert not CODE[page]
        return
    first = CODE[page][0]
    quoted = re.search(r"<!-- quote: .* -->\n$", first.before) or SNIPPET.search(page.read_text())

    assert quoted
    if page.name not in STARTS_LATER:
        title, _, introduction = first.before[: quoted.start()].partition("\n\n")
        assert title.startswith("# ")
        assert not re.search(r"^(#|\|| *```)", introduction, re.MULTILINE)
        assert len(introduction.strip().splitlines()) <= 4


@pytest.mark.parametrize("page", [page for page, code in CODE.items() if code], ids=lambda page: page.name)
def test_first_code_runs(page: Path, tmp_path: Path) -> None:
    """The first code of a guide makes a Dag, as it is, from an empty folder."""
    if page.name == "events.md" and not AIRFLOW_V_3_0_PLUS:
        pytest.skip("there are no asset watchers in Airflow 2")
    (tmp_path / "copied.py").write_text(CODE[page][0].text)

    assert dag_files.load(tmp_path / "copied.py").tasks


RUFF = shutil.which("ruff", path=Path(sys.executable).parent)
needs_ruff = pytest.mark.skipif(not RUFF, reason="there is no ruff in this environment")
FUTURE = re.compile(r"^from __future__ import annotations\n", re.MULTILINE)


def undefined(code: str, before: str = "") -> set[str]:
    """Return the names in code that neither it nor the code before it defines."""
    above, below = (FUTURE.sub("", part) for part in (before, code))
    settings = ("--isolated", "--no-cache", "--select=F821", "--target-version=py310", "--output-format=json")
    done = subprocess.run(
        [str(RUFF), "check", *settings, "-"], input=above + below, capture_output=True, text=True, check=False
    )
    found = [each for each in json.loads(done.stdout) if each["location"]["row"] > above.count("\n")]
    assert {each["code"] for each in found} <= {"F821"}
    return {each["message"].split("`")[1] for each in found}


@needs_ruff
@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.name)
def test_names_are_defined(page: Path) -> None:
    """The first code of a guide defines all its names; later code that does not links its complete file."""
    sources = dict.fromkeys(CODE[page], "")
    for block in CODE[page]:
        for source, _ in re.findall(r"<!-- quote: (\S+) (\S+) -->\n$", block.before):
            sources[block] = Path(source).stem

    before = ""
    for number, block in enumerate(CODE[page]):
        missing = undefined(block.text, before)
        linked = f"(examples.md#{sources[block]})" in block.before
        assert not missing or (number and sources[block] and linked), (block, missing)
        before += block.text


def test_every_page_is_on_the_site() -> None:
    """The site's navigation has every page, and the list of example Dags every example."""
    pages = {str(page.relative_to(ROOT / "docs")) for page in PAGES[1:]}
    examples = {f"example_dags/{path.name}" for path in (ROOT / "example_dags").glob("*.py")}

    assert pages == set(leaves(SITE["nav"]))
    assert examples == set(re.findall(r'--8<-- "(.*)"', (ROOT / "docs/examples.md").read_text()))


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


def test_unreleased_pages_are_listed() -> None:
    """The steps of a release name each page that says the package isn't on PyPI; the workflow finds it."""
    workflow = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())
    [pattern] = [
        step["env"]["NOT_YET"]
        for step in workflow["jobs"]["build"]["steps"]
        if "NOT_YET" in step.get("env", ())
    ]
    steps = (ROOT / "docs/releasing.md").read_text()
    pages = {page: page.read_text() for page in PAGES if page.name != "releasing.md"}

    for page, text in pages.items():
        # grep looks at one line at a time.
        assert bool(re.search(pattern, text)) == bool(re.search(pattern, " ".join(text.split()))), page
        if re.search(pattern, text):
            assert f"`{page.relative_to(ROOT)}`" in steps


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


@cache
def all_sayings() -> tuple[str, ...]:
    """Return them all, read once."""
    return tuple(sayings())


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
    assert any(words in saying for saying in all_sayings())


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
