# [START check_connection]
"""
Check from a worker that the cluster answers: host name, TLS certificate, signature and permission.

Trigger it after a change of the connection, the IAM policy or the network. It lists one data processing job,
and changes nothing. When it fails, the error says what is wrong.
"""

from __future__ import annotations

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2
    from airflow.decorators import task  # type: ignore[attr-defined,no-redef]
    from airflow.models.dag import DAG  # type: ignore[no-redef]

with DAG(
    "check_connection",
    description="Check from a worker that the cluster answers",
    doc_md=__doc__,
    schedule=None,
    tags=["neptune-ml"],
) as dag:

    @task
    def check() -> str:
        """Return what was found, or fail with what is wrong."""
        from airflow_provider_neptune_ml.hooks.neptune_ml import NeptuneMLHook

        answers, message = NeptuneMLHook(neptune_ml_conn_id="neptune_ml_default").test_connection()
        if not answers:
            raise RuntimeError(message)
        return message

    check()
# [END check_connection]
