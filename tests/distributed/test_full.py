"""All rows of docs/reliability.md on a distributed Airflow: `make test-distributed`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from tests.distributed import page
from tests.distributed.ground import DistributedGround, Result, Rows, distributed_ground
from tests.distributed.rows import DISTRIBUTED
from tests.distributed.waits import WATCHED, sensor_jobs
from tests.system.reliability import rows_of_page, words_of
from tests.system.reliability_rows import CONCURRENT, DISRUPTIVE, ROWS

ROWS_AT_ONCE = 8
# What a user does to a deferred task is a race between processes: once is not enough.
REPEATED = ("deferred_marked_failed", "deferred_marked_success", "deferred_cleared")
REPETITIONS = 20
OWN_ROWS = rows_of_page("On a distributed Airflow")
PAGE_ROWS = {**rows_of_page("Exactly one job"), **OWN_ROWS}


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DistributedGround]:
    """A cluster and an Airflow with two of everything."""
    with distributed_ground(tmp_path_factory.mktemp("distributed")) as ground:
        yield ground


@pytest.fixture(scope="module")
def results(request: pytest.FixtureRequest, ground: DistributedGround) -> Mapping[str, Result]:
    """How the rows that were asked for went; printed, and written down if all held."""
    wanted = {
        str(item.callspec.params["name"])
        for item in request.session.items
        if isinstance(item, pytest.Function) and hasattr(item, "callspec")
    }

    def tell(news: str) -> None:
        with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
            print(f"\n{news}", end="", flush=True)

    rows = Rows(ground, tell)
    if "worker_killed_before_reply" in wanted:
        ground.withhold_reply("StartMLDataProcessingJob")
    repeated = {name: row for name, row in CONCURRENT.items() if name in wanted & set(REPEATED)}
    rows.run(repeated, at_once=ROWS_AT_ONCE, times=REPETITIONS)
    once = {name: row for name, row in CONCURRENT.items() if name in wanted - set(REPEATED)}
    rows.run(once, at_once=ROWS_AT_ONCE)
    rows.run({name: row for name, row in {**DISRUPTIVE, **DISTRIBUTED}.items() if name in wanted})

    ended = {name: rows.results[name] for name in PAGE_ROWS if name in rows.results}
    table = page.table(ended, ground.airflow.versions())
    tell(f"\n{table}")
    if ended.keys() == PAGE_ROWS.keys() and all(_holds(name, result) for name, result in ended.items()):
        page.write(table)
    return ended


def _holds(name: str, result: Result) -> bool:
    return not result.errors and result.counts == {PAGE_ROWS[name][1]}


@pytest.mark.parametrize("name", [*ROWS, *DISTRIBUTED])
def test_row(name: str, results: Mapping[str, Result]) -> None:
    """What the page says of a row holds each time, and as many jobs were started and cancelled as it says."""
    assert not results[name].errors, "\n".join(results[name].errors)
    assert results[name].counts == {PAGE_ROWS[name][1]}


def test_nothing_is_left(results: Mapping[str, Result], ground: DistributedGround) -> None:
    """When all is done, no job is going on, and none was cancelled twice."""
    seeded = {*WATCHED, *sensor_jobs()}
    jobs = {job: status for job, status in ground.jobs_of_dag("").items() if job not in seeded}

    assert set(jobs.values()) <= {"Completed", "Failed", "Stopped", "InService", "succeeded", "cancelled"}
    assert set(ground.counts("stop").values()) <= {1}


def test_page() -> None:
    """The page has each row that only a distributed Airflow has, in their order and words."""
    assert {name: cells[0] for name, cells in OWN_ROWS.items()} == {
        name: words_of(scenario) for name, scenario in DISTRIBUTED.items()
    }
    assert list(OWN_ROWS) == list(DISTRIBUTED)
