"""`make demo` and `make airflow`: the example Dags in a real Airflow 3, against a simulated Neptune ML."""

from __future__ import annotations

import argparse
import json
import math
import shutil
import signal
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_neptune_ml.kinds import DATA_PROCESSING, MODEL_TRAINING, Phase
from airflow_provider_neptune_ml.simulator import Simulator
from dev.local_airflow import LocalAirflow
from dev.rest_api import ENDED_RUN_STATES, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

HOMES = Path(__file__).parents[1] / ".airflow"
DATA_JOB_ID = "nightly-data"  # as the params of the example Dags say
DEMO_SPEED = 80.0  # a training of 20 minutes takes 15 seconds
VISIBLE_SPEED = 60.0
RUN_SECONDS = 150
# Between two looks some of these show and some don't; nobody misses them.
PASSING_STATES = frozenset({"scheduled", "queued"})
LINE = "{:<20} {:<6} {:<44} {:<16} {:>8}"


@dataclass(frozen=True)
class Scene:
    """One Dag run and how it must end."""

    title: str
    dag_id: str
    run_state: str
    task_states: dict[str, str]
    job_status: str | None
    conf: dict[str, object] = field(default_factory=dict)
    stage_seconds: dict[str, float] = field(default_factory=dict)


SCENES = (
    Scene(
        title="Train, wait, and go on only because the training completed",
        dag_id="gate_on_training",
        run_state="success",
        task_states={"start": "success", "wait": "success", "use_model": "success"},
        job_status=MODEL_TRAINING.statuses.succeeded,
    ),
    Scene(
        title="A check fails while the training runs, and the training is cancelled",
        dag_id="train_with_cleanup",
        run_state="failed",
        task_states={
            "start": "success",
            "check_data": "failed",
            "cancel": "success",
            "fail_run": "failed",
            "wait": "failed",
            "use_model": "upstream_failed",
            "clean_up": "success",
        },
        job_status=MODEL_TRAINING.statuses.stopped,
        conf={"data_is_good": False},
        # However slow this machine is: the training still runs when the cancellation comes.
        stage_seconds={"hpoJob": 24 * 3600.0},
    ),
)


