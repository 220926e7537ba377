"""2,000 waits for 20 minutes on a distributed Airflow, with faults in turn: `make soak`."""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import NamedTuple

import psutil

from airflow_provider_neptune_ml.simulator import Fault
from dev.processes import OwnedProcess
from dev.rest_api import DagRun, until
from tests.distributed.ground import DistributedGround, distributed_ground
from tests.distributed.waits import SOAK_INTERVAL_SECONDS, SOAK_WAITS_PER_RUN

# Hundreds of Dag runs on two cores.
TIMEOUT_SECONDS = 1200
# A triggerer that is lost is missed, and its waits are taken over, within two intervals.
MISSED_SECONDS = 45
REFUSED_SECONDS = 20
SAMPLE_SECONDS = 5
# Its journal has real times. Keeping its state takes long with thousands of jobs.
CLUSTER = {"clock": "real", "durations": {"modeltraining": {"processingJob": 1e6}}, "state_file": None}
# By how much the triggerer may have grown at the end: the allocator keeps some memory.
GROWTH = {"memory (MiB)": 1.1, "threads": 1.1, "descriptors": 1.1}


class Sample(NamedTuple):
    """What a triggerer takes: memory in MiB, threads and open descriptors, of all its processes."""

    memory: float
    threads: int
    descriptors: int


