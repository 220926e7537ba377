"""`make demo-workflow`: the example Dag `whole_workflow` in a real Airflow 3, all around it simulated."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

from dev.demo import DEMO_SPEED, PASSING_STATES, Story, local_set_up
from dev.rest_api import ENDED_RUN_STATES, until

if TYPE_CHECKING:
    from dev.local_airflow import LocalAirflow

DAG_ID = "whole_workflow"
RUN_SECONDS = 600

WHAT_NEXT = """
Try next:
  make airflow              the same, kept running, with the UI; a second run replaces the endpoint
  example_dags/whole_workflow.py
  docs/whole_workflow.md    what each part does, and what to change
"""


def run_workflow(airflow: LocalAirflow, story: Story) -> None:
    """
    Run the Dag to its end, telling what happens.

    :raises RuntimeError: if it did not succeed.
    """
    told: dict[str, str] = {}
    run = airflow.api.trigger(DAG_ID, {})

    def look() -> bool:
        airflow.check()
        # The run first: once it has ended, what is seen of its tasks afterwards is final.
        state = run.state()
        for task_id, news in run.task_states().items():
            if news and news != told.get(task_id) and news not in PASSING_STATES:
                story.tell(f"task  {task_id}", news)
                told[task_id] = news
                if news == "failed":
                    story.quote(run.error(task_id))
        return state in ENDED_RUN_STATES

    until(look, within=RUN_SECONDS, what=f"the end of {DAG_ID}")
    story.tell(f"Dag   {DAG_ID}", str(run.state()))
    if run.state() != "success":
        raise RuntimeError(f"{DAG_ID} ended as {run.state()}")


def main() -> int:
    """Run everything; return the exit code."""
    # An exit like any other, so that the processes are ended.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    story = Story()
    try:
        with local_set_up(DEMO_SPEED, story, busy=True) as (airflow, cluster):
            run_workflow(airflow, story)
            for call in cluster.calls("ExecuteGremlinQuery"):
                print(f"\nAsked before it counted as deployed:\n{call.body['gremlin']}")
    except (OSError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    print(WHAT_NEXT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
