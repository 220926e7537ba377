"""The figures of waits that start: memory, CPU and lag."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from benchmarks.bench import KIB, MS
from benchmarks.cluster import Cluster
from benchmarks.table import Row, times
from benchmarks.waits import OURS, PEER, PRINTED
from dev.aws import aws_server

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.isolation import Figures

_HOW_MEMORY = """
Unshared memory of the process (USS, after a garbage collection) once all waits have polled, less that
with the first 20 of them, by the number of the others. Includes the asyncio task of each wait; excludes
what Airflow's triggerer keeps for it, which is the same for both.
"""
_HOW_TAKE_UP = """
All waits start at once, poll once and are held by the event loop, which takes a timer of the poll
interval for the end of a poll; then they are let go, five times, for one more poll each within 5 s, as
our side spreads the first ones. The figure is the CPU time of the first round less the median of the
later ones, which differ in nothing but the taking up. Imports, and the garbage collection that they make
due, excluded for both; clients included.
"""
_HOW_LAG = """
How much later than after 5 ms a coroutine wakes up that sleeps for 5 ms, from the start of the first
wait to the end of the last one's first poll. Nothing but the trigger's own module is imported before:
the import of boto3 and the making of clients are within. Each value is the median of the runs. A full
garbage collection of Python, over all that Airflow has imported, stops every thread for the time given
below; the making of a client often sets one off.
"""
_HOW_PRINTED = """
The same while each wait also reads the log of its stage, from moto's server, and prints it: until {seconds:g}
s after the last first poll, with a poll every {interval:g} s and a page of the log at each but the first.
"""
_PRINTING_INTERVAL = 30.0
_PRINTING_SECONDS = 45.0


def memory(bench: Bench) -> Row:
    """Memory of a deferred wait."""
    few, many = bench.scale.peer_waits, bench.scale.waits
    figures = bench.in_turns("memory", {OURS: many, PEER: few})
    ours, peer = (figures[side]["bytes_per_wait"] / KIB for side in (OURS, PEER))
    return Row(
        figure=f"memory per deferred wait, {many:,} waits",
        ours=f"{ours:.1f} KiB",
        peer=f"{peer:,.0f} KiB ({few} waits)",
        ratio=times(ours, peer),
        required="<= 16 KiB, and 50x below the peer",
        aim="6 KiB",
        met=ours <= 16 and ours * 50 <= peer,
        aim_met=ours <= 6,
        how=_HOW_MEMORY,
    )


def take_up(bench: Bench) -> Row:
    """CPU to take up waits."""
    count = bench.scale.peer_waits
    figures = bench.in_turns("take_up", {OURS: count, PEER: count}, rounds=5)
    ours, peer = (figures[side]["take_up_seconds"] for side in (OURS, PEER))
    return Row(
        figure=f"CPU to take up {count} waits, polls excluded",
        ours=f"{ours:.3f} s",
        peer=f"{peer:.1f} s",
        ratio=times(ours, peer),
        required="50x below the peer",
        aim="200x",
        met=ours * 50 <= peer,
        aim_met=ours * 200 <= peer,
        how=_HOW_TAKE_UP,
        details=[
            f"{side}, a round of {count} polls: {figures[side]['polls_seconds']:.3f} s" for side in figures
        ],
    )


def lag(bench: Bench) -> Row:
    """How long the event loop is blocked while waits start."""
    few, many = bench.scale.peer_waits, bench.scale.waits
    figures = bench.in_turns("lag", {OURS: many, PEER: few})
    return _lag_row(
        figures[OURS],
        figures[PEER],
        of_peer=f" ({few} waits)",
        figure=f"event-loop lag while {many:,} waits start together",
        how=_HOW_LAG,
        details=[
            f"{side}, idle before: max {values['idle_max'] * MS:.1f} ms, p99"
            f" {values['idle_p99'] * MS:.1f} ms; all first polls done after {values['seconds']:.1f} s;"
            f" longest full garbage collection {values['full_collection']:.3f} s"
            for side, values in figures.items()
        ],
    )


def printed(bench: Bench) -> Row:
    """The same, with the CloudWatch logs of all of them."""
    many = bench.scale.waits
    with aws_server() as url, Cluster(url) as cluster:
        figures = replace(bench, cluster=cluster).in_turns(
            "lag", {PRINTED: many, OURS: many}, interval=_PRINTING_INTERVAL, longer=_PRINTING_SECONDS
        )
    return _lag_row(
        figures[PRINTED],
        figures[OURS],
        figure=f"event-loop lag while {many:,} waits with print_log start together, against without",
        how=_HOW_PRINTED.format(seconds=_PRINTING_SECONDS, interval=_PRINTING_INTERVAL),
    )


def _lag_row(ours: Figures, peer: Figures, *, of_peer: str = "", **cells: Any) -> Row:
    """Return the row of two lags; the other cells are given."""

    def lag_of(figures: Figures) -> str:
        return f"max {figures['max']:.3f} s, p99 {figures['p99'] * MS:.0f} ms"

    return Row(
        ours=lag_of(ours),
        peer=lag_of(peer) + of_peer,
        ratio=f"max {times(ours['max'], peer['max'])}, p99 {times(ours['p99'], peer['p99'])}",
        required="max 0.2 s",
        aim="p99 15 ms",
        met=ours["max"] <= 0.2,
        aim_met=ours["p99"] <= 0.015,
        **cells,
    )
