# [START export_and_train]
"""
Export a graph by the Neptune-Export service, process it, and train a model on it.

The connection's `export_api_url` is the URI of the export service. When a task fails, what it started is
cancelled.
"""

from __future__ import annotations

from airflow_provider_neptune_ml.pipeline import NeptuneMLPipeline

try:
    from airflow.sdk import DAG
except ImportError:  # Airflow 2
    from airflow.models.dag import DAG  # type: ignore[no-redef]

with DAG(
    "export_and_train",
    description="Export the graph, process it, and train a model on it",
    doc_md=__doc__,
    schedule=None,
    tags=["neptune-ml"],
) as dag:
    pipeline = NeptuneMLPipeline(
        group_id="films",
        export={
            "output_s3_path": "s3://my-bucket/export/{{ ds }}",
            "job_size": "medium",
            "export_params": {"cloneCluster": True},
            "additional_params": {
                "neptune_ml": {
                    "version": "v2.0",
                    "targets": [{"node": "movie", "property": "genre", "type": "classification"}],
                }
            },
        },
        process={"processed_data_s3_location": "s3://my-bucket/processed/{{ ds }}"},
        train={"train_model_s3_location": "s3://my-bucket/models/{{ ds }}"},
        default_args={"deferrable": True},
    )
    # [END export_and_train]
