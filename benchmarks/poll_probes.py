"""What is measured while waits poll, inside a process of its own; all numbers in seconds."""

from __future__ import annotations

import asyncio
import time

from benchmarks import waits
from benchmarks.isolation import Figures
from benchmarks.loop import PollLoop, p99


def polls(side: str, ids: list[str], interval: float, seconds: float) -> Figures:
    """
    Measure the CPU seconds of polls at a steady rate, and how late any poll is from the second round on.

    CPU counts after two rounds: the peer's waits start over seconds, ours in one burst.
    """
    loop = PollLoop(interval, keep_time=True)
    waits.import_all(side)

    async def probe() -> Figures:
        path, rows = waits.serialized(side, ids, interval)
        tasks = await waits.start(side, path, rows)
        await loop.until_polls(2 * len(rows))
        wall, cpu, count = time.monotonic(), time.process_time(), loop.polls
        await asyncio.sleep(seconds)
        wall, cpu, count = time.monotonic() - wall, time.process_time() - cpu, loop.polls - count
        late = list(loop.lateness)
        await waits.stop(tasks)
        return {
            "cpu_per_poll": cpu / count,
            "cpu_share": cpu / wall,
            "polls_per_second": count / wall,
            "late_max": max(late),
            "late_p99": p99(late),
        }

    return loop.run(probe())


def bare_calls(ids: list[str], endpoint_url: str, rate: float, seconds: float) -> Figures:
    """Measure the CPU seconds of a call of a bare boto3 client, at a steady rate or (0) without a pause."""
    import boto3

    from airflow_provider_neptune_ml.simulator.auth import EXAMPLE_CREDENTIAL
    from benchmarks.cluster import REGION

    client = boto3.client(
        "neptunedata",
        endpoint_url=endpoint_url,
        region_name=REGION,
        aws_access_key_id=EXAMPLE_CREDENTIAL.access_key,
        aws_secret_access_key=EXAMPLE_CREDENTIAL.secret_key,
    )
    client.get_ml_model_training_job(id=ids[0])
    began, cpu, count = time.monotonic(), time.process_time(), 0
    while time.monotonic() < began + seconds:
        client.get_ml_model_training_job(id=ids[count % len(ids)])
        count += 1
        if rate:
            time.sleep(max(0.0, began + count / rate - time.monotonic()))
    return {"cpu_per_poll": (time.process_time() - cpu) / count}
