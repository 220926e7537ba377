"""The table of the last run on a distributed Airflow, in docs/reliability.md and on the screen."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from tests.system.reliability import PAGE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.distributed.ground import Result

_SECTION = re.compile(r"(?<=<!-- last run -->\n).*?(?=<!-- end of the last run -->)", re.DOTALL)


def table(results: Mapping[str, Result], versions: Mapping[str, str]) -> str:
    """
    Return how rows went, in Markdown.

    :param results: How each went, by the name of the row.
    :param versions: Of what they ran on, by name.
    """
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    lines = [
        f"On {datetime.now(timezone.utc):%Y-%m-%d}, with {named}:",
        "",
        "| row | held | jobs started / cancelled, each time |",
        "|---|---|---|",
    ]
    for name, result in results.items():
        counts = ", ".join(sorted(result.counts)) or "-"
        lines.append(f"| `{name}` | {result.held} of {result.times} | {counts} |")
    return "\n".join(lines) + "\n"


def write(text: str) -> None:
    """Put the table in the place of the last one."""
    PAGE.write_text(_SECTION.sub(lambda _: text, PAGE.read_text()))
