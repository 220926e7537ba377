"""The docs quote the example Dags, word for word."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
QUOTE = re.compile(r"<!-- quote: (\S+) (\S+) -->\n```python\n(.*?)\n```", re.DOTALL)
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
    assert quoted == textwrap.dedent(found.group(1))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """A relative link of a page leads to a file of the repository."""
    for target in re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_every_region_is_quoted() -> None:
    """A region that is marked to be quoted is quoted."""
    marked = {
        (f"example_dags/{path.name}", region)
        for path in (ROOT / "example_dags").glob("*.py")
        for region in re.findall(r"\[START (\w+)\]", path.read_text())
    }

    assert marked == {(source, region) for _, source, region, _ in QUOTES}
