"""
Measure every figure of the table of benchmarks, and write it to ``docs/benchmarks.md``.

``python -m benchmarks`` takes about half an hour. ``--quick`` takes some minutes, measures less
of everything, and only prints; so does a choice of rows. To be run in the project's root, in an
environment with Airflow 3.3, the Amazon provider with aiobotocore, this one with its simulator, and psutil.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import poll_rows, start_rows
from benchmarks.airflow_rows import airflow_rows
from benchmarks.bench import QUICK, Bench, Scale
from benchmarks.cluster import Cluster
from benchmarks.parsing import imports
from benchmarks.table import Row, render

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
MEASURES: dict[str, Callable[[Bench], list[Row]]] = {
    "memory": lambda bench: [start_rows.memory(bench)],
    "take_up": lambda bench: [start_rows.take_up(bench)],
    "lag": lambda bench: [start_rows.lag(bench)],
    "printed": lambda bench: [start_rows.printed(bench)],
    "poll": lambda bench: [poll_rows.poll(bench)],
    "links": lambda bench: [poll_rows.links(bench)],
    "sustained": lambda bench: [poll_rows.sustained(bench)],
    "airflow": airflow_rows,
    "imports": lambda _bench: [imports()],
}


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").split("\n")[1])
    names = ", ".join(MEASURES)
    parser.add_argument("rows", nargs="*", metavar="row", help=f"what to measure: {names} (default: all)")
    parser.add_argument("--quick", action="store_true", help="measure less of everything, and only print")
    given = parser.parse_args()
    if unknown := set(given.rows) - set(MEASURES):
        parser.error(f"{', '.join(sorted(unknown))}: choose from {names}")
    rows = []
    with Cluster() as cluster:
        bench = Bench(cluster, QUICK if given.quick else Scale())
        bench.warm_up()
        for name in given.rows or MEASURES:
            for row in MEASURES[name](bench):
                print(" | ".join(row.cells()), flush=True)
                rows.append(row)
    page = render(rows)
    if given.quick or given.rows:
        print(f"\n{page}")
    else:
        PAGE.write_text(page)
        print(f"\nWritten to {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
