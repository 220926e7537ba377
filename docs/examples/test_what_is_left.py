"""The Dag of docs/cost.md, and its test."""

# [START what_is_left]
from datetime import datetime, timezone

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2
    from airflow.decorators import task  # type: ignore[attr-defined,no-redef]
    from airflow.models.dag import DAG  # type: ignore[no-redef]

with DAG(
    "what_is_left",
    schedule="@daily",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
) as dag:

    @task
    def what_is_left() -> list[str]:
        """Return the jobs that run and all endpoints, each with its status."""
        from airflow_provider_neptune_ml.exceptions import NeptuneMLNotFoundError
        from airflow_provider_neptune_ml.hooks.neptune_ml import NeptuneMLHook
        from airflow_provider_neptune_ml.kinds import KINDS

        hook, left = NeptuneMLHook(), []
        for kind in KINDS.values():
            for resource_id in hook.list_ids(kind, max_items=1024):
                try:
                    description = hook.describe(kind, resource_id)
                except NeptuneMLNotFoundError:  # it was deleted after the list was made
                    continue
                if not kind.is_over(description):  # an endpoint costs money until it is deleted
                    left.append(f"{kind.title} {resource_id}: {description.get('status')}")
        return left

    what_is_left()
# [END what_is_left]


def test_running_jobs_and_endpoints_are_left(neptune_ml_connection, neptune_ml_run_dag):
    neptune_ml_connection.seed("dataprocessing", "completed")
    neptune_ml_connection.seed("modeltraining", "running")
    neptune_ml_connection.set_status("modeltraining", "running", "InProgress")
    neptune_ml_connection.seed("endpoints", "fraud")

    assert neptune_ml_run_dag(dag).state == "success"
    report = dag.get_task("what_is_left").python_callable  # type: ignore[union-attr]
    assert report() == ["model training job running: InProgress", "inference endpoint fraud: InService"]
