# [START gate_on_metrics]
"""
Train a model, and deploy it if it is good enough, and better than the one that serves.

The metrics that the training leaves in S3 decide: an accuracy below `least_accuracy` fails the run; one that
isn't better than that of the model that serves skips the deployment. There is nothing to beat when there is
no endpoint. The run fails where another Dag has created it, or a run without a logical date: which training
serves is not known then.
"""

from __future__ import annotations

from typing import Any

from airflow_provider_neptune_ml.operators.neptune_ml import (
    NeptuneMLCreateEndpointOperator,
    NeptuneMLModelMetricsOperator,
    NeptuneMLStartModelTrainingJobOperator,
)
from airflow_provider_neptune_ml.pipeline import previous_job_id

try:
    from airflow.sdk import DAG, Param, task
except ImportError:  # Airflow 2
    from airflow.decorators import task  # type: ignore[attr-defined,no-redef]
    from airflow.models.dag import DAG  # type: ignore[no-redef]
    from airflow.models.param import Param  # type: ignore[import-not-found,no-redef]

with DAG(
    "deploy_if_better",
    description="Deploy a model that is good enough, and better than the one that serves",
    doc_md=__doc__,
    schedule=None,
    max_active_runs=1,
    params={
        "data_processing_job_id": Param(
            "nightly-data",
            type="string",
            title="Data processing job",
            description="The id of a completed data processing job.",
        ),
        "train_model_s3_location": Param(
            "s3://my-bucket/models", type="string", title="Models", description="Where in S3 they go."
        ),
        "least_accuracy": Param(
            0.8,
            type="number",
            title="Least accuracy",
            description="Of the evaluation; a worse model fails the run.",
        ),
    },
    tags=["neptune-ml"],
) as dag:
    train = NeptuneMLStartModelTrainingJobOperator(
        task_id="train",
        data_processing_job_id="{{ params.data_processing_job_id }}",
        train_model_s3_location="{{ params.train_model_s3_location }}",
        deferrable=True,
    )
    good_enough = NeptuneMLModelMetricsOperator(
        task_id="good_enough",
        job_id=train.output,
        minimum={"eval.accuracy": "{{ params.least_accuracy }}"},
    )
    # [END gate_on_metrics]

    # [START deploy_if_better]
    @task
    def to_beat(serving: str) -> dict[str, float]:
        """Return bounds that the model which serves just misses; none if there is no such model."""
        from airflow_provider_neptune_ml.exceptions import NeptuneMLNotFoundError
        from airflow_provider_neptune_ml.hooks.neptune_ml import NeptuneMLHook

        hook = NeptuneMLHook()
        try:
            hook.describe("endpoints", "fraud")
        except NeptuneMLNotFoundError:
            return {}
        if not serving:
            raise ValueError("Endpoint 'fraud' serves a model whose training is not known: delete it first.")
        return {"eval.accuracy": hook.model_metrics(serving)["eval"]["accuracy"] + 0.001}

    better = NeptuneMLModelMetricsOperator(
        task_id="better",
        job_id=train.output,
        minimum=to_beat(previous_job_id("serving")),
        soft_fail=True,
    )
    deploy = NeptuneMLCreateEndpointOperator(
        task_id="deploy",
        endpoint_id="fraud",
        ml_model_training_job_id=train.output,
        update=True,
        deferrable=True,
    )

    @task
    def serving(job_id: Any) -> str:
        """Note the training whose model serves: Neptune's description of an endpoint doesn't name it."""
        return str(job_id)

    good_enough >> better >> deploy >> serving(train.output)
    # [END deploy_if_better]
