"""How much is measured, and both sides in turns."""

from __future__ import annotations

import os
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.isolation import Figures, run_probe
from benchmarks.waits import OURS, PEER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.cluster import Cluster

KIB, MS = 1024.0, 1000.0
POLLS_PER_SECOND = 10_000 / 60


@dataclass(frozen=True)
class Scale:
    """
    How much is measured.

    :param waits: waits of ours for memory and lag.
    :param peer_waits: waits of the peer for these, and of both sides where CPU is compared.
    :param many: waits of ours for the long run.
    :param interval: their poll interval in seconds; always as many polls a second.
    :param seconds: how long the long run is looked at; whole rounds, as the waits go on in waves.
    :param poll_seconds: how long polls are looked at otherwise.
    :param rounds: how often each side has its turn; the median counts.
    :param airflow_rounds: the same in a real Airflow.
    :param at_once: waits in a real Airflow that start and end together.
    :param followed: waits in a real Airflow with a task behind each.
    :param idle_seconds: how long the idle Airflow is looked at before each turn.
    """

    waits: int = 1000
    peer_waits: int = 200
    many: int = 10_000
    interval: float = 60.0
    seconds: float = 120.0
    poll_seconds: float = 20.0
    rounds: int = 3
    airflow_rounds: int = 2
    at_once: int = 20
    followed: int = 10
    idle_seconds: float = 30.0


QUICK = Scale(
    waits=300,
    peer_waits=50,
    many=2000,
    interval=12.0,
    seconds=24.0,
    poll_seconds=6.0,
    rounds=1,
    airflow_rounds=1,
    at_once=6,
    followed=4,
    idle_seconds=10.0,
)


@dataclass(frozen=True)
class Bench:
    """
    Runs probes against a cluster.

    :param cluster: the simulated cluster.
    :param scale: how much is measured.
    """

    cluster: Cluster
    scale: Scale

    def warm_up(self) -> None:
        """Have the bytecode of all that is imported written, as it is in an Airflow that has run before."""
        # Without it each process compiles what it imports: the peer's workers more than ours.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        self.in_turns("take_up", {OURS: 1, PEER: 1}, rounds=1)

    def probe(self, name: str, **arguments: Any) -> Figures:
        """Run a probe in a process of its own."""
        return run_probe(name, self.cluster.connections, **arguments)

    def in_turns(self, name: str, counts: Mapping[str, int], **arguments: Any) -> dict[str, Figures]:
        """
        Run a probe for each side in turns, and return the medians of its figures.

        :param name: the name of the probe.
        :param counts: how many waits each side has.
        :param arguments: what the probe takes besides.
        """
        ids = self.cluster.run_jobs(name.replace("_", "-"), max(counts.values()))
        figures: dict[str, list[Figures]] = {side: [] for side in counts}
        for _ in range(self.scale.rounds):
            for side, count in counts.items():
                figures[side].append(self.probe(name, side=side, ids=ids[:count], **arguments))
        return {side: medians(known) for side, known in figures.items()}


def medians(figures: Sequence[Figures]) -> Figures:
    """Return the median of each figure."""
    return {name: statistics.median(known[name] for known in figures) for name in figures[0]}
