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
from airflow_provider_neptune_ml.get_provider_info import connection_form
from airflow_provider_neptune_ml.simulator import Simulator
from dev.demo import CONNECTION_ID, seed
from dev.local_airflow import LocalAirflow
from dev.rest_api import DagRun, until
from tests.cloudwatch import CloudWatch, moto_server

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHROMIUM = shutil.which("chromium")
PICTURES = os.environ.get("NEPTUNE_ML_SCREENSHOTS")
LARGEST_PICTURE = 200_000
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
        home = tmp_path_factory.mktemp("ui") / "airflow"
        connections = {CONNECTION_ID: cluster.connection, "aws_default": cloudwatch.connection}
        with LocalAirflow(home, connections=connections) as airflow:
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


def keep(page: Page, name: str, *, height: int = 800) -> None:
    """Keep what the page shows, if this run is for the pictures."""
    page.set_viewport_size({"width": 1280, "height": height})
    picture = page.screenshot(animations="disabled")
    page.set_viewport_size({"width": 1280, "height": 800})
    if PICTURES:
        (Path(PICTURES) / f"{name}.png").write_bytes(picture)
        assert len(picture) < LARGEST_PICTURE, name


def link(page: Page, name: str) -> str:
    """Return where a button of a task leads."""
    return page.get_by_role("link", name=name, exact=True).get_attribute("href") or ""


@pytest.mark.parametrize(
    ("name", "dag_id", "task_id", "stage"),
    [
        ("finished", "full_pipeline", "fraud.process", "SageMaker processing job"),
        ("failed", "gate_on_training", "wait", "SageMaker tuning job"),
        ("deferred", "full_pipeline", "fraud.train", "SageMaker tuning job"),
        ("from-trigger", "gate_without_worker", "wait", "SageMaker tuning job"),
    ],
)
def test_links(scene: Scene, page: Page, name: str, dag_id: str, task_id: str, stage: str) -> None:
    """From a task in each state, one click leads to its stage and its log in the console of AWS."""
    page.goto(f"{scene.url(dag_id, task_id)}/details")
    page.get_by_role("link", name="CloudWatch log", exact=True).wait_for()

    assert link(page, stage).startswith("https://console.aws.amazon.com/sagemaker/home?region=us-east-1#/")
    assert ".console.aws.amazon.com/cloudwatch/home?region=us-east-1#" in link(page, "CloudWatch log")
    keep(page, f"links-{name}")


def test_log_of_a_failed_training(scene: Scene, page: Page) -> None:
    """What a line shows of an error has the job, its stage and the reason; the stage's log is there."""
    page.goto(scene.url("gate_on_training", "wait"))
    page.get_by_text(LOG[-1]).first.wait_for()
    # The traceback has paths of this machine.
    error = page.get_by_text("AirflowFailException: ").first
    line = error.inner_text()
    error.click()
    # What was looked for has been scrolled to.
    page.evaluate("document.querySelectorAll('*').forEach(each => { each.scrollLeft = 0 })")
    keep(page, "failed-training")

    assert "Model training job 'gate-on-training-start-" in line[:90]
    assert f"ended as Failed in stage 'hyperparameter tuning': {REASON}" in line


def test_graph_of_the_pipeline(scene: Scene, page: Page) -> None:
    """The steps are a group, between the tasks around them."""
    page.goto(scene.url("full_pipeline"))
    page.get_by_role("button", name="Show Graph").click()
    page.locator(".react-flow__node", has_text="fraud").first.wait_for()
    page.get_by_role("button", name="Collapse Details").click()
    page.get_by_role("button", name="Fit View").click()
    keep(page, "pipeline")


def test_connection_form(scene: Scene, page: Page) -> None:
    """The form has each setting, with what it is for."""
    page.goto(f"{scene.airflow.url}/connections")
    page.get_by_role("button", name="Add Connection").click()
    page.get_by_role("combobox").last.click()
    page.keyboard.type("Amazon Neptune")
    page.get_by_role("option", name="Amazon Neptune ML").click()
    page.get_by_text("Extra Fields", exact=True).click()
    for name, field in connection_form()["conn-fields"].items():
        page.get_by_text(field["label"], exact=True).wait_for()
        assert page.get_by_text(field["description"]).is_visible(), name
    keep(page, "connection-form", height=1050)


def test_status_page(scene: Scene, page: Page) -> None:
    """The simulator's own page shows the jobs of the runs."""
    page.goto(scene.cluster.url)
    page.get_by_text(REASON).wait_for()
    keep(page, "simulator")
