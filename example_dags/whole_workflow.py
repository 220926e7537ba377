# [START whole_workflow_pipeline]
"""
From the graph to a model that has answered a query, and only then replaces the one before.

Each run exports the graph, processes it, trains with your own hyperparameters, checks the metrics, and puts
the model behind a new endpoint. A query tries that endpoint. If it answers, the endpoint of the run before is
deleted; if anything fails, the new one is, and the old one keeps serving.
"""

from __future__ import annotations

import json
from typing import Any

from airflow_provider_neptune_ml.operators.neptune_ml import (
    NeptuneMLDeleteEndpointOperator,
    NeptuneMLModelMetricsOperator,
)
from airflow_provider_neptune_ml.operators.query import NeptuneMLGremlinQueryOperator
from airflow_provider_neptune_ml.pipeline import NeptuneMLPipeline

try:
    from airflow.sdk import DAG, Variable, task
except ImportError:  # Airflow 2
    from airflow.decorators import task  # type: ignore[attr-defined,no-redef]
    from airflow.models.dag import DAG  # type: ignore[no-redef]
    from airflow.models.variable import Variable

with DAG(
    "whole_workflow",
    description="Export, process, train, gate on metrics, deploy, try, clean up",
    doc_md=__doc__,
    schedule=None,
    max_active_runs=1,
    tags=["neptune-ml"],
) as dag:
    # A run that Airflow 3 was asked for may have no date but that.
    began = "{{ dag_run.start_date.strftime('%Y%m%d-%H%M%S') }}"
    pipeline = NeptuneMLPipeline(
        group_id="movies",
        export={
            "output_s3_path": f"s3://my-bucket/export/{began}",
            "additional_params": {
                "neptune_ml": {
                    "version": "v2.0",
                    "targets": [{"node": "movie", "property": "genre", "type": "classification"}],
                }
            },
        },
        process={"processed_data_s3_location": f"s3://my-bucket/processed/{began}"},
        train={
            "train_model_s3_location": f"s3://my-bucket/models/{began}",
            "training_instance_type": "ml.g5.2xlarge",
            "max_hpo_number_of_training_jobs": 10,
        },
        deploy={
            # A new one in each run, beside the one that serves.
            "endpoint_id": f"movies-{began}",
            "update": False,
        },
        default_args={"deferrable": True},
    )
    # [END whole_workflow_pipeline]

    # [START whole_workflow_tune]
    @task
    def tune(processing: Any) -> None:
        """Train for more epochs than the configuration says that data processing has written."""
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook

        url = f"{processing['processingJob']['outputLocation']}/model-hpo-configuration.json"
        s3 = S3Hook()
        configuration = json.loads(s3.read_key(url))
        for model in configuration["models"]:
            for tier in ("1-tier-param", "2-tier-param", "3-tier-param"):
                for parameter in model.get(tier, ()):
                    if parameter["param"] == "num-epochs":
                        parameter["range"] = [20, 100]
        s3.load_string(json.dumps(configuration), url, replace=True)

    tune(pipeline.process.output["description"]) >> pipeline.train
    # [END whole_workflow_tune]

    # [START whole_workflow_gate]
    check = NeptuneMLModelMetricsOperator(
        task_id="check", job_id=pipeline.train.output, minimum={"test.accuracy": 0.8}
    )
    check >> pipeline.deploy
    # [END whole_workflow_gate]

    # [START whole_workflow_ask]
    ask = NeptuneMLGremlinQueryOperator(
        task_id="ask",
        query=f'''
            g.with("Neptune#ml.endpoint", "{pipeline.endpoint_name}")
             .V().hasLabel("movie").limit(1)
             .properties("genre").with("Neptune#ml.classification").value()
        ''',
    )
    pipeline >> ask
    # [END whole_workflow_ask]

    # [START whole_workflow_clean_up]
    @task
    def replaced(now: str) -> str:
        """Return the endpoint that this run replaces: none in a first run, or if this one is cleared."""
        before = str(Variable.get("movies_endpoint_id", ""))
        return "" if before == now else before

    @task
    def publish(endpoint_id: str, endpoint_name: str) -> None:
        """Tell those who ask the model under which name; the id is for the next run."""
        Variable.set("movies_endpoint", endpoint_name)
        Variable.set("movies_endpoint_id", endpoint_id)

    old = replaced(pipeline.deploy.output)
    delete_old = NeptuneMLDeleteEndpointOperator(
        task_id="delete_old", endpoint_id=old, ignore_missing=True, deferrable=True
    )
    published = publish(pipeline.deploy.output, pipeline.endpoint_name)
    ask >> old >> published >> delete_old

    delete_new = NeptuneMLDeleteEndpointOperator(
        task_id="delete_new",
        endpoint_id="{{ ti.xcom_pull(task_ids='movies.deploy', key='endpoint_id') }}",
        ignore_missing=True,
        deferrable=True,
        trigger_rule="one_failed",
    )
    [pipeline.deploy, ask, published] >> delete_new
    # [END whole_workflow_clean_up]
