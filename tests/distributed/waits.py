"""How many waits of which sort the rows have; the Dags and the rows both look here."""

from __future__ import annotations

# A queue of its own, which the workers can be told not to look at.
HELD = "held"
# A pool for hundreds of starts: as many at once as the workers have slots take longer on two processors.
FEW, FEW_SLOTS = "few", 8
# Of `everything_at_once`: 200 waits, with the last one of a pipeline.
STARTS = {"start_deferred": 40, "start_on_worker": 6}
SENSORS = {"poke": 6, "reschedule": 15, "deferrable": 66, "without_worker": 66}
SERVING = "serving"
MANY = 500
SOAK_WAITS_PER_RUN = 10
SOAK_INTERVAL_SECONDS = 60
WATCHED = [f"watched-{number}" for number in range(24)]


def sensor_jobs() -> list[str]:
    """Return the ids of the jobs that the sensors of `everything_at_once` wait for."""
    return [sensor_job(mode, number) for mode, count in SENSORS.items() for number in range(count)]


def sensor_job(mode: str, number: int) -> str:
    """Return the id of the job that one of these sensors waits for."""
    return f"{mode.replace('_', '-')}-{number}"
