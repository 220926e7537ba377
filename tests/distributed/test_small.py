"""What breaks first on a distributed Airflow, with as few processes as can show it: a part of `make test`."""

from __future__ import annotations

import pytest

from tests.distributed.ground import Rows, distributed_ground
from tests.distributed.rows import triggerer_hung
from tests.system.reliability import rows_of_page
from tests.system.reliability_rows import deferred_cleared, deferred_marked_failed

PAGE_ROWS = {**rows_of_page("Exactly one job"), **rows_of_page("On a distributed Airflow")}
REPETITIONS = 3


def test_rows(tmp_path_factory: pytest.TempPathFactory) -> None:
    """With one scheduler, one worker and two triggerers, the rows of clear, mark failed and a hang hold."""
    home = tmp_path_factory.mktemp("distributed")
    with distributed_ground(home, schedulers=1, workers=1) as ground:
        rows = Rows(ground)
        ended = {row.__name__: row for row in (deferred_cleared, deferred_marked_failed)}
        rows.run(ended, at_once=2 * REPETITIONS, times=REPETITIONS)
        rows.run({triggerer_hung.__name__: triggerer_hung})

    assert not any(result.errors for result in rows.results.values()), "\n".join(
        error for result in rows.results.values() for error in result.errors
    )
    assert {name: result.counts for name, result in rows.results.items()} == {
        name: {PAGE_ROWS[name][1]} for name in rows.results
    }
