"""The figures that need a real Airflow: worker processes, CPU and time of whole sensors."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from benchmarks.local import DEFERRABLE, INTERVAL_SECONDS, PEER, TRIGGERER, waiting_airflow
from benchmarks.table import Row, times

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.bench import Bench
    from benchmarks.local import Waited

_WAYS = (TRIGGERER, DEFERRABLE, PEER)
_HOW_WORKERS = """
A Dag with {waits} sensors in a real Airflow with LocalExecutor. Counted are the API server's answers to
the call with which each worker process begins a task. Our own sensor with `deferrable=True` takes
{deferrable:g}.
"""
_HOW_CPU = """
CPU time of all processes of that Airflow, from before the Dag run to a few seconds after it, less what
the idle Airflow used just before in as much time. All sensors wait for two poll intervals of {interval}
s, then all jobs end at once. The Dag run's own share is within. In brackets our own sensor with
`deferrable=True`.
"""
_HOW_LATE = """
Poll interval {interval} s. The jobs end one after the other, at all points of a poll interval; the
figure is the mean of the times until the task behind the sensor began in its worker. Ours starts and
ends in the triggerer.
"""


def airflow_rows(bench: Bench) -> list[Row]:
    """Run the sensors of both sides in one Airflow, in turns, and return the rows."""
    together: dict[str, list[Waited]] = {way: [] for way in _WAYS}
    late: dict[str, list[float]] = {way: [] for way in _WAYS}
    scale = bench.scale
    with waiting_airflow(bench.cluster, at_once=scale.at_once, followed=scale.followed) as airflow:
        # What each component imports and compiles at its first use belongs to nobody's figures.
        for way in _WAYS:
            airflow.wait_at_once(way, scale.at_once)
        for _ in range(scale.airflow_rounds):
            for way in _WAYS:
                airflow.measure_idle(scale.idle_seconds)
                together[way].append(airflow.wait_at_once(way, scale.at_once))
        for _ in range(scale.airflow_rounds):
            for way in _WAYS:
                late[way] += airflow.wait_followed(way, scale.followed).late_seconds
    return [_workers(together, scale.at_once), _cpu(together, scale.at_once), _late(late)]


def _workers(together: Mapping[str, list[Waited]], waits: int) -> Row:
    ours, deferrable, peer = (
        statistics.median(waited.workers / waits for waited in together[way]) for way in _WAYS
    )
    return Row(
        figure="worker processes started per wait, `start_from_trigger` + `end_from_trigger`",
        ours=f"{ours:g}",
        peer=f"{peer:g}",
        ratio=f"{peer - ours:g} fewer",
        required="0 (a deferrable sensor: 2)",
        aim="0",
        met=ours == 0,
        aim_met=ours == 0,
        how=_HOW_WORKERS.format(waits=waits, deferrable=deferrable),
    )


def _cpu(together: Mapping[str, list[Waited]], waits: int) -> Row:
    ours, deferrable, peer = (
        statistics.median(waited.cpu_seconds / waits for waited in together[way]) for way in _WAYS
    )
    return Row(
        figure=f"CPU per wait on LocalExecutor, {waits} at once, over the idle Airflow",
        ours=f"{ours:.2f} s",
        peer=f"{peer:.2f} s ({deferrable:.2f} s)",
        ratio=f"{times(ours, peer)} ({times(ours, deferrable)})",
        required="5x less than a deferrable sensor",
        aim="11x",
        met=ours * 5 <= min(peer, deferrable),
        aim_met=ours * 11 <= min(peer, deferrable),
        how=_HOW_CPU.format(interval=INTERVAL_SECONDS),
        details=[
            f"{way}, each turn: {', '.join(f'{turn.cpu_seconds / waits:.2f}' for turn in together[way])} s"
            for way in _WAYS
        ],
    )


def _late(late: Mapping[str, list[float]]) -> Row:
    ours, peer = (statistics.mean(late[way]) for way in (TRIGGERER, PEER))
    return Row(
        figure="time from job end to downstream start, same poll interval",
        ours=f"{ours:.1f} s",
        peer=f"{peer:.1f} s",
        ratio=times(ours, peer),
        required="not worse than the peer",
        aim="half",
        met=ours <= peer,
        aim_met=ours * 2 <= peer,
        how=_HOW_LATE.format(interval=INTERVAL_SECONDS),
        details=[
            f"{way}: mean {statistics.mean(seconds):.1f} s, {min(seconds):.1f} to {max(seconds):.1f} s"
            for way, seconds in late.items()
        ],
    )
