"""
What a task reads and writes, for OpenLineage: S3 locations, jobs and endpoints.

OpenLineage asks in a fork of the task's process, and waits for 10 s. On Airflow 3 a question to Airflow from
there, such as for an XCom, may stay without an answer. So the task remembers the last reply about its
resource, and the hook that has read the connection serves again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias
from urllib.parse import urlsplit

from airflow_provider_neptune_ml.assets.neptune_ml import sanitize_uri
from airflow_provider_neptune_ml.kinds import (
    DATA_PROCESSING,
    MODEL_TRAINING,
    MODEL_TRANSFORM,
    ResourceKind,
    is_valid_id,
)
from airflow_provider_neptune_ml.retries import Log
from airflow_provider_neptune_ml.text import one_line
from airflow_provider_neptune_ml.validation import is_templated

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_provider_neptune_ml.hooks.neptune_ml import NeptuneMLHook

# The namespace and the name of a dataset.
Named: TypeAlias = tuple[str, str]

_LOOK_UP_SECONDS = 3.0
_READ = ("input_data_s3_location",)
_WRITTEN = (
    "output_s3_path",
    "processed_data_s3_location",
    "train_model_s3_location",
    "model_transform_output_s3_location",
)
_CUSTOM_MODELS = ("custom_model_training_parameters", "custom_model_transform_parameters")
_JOBS = {
    "data_processing_job_id": DATA_PROCESSING,
    "previous_data_processing_job_id": DATA_PROCESSING,
    "previous_model_training_job_id": MODEL_TRAINING,
    "ml_model_training_job_id": MODEL_TRAINING,
    "ml_model_transform_job_id": MODEL_TRANSFORM,
}


class ReportsLineage:
    """
    What OpenLineage asks of a task, where it is installed. Of one that ends in the triggerer it asks nothing.

    .. seealso::
        - https://airflow.apache.org/docs/apache-airflow-providers-openlineage/stable/guides/developer.html
    """

    # Whether the resource is what the task makes, or what it waits for or reads.
    makes_resource: ClassVar[bool] = False

    def get_openlineage_facets_on_start(self) -> OperatorLineage[Any, Any]:
        """Return the S3 locations among the arguments."""
        return _lineage_of(self, has_run=False)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Return the inputs and outputs, with what is known of the jobs."""
        # On Airflow 3.0 it asks the task whose templates are not rendered.
        return _lineage_of(getattr(task_instance, "task", None) or self, has_run=True)

    def get_openlineage_facets_on_failure(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Return the same of a task that failed: its job may have written a part."""
        return self.get_openlineage_facets_on_complete(task_instance)


def _lineage_of(task: Any, *, has_run: bool) -> OperatorLineage[Any, Any]:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client.event_v2 import Dataset

    try:
        found = _datasets(task, _hook_of(task) if has_run else None)
    except Exception as error:  # it must not cost the event
        task.log.info("No lineage: %s: %s", type(error).__name__, one_line(error))
        return OperatorLineage()
    inputs, outputs = ([Dataset(*each) for each in dict.fromkeys(named)] for named in found)
    return OperatorLineage(inputs=inputs, outputs=outputs)


def _datasets(task: Any, hook: NeptuneMLHook | None) -> tuple[list[Named], list[Named]]:
    """Return what a task reads, and what it writes; without a hook, as far as its arguments tell."""
    arguments: dict[str, Any] = {
        name: getattr(task, name, None) for name in (*_READ, *_WRITTEN, *_CUSTOM_MODELS, *_JOBS)
    }
    outputs = _made(task.kind, task.last_description) or _s3(arguments[name] for name in _WRITTEN)
    own = _named(hook, [(task.kind, task.last_description.get("id") or task.resource_id)])
    if not task.makes_resource:
        return own, outputs
    jobs = [(kind, arguments[name]) for name, kind in _JOBS.items() if is_valid_id(arguments[name])]
    models = (arguments[name] for name in _CUSTOM_MODELS)
    code = (model.get("sourceS3DirectoryPath") for model in models if isinstance(model, Mapping))
    read = _s3((*(arguments[name] for name in _READ), *code))
    return [*read, *_named(hook, jobs), *_made_by(hook, jobs, task.log)], [*own, *outputs]


def _hook_of(task: Any) -> NeptuneMLHook | None:
    """Return a hook that has read the connection; that of the task has, unless its wait was elsewhere."""
    from airflow_provider_neptune_ml.hooks.limits import within

    hook: NeptuneMLHook = task.hook
    try:
        within(_LOOK_UP_SECONDS, lambda: hook.cluster, f"connection {hook.neptune_ml_conn_id}")
    except Exception as error:
        task.log.info("No lineage of jobs and endpoints: %s", one_line(error))
        return None
    return hook


def _s3(locations: Iterable[Any]) -> list[Named]:
    """Return the datasets of S3 locations, leaving out what is none."""
    known = (each for each in locations if isinstance(each, str) and not is_templated(each))
    parts = (each.removeprefix("s3://").partition("/") for each in known if each.startswith("s3://"))
    return [(f"s3://{bucket}", key.strip("/") or "/") for bucket, _, key in parts]


def _named(hook: NeptuneMLHook | None, resources: Iterable[tuple[ResourceKind, Any]]) -> list[Named]:
    """Return the datasets of jobs and endpoints, which are named as in the URIs of their assets."""
    if hook is None:
        return []
    cluster = urlsplit(hook.cluster.endpoint_url).netloc
    uris = (f"neptune-ml://{cluster}/{kind.name}/{id_}" for kind, id_ in resources if is_valid_id(id_))
    normal = (sanitize_uri(urlsplit(uri)) for uri in uris)
    return [(f"{uri.scheme}://{uri.netloc}", uri.path.lstrip("/")) for uri in normal]


def _made_by(
    hook: NeptuneMLHook | None, jobs: Iterable[tuple[ResourceKind, str]], log: Log
) -> Iterator[Named]:
    """Yield what jobs have made; they are described, up to the first one that can't be."""
    if hook is None:
        return
    for kind, job_id in jobs:
        try:
            # With the short time-outs of a kill.
            description = hook.describe(kind, job_id, urgent=True)
        except Exception as error:
            log.info("No lineage of %s: %s", kind.name_of(job_id), one_line(error))
            return
        yield from _made(kind, description)


def _made(kind: ResourceKind, description: Mapping[str, Any]) -> list[Named]:
    """Return what the stages of a resource have made: S3 locations, and a SageMaker endpoint."""
    parts = [part for _, part in kind.stages_in(description)]
    made = _s3(part.get("outputLocation") for part in parts)
    if kind.is_job:
        return made
    # arn:aws:sagemaker:<region>:<account>:endpoint/<name>
    arns = (str(part.get("arn") or "").rpartition(":") for part in parts)
    return [*made, *((account, name) for account, _, name in arns if account)]
