"""The status page in a real browser."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from airflow_provider_neptune_ml.kinds import DATA_PROCESSING, KINDS, MODEL_TRAINING
from airflow_provider_neptune_ml.simulator import Fault, Simulator
from tests.simulator.steps import start

if TYPE_CHECKING:
    from pathlib import Path

    from tests.simulator.conftest import ClientMaker

CHROMIUM = shutil.which("chromium")
EVIL = "<img src=x onerror=\"document.title='broken in'\">"

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs chromium (Debian's package of that name)")


def render(simulator: Simulator, profile: Path) -> str:
    """Return the page as headless Chromium has it after a while."""
    done = subprocess.run(
        [
            *(
                str(CHROMIUM),
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
            ),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *(f"--user-data-dir={profile}", "--virtual-time-budget=2000", "--dump-dom", simulator.url),
        ],
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
    )
    return done.stdout


def test_page_shows_the_cluster(simulator: Simulator, make_client: ClientMaker, tmp_path: Path) -> None:
    """The page shows jobs, stages, callers, reasons and faults, and takes none of it for markup."""
    client = make_client(simulator, config={"user_agent": EVIL})
    for kind in KINDS.values():
        start(client, simulator, kind, "job-1")
    simulator.advance(500.0)
    simulator.fail(MODEL_TRAINING.name, "job-1", reason=EVIL)
    simulator.seed(DATA_PROCESSING.name, EVIL, EVIL)
    simulator.add_fault(Fault("throttling"))
    page = render(simulator, tmp_path)

    for kind in KINDS.values():
        assert f'<h2 class="">{kind.title}s</h2>' in page
        assert kind.start_operation in page
        assert all(f">{stage.title}</div>" in page for stage in kind.stages[:2])
    assert "Faults in force: throttling" in page
    assert simulator.connection_uri.replace("&", "&amp;") in page
    assert "&lt;img src=x" in page
    assert "<img" not in page
    assert "<title>Neptune ML simulator</title>" in page


def test_empty_page(simulator: Simulator, tmp_path: Path) -> None:
    """A cluster without resources shows as just that."""
    page = render(simulator, tmp_path)

    assert page.count(">none</span>") == len(KINDS)
    assert '<p id="notice" role="status"></p>' in page
