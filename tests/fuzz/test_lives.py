"""Whatever happens to the tries of a start operator: one job at a time, and none that nobody waits for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from airflow_provider_neptune_ml import retries
from airflow_provider_neptune_ml.compat import AirflowFailException
from airflow_provider_neptune_ml.simulator import Fault, Simulator
from tests.conftest import ONCE, set_budgets
from tests.contexts import TaskStateStore, context
from tests.interruptions import Interrupted
from tests.operators.tasks import GET, START, start, statuses

pytestmark = pytest.mark.usefixtures("connection")

RETRIES = 1
# A wait to which nothing happens ends with the job then.
LAST_CALL = 9
FAULTS: dict[str, Callable[[], Fault]] = {
    "describe refused": lambda: Fault("access_denied", operation=GET, times=None),
    "describe fails": lambda: Fault("internal_failure", operation=GET, times=None),
    "describe fails later": lambda: Fault("internal_failure", operation=GET, times=None, skip=2),
    "describe fails once": lambda: Fault("internal_failure", operation=GET),
    "start throttled": lambda: Fault("too_many_requests", operation=START),
    "start refused": lambda: Fault("access_denied", operation=START),
    "start breaks before": lambda: Fault("reset", operation=START, when="before"),
    "start breaks after": lambda: Fault("reset", operation=START, when="after"),
    "start fails after": lambda: Fault("internal_failure", operation=START, when="after"),
    "start is never answered": lambda: Fault("internal_failure", operation=START, when="after", times=None),
}


class WorkerLost(BaseException):
    """The end of a worker without a word, as by SIGKILL."""


class Lives(RuleBasedStateMachine):
    """A task whose tries end in every way, on a cluster with faults."""

    def __init__(self, simulator: Simulator) -> None:
        super().__init__()
        self.simulator = simulator
        simulator.reset()
        simulator.seed("dataprocessing", "data-1", status="Completed")

    @initialize(has_store=st.booleans(), own_id=st.sampled_from([None, "mine"]))
    def _arrange(self, has_store: bool, own_id: str | None) -> None:
        self.store = TaskStateStore() if has_store else None
        self.own_id = own_id
        self.number, self.max_tries, self.state = 1, RETRIES, "scheduled"
        self.left: set[str] = set()
        self.used: set[str] = set()

    @precondition(lambda self: self.state == "scheduled")
    @rule(
        call=st.integers(1, LAST_CALL - 1),
        moment=st.sampled_from(["before-send", "response-received"]),
        what=st.sampled_from(["lost", "nothing", "handler returns", "handler raises", "completes", "fails"]),
        fault=st.none() | st.sampled_from(sorted(FAULTS)),
        meanwhile=st.sampled_from([None, None, "Completed", "Failed"]),
    )
    def run_a_try(self, call: int, moment: str, what: str, fault: str | None, meanwhile: str | None) -> None:
        """Run a try to which something happens at a request, and leave it as Airflow would."""
        self._pass_time(meanwhile)
        task: Any = start(
            job_id=self.own_id,
            retries=RETRIES,
            wait_for_completion=True,
            botocore_config=ONCE,
            unreachable_timeout=0 if fault and "fails" in fault and "once" not in fault else 60,
        )
        if fault == "start is never answered":
            task.unreachable_timeout = 0
        self._arrange_event(task, call, moment, what)
        self.simulator.clear_faults()
        if fault:
            self.simulator.add_fault(FAULTS[fault]())
        asked = len(self.simulator.journal)
        where = context(task_state_store=self.store, try_number=self.number, max_tries=self.max_tries)

        ending = self._ending_of(task, where)

        accepted = [each for each in self.simulator.journal[asked:] if each.operation == START]
        assert sum(each.status == 200 for each in accepted) <= 1
        if ending == "lost":
            self.left |= self.running() if self.number > self.max_tries else set()
        is_retried = ending in ("lost", "error") and self.number <= self.max_tries
        self.number += 1
        self.state = "scheduled" if is_retried else ending
        if not is_retried:
            assert self.running() <= self.left

    def _arrange_event(self, task: Any, call: int, moment: str, what: str) -> None:
        seen = 0

        def happen(name: str) -> Callable[..., None]:
            def called(**_: Any) -> None:
                nonlocal seen
                seen += name == "before-send"
                if seen == LAST_CALL and name == "before-send":
                    self._end_job("Completed")
                if seen == call and name == moment:
                    self._happen(task, what)

            return called

        for client in (task.hook.conn, task.hook.start_conn):
            for name in ("before-send", "response-received"):
                client.meta.events.register(f"{name}.neptunedata", happen(name))

    def _happen(self, task: Any, what: str) -> None:
        if what == "lost":
            raise WorkerLost
        if what in ("completes", "fails"):
            self._end_job("Completed" if what == "completes" else "Failed")
        if what.startswith("handler"):
            task.on_kill()
        if what == "handler raises":
            raise Interrupted

    def _end_job(self, status: str) -> None:
        for job in self.running() - self.left:
            self.simulator.set_status("modeltraining", job, status)

    def _ending_of(self, task: Any, where: Any) -> str:
        try:
            job = task.execute(where)
        except WorkerLost:
            return "lost"
        except (Interrupted, AirflowFailException):
            return "failed"
        except Exception:  # whatever it is, Airflow retries, unless a user has marked the task
            return "failed" if task.kill.is_received else "error"
        assert not task.kill.is_received
        assert statuses(self.simulator)[job] == "Completed"
        assert job not in self.used
        self.used.add(job)
        return "success"

    @precondition(lambda self: self.state != "scheduled")
    @rule()
    def clear(self) -> None:
        """Clear the task."""
        # One that failed while its job kept running starts another: a documented limit.
        self.left |= self.running()
        self.max_tries = self.number - 1 + RETRIES
        self.state = "scheduled"
        if self.own_id:
            self.own_id += "-again"

    def _pass_time(self, status: str | None) -> None:
        """Let what is being stopped come to its end, and maybe the job that no try waits for."""
        if status:
            self._end_job(status)
        for job, current in statuses(self.simulator).items():
            if current == "Stopping":
                self.simulator.set_status("modeltraining", job, "Stopped")

    @invariant()
    def one_job_at_a_time(self) -> None:
        """No more than one job is under way, but for those of documented limits."""
        if hasattr(self, "left"):
            assert len(self.running() - self.left) <= 1

    def running(self) -> set[str]:
        """Return the jobs that are under way and whose cancellation was not requested."""
        return {job for job, status in statuses(self.simulator).items() if status == "InProgress"}


def test_lives(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries are lost, killed, refused, cleared, and their jobs end: two jobs never run for one task."""
    monkeypatch.setattr(retries, "_SHORTEST_PAUSE_SECONDS", 0.001)
    # A start that is held up where it is sent does not arrive, however long a kill waits for it.
    set_budgets(monkeypatch, kill_while_starting=0.1, kill=0.5, unhurried=0.5)

    machine: Any = lambda: Lives(simulator)  # noqa: E731  Hypothesis takes a factory, and is typed for a class
    # An example has several tries, each with clients of its own.
    few = max(settings().max_examples // 2, 1)
    run_state_machine_as_test(machine, settings=settings(max_examples=few, stateful_step_count=6))
