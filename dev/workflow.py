"""`make demo-workflow`: the example Dag `whole_workflow` in a real Airflow 3, all around it simulated."""

from __future__ import annotations

import sys

from airflow_provider_neptune_ml.kinds import MODEL_TRAINING
from dev.demo import DEMO_SPEED, Scene, Story, exit_code_of, local_set_up, play

SCENE = Scene(
    title="From the graph's export to a model that has answered a query",
    dag_id="whole_workflow",
    run_state="success",
    task_states={
        "movies.export": "success",
        "tune": "success",
        "check": "success",
        "movies.deploy": "success",
        "ask": "success",
        "publish": "success",
        "delete_old": "success",
        "delete_new": "skipped",
    },
    job_status=MODEL_TRAINING.statuses.succeeded,
    timeout_seconds=600,
)
WHAT_NEXT = """
Try next:
  make airflow              the same, kept running, with the UI; a second run replaces the endpoint
  example_dags/whole_workflow.py
  docs/whole_workflow.md    what each part does, and what to change
"""


def run_workflow() -> int:
    """Play the scene; return the exit code."""
    story = Story()
    with local_set_up(DEMO_SPEED, story) as (airflow, cluster):
        play(SCENE, airflow, cluster, story)
        for call in cluster.calls("ExecuteGremlinQuery"):
            print(f"\nAsked before it counted as deployed:\n{call.body['gremlin']}")
        story.close((SCENE,))
    print(WHAT_NEXT)
    return 0


if __name__ == "__main__":
    sys.exit(exit_code_of(run_workflow))
