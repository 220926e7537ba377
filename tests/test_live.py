"""The questions to a real cluster, put to the simulator in both of its manners."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_neptune_ml import live
from airflow_provider_neptune_ml.kinds import KINDS
from airflow_provider_neptune_ml.simulator import Fault, Simulator
from airflow_provider_neptune_ml.simulator.settings import ACCOUNT

AS_GUESSED: dict[str, Any] = {"not_found": "404", "lists": "all"}
OTHERWISE: dict[str, Any] = {"not_found": "400", "lists": "active"}
STARTS = ("--start", "--input-data-s3-location", "s3://in/a", "--processed-data-s3-location", "s3://out/b")


# Puts the questions to a simulated cluster, and returns the report.
Ask = Callable[..., str]


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Each kind has a resource that runs and one that has ended; pauses step the clock."""

    def ask(simulator: Simulator, *arguments: str) -> str:
        for kind in KINDS:
            simulator.seed(
                kind, f"running-{kind}", status="Creating" if kind == "endpoints" else "InProgress"
            )
            simulator.seed(kind, f"ended-{kind}")
        path = tmp_path / "report.md"
        clock = SimpleNamespace(time=time.time, monotonic=time.monotonic, sleep=simulator.advance)
        monkeypatch.setattr(live, "time", clock)
        connection = ("--no-iam-auth", "--region", simulator.region, "--poll-interval", "60")
        assert live.main([simulator.url, *connection, "--report", str(path), *arguments]) == 0
        return path.read_text()

    return ask


def wrong_guesses(report: str) -> set[str]:
    """Return the questions under the heading of wrong guesses."""
    section = report.split("## Wrong guesses of the simulator")[1].split("## All questions")[0]
    return set(re.findall("^- (.*?):", section, re.MULTILINE))


@pytest.fixture(autouse=True)
def _connection_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ``main`` sets is gone after the test."""
    monkeypatch.setenv("AIRFLOW_CONN_NEPTUNE_ML_LIVE", "")


def test_guesses_are_right(ask: Ask) -> None:
    """The simulator's guesses are those of the suite: by default none is wrong."""
    with Simulator(clock="manual", **AS_GUESSED) as simulator:
        report = ask(simulator, *STARTS)

    assert wrong_guesses(report) == set()
    assert "| Status after a cancellation | Stopping, Stopped | Stopping, Stopped | as guessed |" in report


def test_wrong_guesses_are_named(ask: Ask) -> None:
    """A cluster that does otherwise is reported as that, question by question."""
    with Simulator(clock="manual", **OTHERWISE) as simulator:
        report = ask(simulator, *STARTS)

    assert wrong_guesses(report) == {
        "Get of an unknown data processing job",
        "Get of an unknown model training job",
        "Get of an unknown model transform job",
        "Get of an unknown inference endpoint",
        "Get of an id of 49 characters",
        "Get of an id with an underscore",
        "Cancellation of an unknown job",
        "List after the end of a job",
    }
    assert "400 InvalidParameterException: Invalid ID provided. Please check whether" in report


def test_reads_only(ask: Ask) -> None:
    """Without ``--start`` nothing is sent but GETs."""
    with Simulator(clock="manual", **AS_GUESSED) as simulator:
        ask(simulator)

        assert {request.method for request in simulator.journal} == {"GET"}


def test_one_job_that_is_cancelled(ask: Ask) -> None:
    """With ``--start`` there is one job more, and it is stopped."""
    with Simulator(clock="manual", **AS_GUESSED) as simulator:
        ask(simulator, *STARTS)

        jobs = simulator.overview()["kinds"]
    [started] = [job for job in jobs["dataprocessing"] if job["id"].startswith("live-")]
    assert started["status"] == "Stopped"
    assert {kind: len(found) for kind, found in jobs.items()} == {
        "dataprocessing": 3,
        "modeltraining": 2,
        "modeltransform": 2,
        "endpoints": 2,
        "export": 0,
    }


def test_report_has_nothing_private(ask: Ask) -> None:
    """The report has no id, account, ARN, host and location."""
    with Simulator(clock="manual", **AS_GUESSED) as simulator:
        simulator.seed("modeltraining", "secret-project", status="InProgress")
        simulator.fail("modeltraining", "secret-project", reason="no rows in s3://secret", stage="hpoJob")
        report = ask(simulator, *STARTS)

    private = ("secret", ACCOUNT, "arn:aws", "s3://", "127.0.0.1", "running-", "ended-", "live-")
    assert [text for text in private if text in report] == []
    assert '"hpoJob": {"name": "<name>"' in report


def test_unknown_words_are_wrong_guesses(ask: Ask) -> None:
    """A status that the table does not have is named."""
    with Simulator(clock="manual", **AS_GUESSED) as simulator:
        simulator.seed("endpoints", "mine")
        simulator.set_status("endpoints", "mine", "Hibernating")
        report = ask(simulator)

    assert wrong_guesses(report) == {"Status words of inference endpoints"}
    assert "Hibernating" in report


def test_job_that_cannot_be_cancelled(ask: Ask, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the cancellation is refused, the id is said, which the report does not have."""
    with Simulator(clock="manual", **AS_GUESSED) as simulator:
        simulator.add_fault(Fault("access_denied", operation="CancelMLDataProcessingJob", times=None))
        report = ask(simulator, *STARTS)

    assert re.search("live: data processing job live-[0-9a-f]{12} may still run", capsys.readouterr().err)
    assert "Body of a cancellation" in wrong_guesses(report)


def test_cluster_that_does_not_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is reported of a cluster that refuses or does not answer."""
    with Simulator(iam_auth=True) as simulator:
        host = simulator.url
        arguments = [host, "--no-iam-auth", "--region", "us-east-1", "--report", str(tmp_path / "report.md")]
        assert live.main(arguments) == 1

    assert "The cluster requires signed requests" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_start_needs_locations(capsys: pytest.CaptureFixture[str]) -> None:
    """A job is not started with half of its arguments."""
    with pytest.raises(SystemExit):
        live.main(["localhost", "--start"])

    assert "--start: needs --input-data-s3-location" in capsys.readouterr().err


def test_page_has_flags_that_exist() -> None:
    """Every flag on the page exists."""
    page = (Path(__file__).parent.parent / "docs" / "live.md").read_text()

    assert set(re.findall(r"`(--[a-z0-9-]+)", page)) <= set(
        re.findall(r"--[a-z0-9-]+", live._build_parser().format_help())
    )
