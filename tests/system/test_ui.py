"""
Airflow's UI, in a real browser: the pages on which a user meets this package.

`make screenshots` runs this file and keeps what the tests look at, as the pictures of the docs.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from airflow_provider_neptune_ml.compat import CAN_RUN_WITHOUT_WORKER
from airflow_provider_neptune_ml.simulator import Simulator
from dev.demo import CONNECTION_ID, seed
from dev.local_airflow import LocalAirflow
from dev.rest_api import DagRun, until
from tests.cloudwatch import REGION, CloudWatch, moto_server

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHROMIUM = shutil.which("chromium")
PICTURES = os.environ.get("NEPTUNE_ML_SCREENSHOTS")
LARGEST_PICTURE = 150_000
REASON = "AlgorithmError: train.py exited with code 1"
LOG = (
    "Loading graph fraud: 1,204,311 nodes, 5,816,022 edges, 3 node types",
    "epoch 1: loss 0.6931, validation accuracy 0.71",
    "epoch 2: loss 0.4127, validation accuracy 0.83",
    "Traceback (most recent call last):",
    '  File "/opt/ml/code/train.py", line 212, in train_epoch',
    "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
)

pytestmark = [
    pytest.mark.skipif(not CHROMIUM, reason="needs chromium (Debian's package of that name)"),
    pytest.mark.skipif(not CAN_RUN_WITHOUT_WORKER, reason="the pages are those of Airflow 3.3"),
]


@dataclass(frozen=True)
class Scene:
    """An Airflow whose runs are in every state that a picture shows; none of them changes any more."""

    cluster: Simulator
    airflow: LocalAirflow
    runs: dict[str, DagRun]

    def url(self, dag_id: str, task_id: str = "") -> str:
        """Return the address of a run, or of a task in it."""
        task = f"/tasks/{task_id}" if task_id else ""
        return f"{self.airflow.url}/dags/{dag_id}/runs/{quote(self.runs[dag_id].run_id)}{task}"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A training that failed and one that goes on, in the stage that tunes; one that had completed before."""
    with moto_server() as cloudwatch, Simulator(speed=100) as cluster:
        seed(cluster)
        for _ in range(2):
            cluster.script("modeltraining", seconds={"hpoJob": 1e6})
        settings = {"endpoint_url": cloudwatch.url, "region_name": REGION}
        aws = {"conn_type": "aws", "login": "testing", "password": "testing", "extra": settings}
        home = tmp_path_factory.mktemp("ui") / "airflow"
        connections = {CONNECTION_ID: cluster.connection, "aws_default": aws}
        with LocalAirflow(home, connections=connections, busy=True) as airflow:
            dags = ("gate_on_training", "full_pipeline", "gate_without_worker")
            now = datetime.now(timezone.utc).isoformat()
            runs = {dag_id: airflow.api.trigger(dag_id, logical_date=now) for dag_id in dags}
            fail_training(cluster, cloudwatch, "gate-on-training")
            runs["gate_on_training"].wait(within=180)
            # Its last task takes the description that was pushed in the triggerer.
            assert runs["gate_without_worker"].wait(within=180) == "success"
            tuning(cluster, "full-pipeline")
            runs["full_pipeline"].wait_for_task("fraud.train", "deferred", within=180)
            yield Scene(cluster, airflow, runs)


def tuning(cluster: Simulator, prefix: str) -> str:
    """Wait until a training tunes, and return its id."""

    def found() -> str | None:
        jobs = [job["id"] for job in cluster.overview()["kinds"]["modeltraining"]]
        started = [job for job in jobs if job.startswith(prefix)]
        return started[0] if started and "hpoJob" in cluster.describe("modeltraining", started[0]) else None

    return until(found, within=240, what=f"the tuning stage of {prefix}")


def fail_training(cluster: Simulator, cloudwatch: CloudWatch, prefix: str) -> None:
    """Have a training fail in its stage that tunes, whose log says why."""
    job_id = tuning(cluster, prefix)
    name = cluster.describe("modeltraining", job_id)["hpoJob"]["name"]
    cloudwatch.write("/aws/sagemaker/TrainingJobs", f"{name}-001-4f1d2c/algo-1-1770000000", *LOG)
    cluster.fail("modeltraining", job_id, reason=REASON, stage="hpoJob")


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """A page of headless Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the dependency group `screenshots`")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(60_000)
        yield page
        browser.close()


def keep(page: Page, name: str) -> None:
    """Keep what the page shows, if this run is for the pictures."""
    picture = page.screenshot()
    assert len(picture) < LARGEST_PICTURE
    if PICTURES:
        (Path(PICTURES) / f"{name}.png").write_bytes(picture)