class Story:
    """Tells what happens when it happens, each change once, and remembers it for the closing table."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._seen: dict[tuple[str, str, str], tuple[str, float, float]] = {}

    def tell(self, what: str, news: str) -> None:
        """Print one line."""
        print(f"{time.monotonic() - self._began:6.1f} s  {what:<50} {news}", flush=True)

    def change(self, dag_id: str, sort: str, name: str, state: str | None) -> None:
        """Print the state of a Dag run, task or job if it is another than last time."""
        now = time.monotonic()
        before, since, _ = self._seen.get((dag_id, sort, name), (None, now, now))
        if state and state != before and state not in PASSING_STATES:
            self.tell(f"{sort:<5} {name}", state)
            self._seen[dag_id, sort, name] = (state, since, now)

    def close(self, scenes: tuple[Scene, ...]) -> None:
        """Print the closing table.

        :raises RuntimeError: if something ended otherwise than it should.
        """
        print("\n" + LINE.format("Dag", "", "", "ended as", "seconds"))
        dags = [scene.dag_id for scene in scenes]
        rows = sorted(self._seen.items(), key=lambda row: (dags.index(row[0][0]), row[0][1] != "Dag"))
        for (dag_id, sort, name), (state, since, until_) in rows:
            print(LINE.format(dag_id, sort, name, state, f"{until_ - since:.1f}"))
        wrong = [line for scene in scenes for line in self._wrong(scene)]
        if wrong:
            raise RuntimeError("\n".join(wrong))
        print("\nEverything ended as it should.")

    def _wrong(self, scene: Scene) -> list[str]:
        seen = {key: state for key, (state, *_) in self._seen.items() if key[0] == scene.dag_id}
        jobs = [state for (_, sort, _), state in seen.items() if sort == "job"]
        expected = {(scene.dag_id, "task", name): state for name, state in scene.task_states.items()}
        expected[scene.dag_id, "Dag", scene.dag_id] = scene.run_state
        wrong = [
            f"WRONG: {' '.join(key)} should have ended as {state}, not as {seen.get(key)}"
            for key, state in expected.items()
            if seen.get(key) != state
        ]
        if jobs != [scene.job_status]:
            wrong.append(f"WRONG: {scene.dag_id} should have left one job as {scene.job_status}, not {jobs}")
        return wrong


def play(scene: Scene, airflow: LocalAirflow, cluster: Simulator, story: Story) -> None:
    """Run one Dag to its end, telling what happens to it and its job."""
    print(f"\n{scene.title}")
    if scene.stage_seconds:
        cluster.script(MODEL_TRAINING.name, seconds=scene.stage_seconds)
    earlier_jobs = set(_jobs(cluster))
    run = airflow.api.trigger(scene.dag_id, scene.conf)

    def look() -> bool:
        airflow.check()
        # The run first: once it has ended, what is seen of its tasks afterwards is final.
        run_state = run.state()
        for task_id, state in run.task_states().items():
            story.change(run.dag_id, "task", task_id, state)
        for job_id, status in _jobs(cluster).items():
            if job_id not in earlier_jobs:
                story.change(run.dag_id, "job", job_id, status)
        story.change(run.dag_id, "Dag", run.dag_id, run_state)
        return run_state in ENDED_RUN_STATES

    until(look, within=RUN_SECONDS, what=f"the end of {scene.dag_id}")


def _jobs(cluster: Simulator) -> dict[str, str]:
    """Return the status of each training job, with its stage while it runs."""
    jobs = {}
    for job in cluster.overview()["kinds"][MODEL_TRAINING.name]:
        description = cluster.describe(MODEL_TRAINING.name, job["id"])
        status = description["status"]
        stage = [stage.title for stage in MODEL_TRAINING.stages if stage.member in description][-1]
        jobs[job["id"]] = (
            f"{status} ({stage})" if MODEL_TRAINING.phase_of(status) is Phase.RUNNING else status
        )
    return jobs


@contextmanager
def local_set_up(speed: float, story: Story) -> Iterator[tuple[LocalAirflow, Simulator]]:
    """Run a simulated cluster with processed data and an Airflow with a connection to it."""
    HOMES.mkdir(exist_ok=True)
    home = Path(tempfile.mkdtemp(dir=HOMES, prefix=time.strftime("%Y%m%d-%H%M%S-")))
    with Simulator(speed=speed) as cluster:
        cluster.seed(DATA_PROCESSING.name, DATA_JOB_ID, status=DATA_PROCESSING.statuses.succeeded)
        story.tell("Neptune ML simulator", f"{cluster.url}  ({speed:g} times as fast as real time)")
        story.tell("Airflow", "starting")
        connection = {"AIRFLOW_CONN_NEPTUNE_ML_DEFAULT": json.dumps(cluster.connection)}
        try:
            with LocalAirflow(home, env=connection) as airflow:
                story.tell("Airflow", airflow.url)
                yield airflow, cluster
        except Exception:
            print(f"\nFailed; the logs are in {home}", file=sys.stderr)
            raise
        except BaseException:
            shutil.rmtree(home)
            raise
    shutil.rmtree(home)


def run_demo() -> int:
    """Play all scenes; return the exit code."""
    story = Story()
    with local_set_up(DEMO_SPEED, story) as (airflow, cluster):
        for scene in SCENES:
            play(scene, airflow, cluster, story)
        story.close(SCENES)
    story.tell("Airflow", "stopped")
    return 0


def keep_running() -> int:
    """Run the set-up until somebody ends it, by a signal."""
    story = Story()
    with local_set_up(VISIBLE_SPEED, story) as (airflow, cluster):
        print(f"\nAirflow             {airflow.url}  (no login: everybody on this machine is its admin)")
        print(f"Simulated cluster   {cluster.url}")
        print(f"Dags                {airflow.env['AIRFLOW__CORE__DAGS_FOLDER']}")
        print(f"Logs                {airflow.home}\n\nCtrl-C ends it.", flush=True)
        return until(airflow.check, within=math.inf, what="the end")


def _exit(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep-running", action="store_true", help="only start everything; Ctrl-C ends it")
    keep = parser.parse_args().keep_running
    # An exit like any other, so that the processes are ended.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _exit)
    try:
        return keep_running() if keep else run_demo()
    except (OSError, RuntimeError, ImportError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nEnded.")
        return 0 if keep else 130


if __name__ == "__main__":
    sys.exit(main())
