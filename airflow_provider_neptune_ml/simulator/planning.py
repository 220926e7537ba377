"""How the life of a new resource is laid out: its stages' times, names, ARNs, outputs and logs."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from airflow_provider_neptune_ml.kinds import (
    DATA_PROCESSING,
    EXPORT,
    MODEL_TRAINING,
    MODEL_TRANSFORM,
    ResourceKind,
    Stage,
)
from airflow_provider_neptune_ml.simulator.resources import PENDING, Resource, Run, Script
from airflow_provider_neptune_ml.simulator.settings import ACCOUNT, Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

# The first 8 characters of the id, the part, and a timestamp that ends in 6 or 7 digits make a name: so say
# aws/graph-notebook#145, from which "preloading" is, and #144 for endpoints. The other parts are guesses.
_NAME_PARTS = {
    (DATA_PROCESSING.name, "processingJob"): "preloading",
    (MODEL_TRAINING.name, "processingJob"): "autotrainer",
    (MODEL_TRAINING.name, "hpoJob"): "hpo",
    (MODEL_TRAINING.name, "modelTransformJob"): "transform",
    (MODEL_TRANSFORM.name, "baseProcessingJob"): "base",
    (MODEL_TRANSFORM.name, "remoteModelTransformJob"): "transform",
}
_OUTPUT_MEMBERS = ("processedDataS3Location", "trainModelS3Location", "modelTransformOutputS3Location")
_DEFAULT_TUNING_JOBS = 2
_MOST_TUNING_JOBS = 500  # SageMaker's own limit


def plan(
    kind: ResourceKind,
    id_: str,
    body: dict[str, Any],
    now: float,
    settings: Settings,
    script: Script,
    number: int,
) -> Resource:
    """
    Return a new resource with its stages laid out in time.

    :param number: how many resources there were before it; keeps names apart that begin alike.
    """
    runs: list[Run] = []
    starts = now
    if kind.name == EXPORT.name:
        starts += (script.seconds or {}).get(PENDING, settings.seconds(kind.name, PENDING))
    for stage in kind.stages:
        name = _sagemaker_name(kind, stage, id_, now, number)
        seconds = (script.seconds or {}).get(stage.member, settings.seconds(kind.name, stage.member))
        run = Run(
            member=stage.member,
            name=name,
            arn=_arn(settings.region, stage, name),
            log_url=_log_url(settings.region, stage.log_group, name),
            output=_output_location(kind, body, name),
            starts=starts,
            ends=starts + seconds,
            going=kind.statuses.running,
            ending=kind.statuses.succeeded,
        )
        runs.append(run)
        starts = run.ends
        if script.fail_stage == stage.member:
            run.ending, run.reason = kind.statuses.failed, script.reason
            break
    return Resource(
        kind.name, id_, body, now, now + settings.appears_after, runs, _model_names(kind, body, runs)
    )


def _sagemaker_name(kind: ResourceKind, stage: Stage, id_: str, now: float, number: int) -> str:
    moment = datetime.fromtimestamp(now, tz=timezone.utc)
    if kind.name == EXPORT.name:
        return f"neptune-export-{id_[:8]}-{int(now * 1000)}"
    part = _NAME_PARTS.get((kind.name, stage.member))
    if part == "hpo":  # SageMaker takes 32 characters for a tuning job, 63 for the others
        return f"{id_[:8]}-hpo-{moment:%y%m%d%H%M%S}-{number % 10000:04}"
    name = f"{id_[:8]}-{part}" if part else id_[:8]
    name = f"{name}-{moment:%Y-%m-%d-%H-%M}-{moment.second}{number % 100000:05}"
    return name if part else f"{name}-{stage.member}"


def _output_location(kind: ResourceKind, body: Mapping[str, Any], name: str) -> str | None:
    if kind.name == EXPORT.name:
        return f"{str(body['outputS3Path']).rstrip('/')}/{name.rpartition('-')[2]}" if body else None
    location = next((str(body[member]) for member in _OUTPUT_MEMBERS if member in body), None)
    if location is None:
        return None
    part = _NAME_PARTS[kind.name, kind.stages[0].member]
    return f"{location.rstrip('/')}/{name}/{part}-output"


def _arn(region: str, stage: Stage, name: str) -> str:
    service = "batch" if stage.service == "AWS Batch" else "sagemaker"
    return f"arn:{_partition(region)}:{service}:{region}:{ACCOUNT}:{stage.resource}/{name}"


def _log_url(region: str, group: str, name: str) -> str:
    domain = {"aws-cn": "amazonaws.cn", "aws-us-gov": "amazonaws-us-gov.com"}.get(
        _partition(region), "aws.amazon.com"
    )
    return (
        f"https://{region}.console.{domain}/cloudwatch/home?region={region}"
        f"#logStream:group={group};prefix={name};streamFilter=typeLogStreamPrefix"
    )


def _partition(region: str) -> str:
    if region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"


def _model_names(kind: ResourceKind, body: Mapping[str, Any], runs: list[Run]) -> list[str]:
    if kind.name == MODEL_TRAINING.name and len(runs) > 1:
        count = int(body.get("maxHPONumberOfTrainingJobs", _DEFAULT_TUNING_JOBS))
        return [
            f"{runs[1].name}-{number:03}" for number in range(1, min(max(count, 1), _MOST_TUNING_JOBS) + 1)
        ]
    return [f"{runs[-1].name}-model"] if kind.name == MODEL_TRANSFORM.name else []
