"""What Airflow reads about this provider before it imports any of it; keep it free of imports."""

from __future__ import annotations

from typing import Any

_INTEGRATION = "Amazon Neptune ML"
_PACKAGE = "airflow_provider_neptune_ml"
_LINKS = (
    "CloudWatchLogLink",
    "S3OutputLink",
    "SageMakerProcessingJobLink",
    "SageMakerTuningJobLink",
    "SageMakerTransformJobLink",
    "SageMakerEndpointLink",
)


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata, in the form of Airflow's ``provider_info.schema.json``."""
    return {
        "package-name": "airflow-provider-neptune-ml",
        "name": _INTEGRATION,
        "description": "Train, wait, gate and cancel Amazon Neptune ML jobs.",
        "integrations": [
            {
                "integration-name": _INTEGRATION,
                "external-doc-url": "https://docs.aws.amazon.com/neptune/latest/userguide/machine-learning.html",
                "tags": ["aws"],
            }
        ],
        **{
            role: [{"integration-name": _INTEGRATION, "python-modules": modules}]
            for role, modules in _modules().items()
        },
        # Airflow 2 reads the one, Airflow 3 the other.
        **{
            key: [{"schemes": ["neptune-ml"], "handler": f"{_PACKAGE}.assets.neptune_ml.sanitize_uri"}]
            for key in ("dataset-uris", "asset-uris")
        },
        "connection-types": [connection_form()],
        # Airflow 2 shows no others.
        "extra-links": [f"{_PACKAGE}.links.neptune_ml.{name}" for name in _LINKS],
    }


def _modules() -> dict[str, list[str]]:
    roles = ("hooks", "operators", "sensors", "triggers")
    modules = {role: [f"{_PACKAGE}.{role}.neptune_ml"] for role in roles}
    modules["operators"].append(f"{_PACKAGE}.operators.query")
    modules["triggers"].append(f"{_PACKAGE}.triggers.events")
    for role in ("hooks", "operators", "sensors"):
        modules[role].append(f"{_PACKAGE}.{role}.export")
    return modules


def connection_form() -> dict[str, Any]:
    """Return the connection type and its form in the UI."""
    return {
        "connection-type": "neptune_ml",
        "hook-class-name": f"{_PACKAGE}.hooks.neptune_ml.NeptuneMLHook",
        "hook-name": _INTEGRATION,
        "ui-field-behaviour": {
            "hidden-fields": ["login", "password"],
            "relabeling": {"host": "Cluster endpoint", "schema": "Schema (https, or http for a simulator)"},
            "placeholders": {
                "host": "mycluster.cluster-c1a2b3.us-east-1.neptune.amazonaws.com",
                "port": "8182",
                "schema": "https",
            },
        },
        "conn-fields": {
            "iam_auth": {
                "label": "IAM authentication",
                "description": "Sign the requests to the cluster.",
                "schema": {"type": ["boolean", "null"], "default": True},
            },
            "region_name": {
                "label": "AWS region",
                "description": "Default: that of the AWS connection, or the one in the cluster endpoint.",
                "schema": {"type": ["string", "null"]},
            },
            "neptune_iam_role_arn": {
                "label": "Neptune IAM role ARN",
                "description": "Gives Neptune access to SageMaker and S3. Default: the cluster's own.",
                "schema": {"type": ["string", "null"]},
            },
            "sagemaker_iam_role_arn": {
                "label": "SageMaker IAM role ARN",
                "description": "What SageMaker runs with. Default: the cluster's own.",
                "schema": {"type": ["string", "null"]},
            },
            "export_api_url": {
                "label": "Export API URL",
                "description": "The full invoke URI of the Neptune-Export service, if there is one.",
                "schema": {"type": ["string", "null"]},
            },
            "export_iam_auth": {
                "label": "Export API: IAM authentication",
                "description": "Sign the requests to the Neptune-Export service.",
                "schema": {"type": ["boolean", "null"], "default": True},
            },
        },
    }
