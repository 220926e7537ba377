"""The figures of waits that poll: CPU and punctuality."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.bench import MS, POLLS_PER_SECOND, medians
from benchmarks.isolation import Figures
from benchmarks.table import Row, times
from benchmarks.waits import LINKED, OURS, PEER

if TYPE_CHECKING:
    from benchmarks.bench import Bench

_HOW_POLL = """
CPU time of the process by the number of polls, {seconds:g} s of {rate:.0f} polls a second, signed
requests, {count} waits. The bare call is one boto3 client in one thread, called at the same rate:
without the pauses between its calls it would have warmer caches than any poll has. In brackets what
Amazon's bases (aiobotocore) use for a poll.
"""
_HOW_LINKS = """
The same, of waits whose task takes XComs against waits whose task takes none: at each poll, the wait looks
for what XCom has not yet. A push, at a change of stage, is not in it; `print_log` is off.
"""
_HOW_SUSTAINED = """
All waits start at once. Late is the end of a poll, with its answer and decision, after the moment at
which the pause before it was to end; every poll from the second of each wait on counts. CPU is looked
at for {seconds:g} s after two rounds of polls. The peer polls as often with {few} waits: {many:,} of
its clients take more than ten times the memory of {few} and block the loop for minutes as they start.
"""


def poll(bench: Bench) -> Row:
    """CPU of a poll."""
    count, seconds = bench.scale.peer_waits, bench.scale.poll_seconds
    calls: list[Figures] = []
    polls: dict[str, list[Figures]] = {OURS: [], PEER: []}
    for _ in range(bench.scale.rounds):
        ids = bench.cluster.run_jobs("poll", count)
        url = bench.cluster.url
        calls.append(
            bench.probe("bare_calls", ids=ids, endpoint_url=url, rate=POLLS_PER_SECOND, seconds=seconds)
        )
        for side, known in polls.items():
            interval = count / POLLS_PER_SECOND
            known.append(bench.probe("polls", side=side, ids=ids, interval=interval, seconds=seconds))
    call, ours, peer = (medians(known)["cpu_per_poll"] * MS for known in (calls, *polls.values()))
    return Row(
        figure="CPU per poll against a bare boto3 call",
        ours=f"{ours:.2f} ms",
        peer=f"{call:.2f} ms ({peer:.2f} ms)",
        ratio=f"{ours / call:.2f}x ({ours / peer:.2f}x)",
        required="<= 1.5x",
        aim="1.1x",
        met=ours <= 1.5 * call,
        aim_met=ours <= 1.1 * call,
        how=_HOW_POLL.format(seconds=seconds, rate=POLLS_PER_SECOND, count=count),
    )


def links(bench: Bench) -> Row:
    """What the links of the UI, the description and a log that is not printed add to a poll."""
    count, seconds = bench.scale.peer_waits, bench.scale.poll_seconds
    interval = count / POLLS_PER_SECOND
    figures = bench.in_turns("polls", {LINKED: count, OURS: count}, interval=interval, seconds=seconds)
    linked, without = (figures[side]["cpu_per_poll"] * MS for side in (LINKED, OURS))
    return Row(
        figure="CPU per poll with links and description in XCom, against without",
        ours=f"{linked:.2f} ms",
        peer=f"{without:.2f} ms",
        ratio=f"{linked / without:.2f}x",
        required="<= 1.10x",
        aim="1.05x",
        met=linked <= 1.1 * without,
        aim_met=linked <= 1.05 * without,
        how=_HOW_LINKS,
    )


def sustained(bench: Bench) -> Row:
    """Ten thousand waits at once."""
    scale = bench.scale
    many, few, interval = scale.many, scale.peer_waits, scale.interval
    ids = bench.cluster.run_jobs("many", many)
    ours = bench.probe("polls", side=OURS, ids=ids, interval=interval, seconds=scale.seconds)
    peer = bench.probe(
        "polls", side=PEER, ids=ids[:few], interval=few / POLLS_PER_SECOND, seconds=scale.poll_seconds
    )
    return Row(
        figure=f"{many:,} waits polled every {interval:g} s in one triggerer process",
        ours=f"latest poll {ours['late_max']:.2f} s late, {ours['cpu_share']:.2f} of a core",
        peer=f"{peer['late_max']:.2f} s late, {peer['cpu_share']:.2f} of a core ({few} waits, as many polls)",
        ratio=f"CPU {times(ours['cpu_share'], peer['cpu_share'])}",
        required="sustained, no late poll over 5 s",
        aim="half a core",
        # Jitter is on the polls' average, and a look of two rounds does not see exactly two polls of each.
        met=ours["late_max"] <= 5 and ours["polls_per_second"] >= 0.9 * many / interval,
        aim_met=ours["cpu_share"] <= 0.5,
        how=_HOW_SUSTAINED.format(seconds=scale.seconds, few=few, many=many),
        details=[
            f"{side}: {known['polls_per_second']:.0f} polls a second, p99 {known['late_p99']:.2f} s late,"
            f" {known['cpu_per_poll'] * MS:.2f} ms CPU a poll"
            for side, known in ((OURS, ours), (PEER, peer))
        ],
    )
