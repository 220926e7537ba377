"""What must have happened before a resource can be started."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_neptune_ml.kinds import (
    DATA_PROCESSING,
    ENDPOINTS,
    MODEL_TRAINING,
    MODEL_TRANSFORM,
    ResourceKind,
)
from airflow_provider_neptune_ml.simulator import errors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_neptune_ml.simulator.settings import Settings
    from airflow_provider_neptune_ml.simulator.store import Store

# By member that names another resource: its kind, the text when it doesn't exist, the text when it hasn't
# completed.
_REFERENCES: dict[str, tuple[ResourceKind, str | None, str]] = {
    "dataProcessingJobId": (DATA_PROCESSING, None, errors.PROCESSING_NOT_COMPLETED),
    "previousDataProcessingJobId": (DATA_PROCESSING, None, errors.PROCESSING_NOT_COMPLETED),
    "mlModelTrainingJobId": (MODEL_TRAINING, errors.NO_TRAINING, errors.TRAINING_NOT_COMPLETED),
    "previousModelTrainingJobId": (MODEL_TRAINING, errors.NO_TRAINING, errors.TRAINING_NOT_COMPLETED),
    "mlModelTransformJobId": (MODEL_TRANSFORM, errors.NO_TRANSFORM, errors.TRANSFORM_NOT_COMPLETED),
}


def check_preconditions(
    kind: ResourceKind, members: Mapping[str, Any], store: Store, settings: Settings
) -> None:
    """Raise the service's error unless the resources that a start builds on are there and completed."""
    if kind.name == ENDPOINTS.name and ("mlModelTrainingJobId" in members) == (
        "mlModelTransformJobId" in members
    ):
        raise errors.invalid_parameter(errors.ONE_MODEL)
    if kind.name == MODEL_TRANSFORM.name:
        _check_transform_input(members)
    for member, (other, missing, not_completed) in _REFERENCES.items():
        if member in members:
            _check_reference(members[member], other, missing, not_completed, store)
    if "trainingJobName" in members:
        _check_training_job_name(members["trainingJobName"], store, settings)


def _check_transform_input(members: Mapping[str, Any]) -> None:
    by_ids = [name in members for name in ("dataProcessingJobId", "mlModelTrainingJobId")]
    by_name = "trainingJobName" in members
    if not by_name and not any(by_ids):
        raise errors.missing_parameter(errors.TRANSFORM_INPUT)
    if by_name == any(by_ids) or (any(by_ids) and not all(by_ids)):
        raise errors.invalid_parameter(errors.TRANSFORM_INPUT)


def _check_reference(
    id_: str, kind: ResourceKind, missing: str | None, not_completed: str, store: Store
) -> None:
    resource = store.get(kind.name, id_)
    if resource is None:
        # AWS documents no text of its own for a data processing job that doesn't exist.
        raise errors.bad_request(missing) if missing else errors.invalid_parameter(errors.UNKNOWN_ID)
    if not resource.has_succeeded(store.clock.now()):
        raise errors.bad_request(not_completed)


def _check_training_job_name(name: str, store: Store, settings: Settings) -> None:
    if name in settings.training_job_names:
        return
    owner = next((job for job in store.all(MODEL_TRAINING.name) if name in job.training_jobs), None)
    if owner is None:
        raise errors.bad_request(errors.NO_SAGEMAKER)
    if not owner.has_succeeded(store.clock.now()):
        raise errors.bad_request(errors.SAGEMAKER_NOT_COMPLETED)
