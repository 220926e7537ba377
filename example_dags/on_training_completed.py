"""
Run when an externally started training job has completed. Needs Airflow 3.

Airflow starts a run when a training job `nightly-...` completes. A run that you trigger yourself has no job,
and skips `use_model`.
"""

from __future__ import annotations

from airflow import __version__

# On Airflow 2, which has no asset watchers, this file has no Dag.
if not __version__.startswith("2."):
    # [START on_training_completed]
    from typing import Any

    from airflow.sdk import DAG, Asset, AssetWatcher, task

    from airflow_provider_neptune_ml.triggers.events import NeptuneMLJobEventTrigger

    nightly_trainings = Asset(
        "neptune-ml://mycluster/modeltraining/nightly-*",
        watchers=[
            AssetWatcher(name="nightly-trainings", trigger=NeptuneMLJobEventTrigger(job_id="nightly-*"))
        ],
    )

    with DAG("on_training_completed", schedule=nightly_trainings, tags=["neptune-ml"]) as dag:

        @task
        def completed(triggering_asset_events: Any = None) -> list[dict[str, Any]]:
            """Return the jobs that started this run: more than one if they ended within moments."""
            return [event.extra["payload"] for event in triggering_asset_events[nightly_trainings]]

        @task
        def use_model(job: dict[str, Any]) -> str:
            """Run once per job."""
            return f"{job['id']}: {job['description']['processingJob']['outputLocation']}"

        use_model.expand(job=completed())
    # [END on_training_completed]

    dag.description = "Run when an externally started training job has completed"
    dag.doc_md = __doc__
