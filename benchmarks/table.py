"""The table: what a row is, and how it is printed."""

from __future__ import annotations

import os
import platform
import textwrap
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.metadata import version

_PACKAGES = (
    "apache-airflow",
    "apache-airflow-providers-amazon",
    "aiobotocore",
    "boto3",
    "airflow-provider-neptune-ml",
)
_COLUMNS = ("figure", "ours", "peer", "ratio", "required", "aimed for", "met")
_WIDTH = 110
_HEAD = """\
# Benchmarks

Written by `make bench` on {date}. The peer is a sensor and a trigger on Amazon's own bases
(`AwsBaseSensor`, `AwsBaseWaiterTrigger`), in `benchmarks/peer.py`. Both sides are measured in turns in
one run, each measurement in a process of its own, against the simulator in another one. Between
machines compare the ratios, not the seconds.

- Machine: {machine}
- Versions: {versions}"""
_FOOT = """\
*met*: **no** is less than what is required, yes is what is required, aim is what is aimed for.

## How the figures came about"""


@dataclass(frozen=True)
class Row:
    """
    One figure.

    :param figure: what was measured.
    :param ours: our side's value, with its unit.
    :param peer: what it is compared with, with its unit.
    :param ratio: of the two, in words such as ``212x less``.
    :param required: what must be reached.
    :param aim: what we aim for.
    :param met: whether what is required was reached.
    :param aim_met: whether what we aim for was reached.
    :param how: a paragraph on how it was measured.
    :param details: further figures, a line each.
    """

    figure: str
    ours: str
    peer: str
    ratio: str
    required: str
    aim: str
    met: bool
    aim_met: bool
    how: str
    details: list[str] = field(default_factory=list)

    def cells(self) -> tuple[str, ...]:
        """Return the cells of the table's row."""
        verdict = "aim" if self.aim_met and self.met else "yes" if self.met else "**no**"
        return (self.figure, self.ours, self.peer, self.ratio, self.required, self.aim, verdict)


def times(smaller: float, larger: float) -> str:
    """Say how many times less the first is than the second; ``1.2x more`` where it is more."""
    if smaller <= 0:
        return "nothing measurable"
    ratio = larger / smaller
    return f"{ratio:,.{0 if ratio >= 20 else 1}f}x less" if ratio >= 1 else f"{1 / ratio:.1f}x more"


def render(rows: list[Row]) -> str:
    """Return the page with the table, and below it how each figure came about."""
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    machine = f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}"
    head = _HEAD.format(
        date=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        machine=f"{machine}; load {os.getloadavg()[0]:.1f} at the end of the run",
        versions=f"Python {platform.python_version()}, {packages}",
    )
    lines = [*head.splitlines(), "", _line(_COLUMNS), _line(["---"] * len(_COLUMNS))]
    lines += [_line(row.cells()) for row in rows]
    lines += ["", *_FOOT.splitlines()]
    for row in rows:
        how = " ".join(row.how.split())
        lines += ["", *textwrap.wrap(f"**{row.figure[0].upper()}{row.figure[1:]}.** {how}", _WIDTH)]
        if row.details:
            lines += ["", *(f"- {detail}" for detail in row.details)]
    return "\n".join(lines) + "\n"


def _line(cells: tuple[str, ...] | list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.machine()