def main() -> int:
    """Run what the command line asks for; the exit code tells whether it held."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--waits", type=int, default=2000, help="how many (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=20, help="for how long (default: %(default)s)")
    arguments = parser.parse_args()
    env = {"AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": str(MISSED_SECONDS)}
    with (
        tempfile.TemporaryDirectory(prefix="neptune-ml-soak-") as home,
        distributed_ground(Path(home), settings=CLUSTER, env=env) as ground,
    ):
        return soak(ground, arguments.waits // SOAK_WAITS_PER_RUN, 60 * arguments.minutes)


def soak(ground: DistributedGround, run_count: int, seconds: float) -> int:
    """Wait, disturb, measure, end the waits and print what was measured; return the exit code."""
    jobs = [f"soak-{run}-{number}" for run in range(run_count) for number in range(SOAK_WAITS_PER_RUN)]
    for job in jobs:
        ground.cluster.seed("modeltraining", job, status="InProgress")
    tell(f"starting {len(jobs)} waits")
    with ThreadPoolExecutor(4) as pool:
        runs = list(
            pool.map(lambda number: ground.airflow.api.trigger("soak", {"number": number}), range(run_count))
        )
    until(lambda: ground.counts("get").keys() >= set(jobs), within=TIMEOUT_SECONDS, what="the first polls")
    # From here on one triggerer has all waits, for most of the time.
    first, second = ground.airflow.all("triggerer")
    first.terminate()
    first.wait(TIMEOUT_SECONDS)
    first.restart()
    until(lambda: ground.airflow.waits(second) >= len(jobs), within=TIMEOUT_SECONDS, what="the take-over")
    began = time.time()
    with sampled(second) as samples:
        disturb(ground, FAULTS_WHILE_SAMPLED, 0.8 * seconds)
    disturb(ground, (kill_triggerer, hang_triggerer), 0.2 * seconds)
    latest = worst_gap(ground, set(jobs), began)
    return verdict(samples, latest, lost_waits(ground, jobs, runs))


def disturb(
    ground: DistributedGround, faults: tuple[Callable[[DistributedGround], None], ...], seconds: float
) -> None:
    """Let faults come in turn, evenly over a time."""
    for fault in faults:
        over = time.monotonic() + seconds / len(faults)
        tell(fault.__doc__ or "")
        fault(ground)
        until(lambda over=over: time.monotonic() > over, within=seconds + 60, what="the next fault")  # type: ignore[misc]


def throttle(ground: DistributedGround) -> None:
    """The service throttles for a minute."""
    ground.cluster.add_fault(Fault("too_many_requests", times=None))
    time.sleep(60)
    ground.cluster.clear_faults()


def refuse(ground: DistributedGround) -> None:
    """Nobody listens for 20 seconds."""
    ground.cluster.add_fault(Fault("refused", seconds=REFUSED_SECONDS))


def expire(ground: DistributedGround) -> None:
    """Credentials expire."""
    ground.cluster.add_fault(Fault("expired_token", times=20))


def slow_down(ground: DistributedGround) -> None:
    """Fifty answers take five seconds."""
    ground.cluster.add_fault(Fault("slow", times=50, seconds=5))


def kill_scheduler(ground: DistributedGround) -> None:
    """A scheduler is killed and started again."""
    ground.airflow.all("scheduler")[0].restart()


def kill_worker(ground: DistributedGround) -> None:
    """A worker is killed and started again."""
    ground.airflow.all("worker")[0].restart()


def restart_redis(ground: DistributedGround) -> None:
    """Redis is restarted."""
    with ground.airflow.supervised():
        ground.airflow.redis.stop()
        ground.airflow.redis.start()


def kill_triggerer(ground: DistributedGround) -> None:
    """The triggerer with all waits is killed and started again."""
    ground.airflow.all("triggerer")[1].restart()


def hang_triggerer(ground: DistributedGround) -> None:
    """The triggerer with all waits hangs until the other one has taken them over."""
    first, second = ground.airflow.all("triggerer")
    with first.suspended():
        until(lambda: ground.airflow.waits(first) == 0, within=TIMEOUT_SECONDS, what="the take-over")
    tell(f"{second.name} has {ground.airflow.waits(second)} waits")


FAULTS_WHILE_SAMPLED = (throttle, refuse, kill_scheduler, expire, slow_down, kill_worker, restart_redis)


@contextmanager
def sampled(triggerer: OwnedProcess) -> Iterator[list[Sample]]:
    """Measure what a triggerer takes every few seconds, for as long as the context lasts."""
    samples: list[Sample] = []
    over = Event()

    def measure() -> None:
        while not over.wait(SAMPLE_SECONDS):
            samples.append(sample(triggerer.members()))

    thread = Thread(target=measure)
    thread.start()
    try:
        yield samples
    finally:
        over.set()
        thread.join()


def sample(processes: list[psutil.Process]) -> Sample:
    """Return what processes take now."""
    return Sample(
        sum(process.memory_info().rss for process in processes) / 2**20,
        sum(process.num_threads() for process in processes),
        sum(process.num_fds() for process in processes),
    )


def worst_gap(ground: DistributedGround, jobs: set[str], began: float) -> float:
    """Return the longest time in seconds between two polls of a job since a time, refused ones too."""
    last = dict.fromkeys(jobs, began)
    worst = 0.0
    for call in ground.journal():
        if call.id in last and call.at > began:
            worst = max(worst, call.at - last[call.id])
            last[call.id] = call.at
    return max([worst, *(time.time() - at for at in last.values())])


def lost_waits(ground: DistributedGround, jobs: list[str], runs: list[DagRun]) -> int:
    """Let all jobs end well, and return how many waits did not."""
    tell("all jobs complete")
    for job in jobs:
        ground.cluster.finish("modeltraining", job)
    for run in runs:
        run.wait(within=TIMEOUT_SECONDS)
    return sum(state != "success" for run in runs for state in run.task_states().values())


def verdict(samples: list[Sample], latest: float, lost: int) -> int:
    """Print what was measured, and return the exit code."""
    quarter = max(1, len(samples) // 4)
    print(f"\n| {'':<14} | first quarter | last quarter | highest |\n|---|---|---|---|")
    wrong = []
    for index, (name, growth) in enumerate(GROWTH.items()):
        values = [each[index] for each in samples]
        before, after = statistics.median(values[:quarter]), statistics.median(values[-quarter:])
        print(f"| {name:<14} | {before:.0f} | {after:.0f} | {max(values):.0f} |")
        if after > growth * before:
            wrong.append(f"{name} grew from {before:.0f} to {after:.0f}")
    print(f"\nLongest time between two polls: {latest:.0f} s, every {SOAK_INTERVAL_SECONDS} s. Lost: {lost}.")
    if latest > 2 * SOAK_INTERVAL_SECONDS:
        wrong.append(f"a poll came {latest:.0f} s after the last one")
    if lost:
        wrong.append(f"{lost} waits did not end well")
    print("\n".join(f"WRONG: {line}" for line in wrong) or "It held.")
    return bool(wrong)


def tell(news: str) -> None:
    """Print a line, with the time."""
    print(f"{time.strftime('%H:%M:%S')}  {news}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
