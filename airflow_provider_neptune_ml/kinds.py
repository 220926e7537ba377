"""
The table of Neptune ML resource kinds: operations, statuses and stages, each spelled here and nowhere else.

Neither AWS's guide nor botocore's model lists the status words. Those below are the ones that AWS's notebook
client waits for, completed with the words of the SageMaker resources that back each stage. Whatever the table
doesn't know counts as non-terminal: a word that AWS adds tomorrow must neither pass for success nor fail a
healthy job.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# Neptune answers other ids with "Invalid ID provided. ..."
# https://docs.aws.amazon.com/neptune/latest/userguide/machine-learning-api-exceptions.html
ID_MAX_LENGTH = 48
ID_RULE = f"1-{ID_MAX_LENGTH} letters, digits or hyphens"
_ID_PATTERN = re.compile(rf"[A-Za-z0-9-]{{1,{ID_MAX_LENGTH}}}")
# Characters of a query that messages show.
_SHOWN_OF_QUERY = 60


class Phase(enum.Enum):
    """What a status word means for a wait."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True)
class Statuses:
    """
    The status words of a kind, each by the moment it stands for.

    :param running: while the first work is under way.
    :param updating: while a finished resource is being changed.
    :param stopping: after the cancellation was requested.
    :param stopped: cancelled; None where the resource is deleted instead.
    :param succeeded: the one terminal status of success.
    :param failed: the terminal status of a resource whose work failed.
    :param also_running: other words that are known not to be terminal.
    :param also_failed: other words that are known to mean a failure.
    """

    running: str
    updating: str | None
    stopping: str
    stopped: str | None
    succeeded: str
    failed: str
    also_running: tuple[str, ...] = ()
    also_failed: tuple[str, ...] = ()

    @property
    def terminal(self) -> dict[str, Phase]:
        """Every terminal word, in the order a reader expects, with its phase."""
        failures = (self.failed, self.stopped, *self.also_failed)
        return {self.succeeded: Phase.SUCCEEDED, **{word: Phase.FAILED for word in failures if word}}

    @property
    def non_terminal(self) -> frozenset[str]:
        """Every word that is known not to be terminal."""
        return frozenset(filter(None, (self.running, self.updating, self.stopping, *self.also_running)))


@dataclass(frozen=True)
class Stage:
    """
    A SageMaker resource behind a Neptune ML resource.

    :param member: the member of the Get reply that describes it.
    :param title: its name in messages.
    :param resource: the resource type in its ARN.
    :param log_group: the CloudWatch log group it writes to.
    :param link: the button in Airflow's UI that leads to it.
    :param has_own_log_group: whether each resource has a group of its own, below that.
    :param has_log_by_name: whether the names of its log streams begin with its name, or its group ends so.
    :param service: the service whose resource it is (default: SageMaker).
    :param name_key: the XCom that has its name there, where other tasks need it.
    :param failed_files: where the files of a failure are, with a place for the output location.
    """

    member: str
    title: str
    resource: str
    log_group: str
    link: str
    has_own_log_group: bool = False
    has_log_by_name: bool = True
    service: str = "SageMaker"
    name_key: str | None = None
    failed_files: str = ""

    def log_of(self, part: Mapping[str, Any]) -> str:
        """
        Say where its log is, for replies without a link.

        :param part: what the Get reply says of it.
        """
        name = part.get("name") or "(unnamed)"
        return f"CloudWatch log group {self.log_group}, {self.service} {self.resource} {name}."

    def failed_files_of(self, part: Mapping[str, Any]) -> str:
        """
        Say where the files of a failure are; nothing of a stage that leaves none.

        :param part: what the Get reply says of it.
        """
        # The reply of a failure need not have the location.
        location = part.get("outputLocation") or "the output_s3_path of the export"
        return self.failed_files.format(location)

    def log_streams(self, name: str) -> tuple[str, str]:
        """
        Return the log group, and how the names of the log streams in it begin.

        https://docs.aws.amazon.com/sagemaker/latest/dg/logging-cloudwatch.html

        :param name: the name of the SageMaker resource.
        """
        return (f"{self.log_group}/{name}", "") if self.has_own_log_group else (self.log_group, name)


@dataclass(frozen=True)
class ResourceKind:
    """
    One row of the table.

    :param name: the URL segment of the HTTP API, and the name in triggers and logs of other tools.
    :param title: the name in messages; its last word is the short one.
    :param id_argument: what operators and sensors call the identifier.
    :param start_operation: the operation that creates it, as botocore spells it; likewise the next three.
    :param get_operation: the operation that describes it.
    :param list_operation: the operation that lists the ids.
    :param stop_operation: the operation that cancels or deletes it.
    :param statuses: its status words.
    :param stages: the SageMaker resources behind it, in the order in which they work.
    :param output: the member of the stage that shows where in S3 its results are (default: the last one that
        has an output location).
    :param permission: the IAM action that each of its operations needs (default: one for each operation).
    """

    name: str
    title: str
    id_argument: str
    start_operation: str
    get_operation: str
    list_operation: str
    stop_operation: str
    statuses: Statuses
    stages: tuple[Stage, ...]
    output: str = ""
    permission: str = ""

    @property
    def noun(self) -> str:
        """The short name in messages."""
        return self.title.split()[-1]

    @property
    def is_job(self) -> bool:
        """Whether it ends by itself, and is there for ever; an endpoint costs money until it is deleted."""
        return self.statuses.stopped is not None

    @property
    def cancellation(self) -> str:
        """What the operation that ends it is called in messages."""
        return "cancellation" if self.is_job else "deletion"

    def name_of(self, resource_id: str) -> str:
        """Return how a message begins that is about one resource."""
        return f"{self.title.capitalize()} {resource_id!r}"

    def phase_of(self, status: str | None) -> Phase:
        """Return what a status word means; a missing or unknown one counts as non-terminal."""
        return _find(self.statuses.terminal, status) or Phase.RUNNING

    def knows(self, status: str) -> bool:
        """Tell whether the table has the status word."""
        return status.casefold() in {
            word.casefold() for word in (*self.statuses.terminal, *self.statuses.non_terminal)
        }

    def is_over(self, description: Mapping[str, Any]) -> bool:
        """Tell whether nothing is left to cancel: a job is in a terminal status."""
        return self.is_job and self.phase_of(description.get("status")) is not Phase.RUNNING

    def is_serving(self, description: Mapping[str, Any]) -> bool:
        """Tell whether a resource costs money until it is deleted: an endpoint in service."""
        return not self.is_job and self.phase_of(description.get("status")) is Phase.SUCCEEDED

    def is_stopping(self, description: Mapping[str, Any]) -> bool:
        """Tell whether the cancellation of a resource was requested and has not completed yet."""
        return _is(description, self.statuses.stopping)

    def is_under_way(self, description: Mapping[str, Any]) -> bool:
        """Tell whether a resource may still succeed: neither in a terminal status nor being cancelled."""
        return self.phase_of(description.get("status")) is Phase.RUNNING and not self.is_stopping(description)

    def is_creating(self, description: Mapping[str, Any]) -> bool:
        """Tell whether a resource is under way for the first time: an endpoint may be changed later."""
        if self.statuses.updating:
            return _is(description, self.statuses.running)
        return self.is_under_way(description)

    def is_another(self, description: Mapping[str, Any], arn: str) -> bool:
        """
        Tell whether a description is certainly not of the resource that was started with an ARN.

        Which of its SageMaker resources a start names is not documented: only ARNs of one type are compared.
        """
        found = {str(part.get("arn") or "").casefold() for _, part in self.stages_in(description)}
        kind_of_resource, _, name = arn.casefold().rpartition("/")
        comparable = {each for each in found if name and each.startswith(f"{kind_of_resource}/")}
        return bool(comparable) and arn.casefold() not in comparable

    def stages_in(self, description: Mapping[str, Any]) -> Iterator[tuple[Stage, Mapping[str, Any]]]:
        """Yield the stages that a description has, each with its part."""
        for stage in self.stages:
            part = description.get(stage.member)
            if isinstance(part, Mapping) and part:
                yield stage, part

    def names_in(self, description: Mapping[str, Any]) -> dict[str, str]:
        """Return the names in SageMaker that a description has for other tasks, by their XComs."""
        return {
            stage.name_key: part["name"]
            for stage, part in self.stages_in(description)
            if stage.name_key and part.get("name")
        }

    def current_stage(self, description: Mapping[str, Any]) -> tuple[Stage, Mapping[str, Any]] | None:
        """Return the stage that tells most: the failed one, else the one that runs, else the last."""
        present = list(self.stages_in(description))
        for stage, part in present:
            if part.get("failureReason") or stage_phase(part.get("status")) is Phase.FAILED:
                return stage, part
        for stage, part in present:
            if stage_phase(part.get("status")) is Phase.RUNNING:
                return stage, part
        return present[-1] if present else None

    def output_stage(self, description: Mapping[str, Any]) -> tuple[Stage, Mapping[str, Any]] | None:
        """Return the stage that shows where the results are, as far as there are any yet."""
        present = [found for found in self.stages_in(description) if found[1].get("outputLocation")]
        results = (found for found in present if found[0].member == self.output)
        return next(results, present[-1] if present else None)

    def iam_action(self, operation: str) -> str:
        """
        Return the permission that an operation needs.

        https://docs.aws.amazon.com/neptune/latest/userguide/iam-dp-actions.html
        """
        suffix = "Status" if operation == self.get_operation else ""
        return self.permission or f"neptune-db:{operation}{suffix}"


@dataclass(frozen=True)
class QueryLanguage:
    """
    What a query is, beside the resources.

    :param name: the URL segment of the HTTP API.
    :param title: the name in messages.
    :param operation: the operation that runs one, as botocore spells it.
    :param iam_action: the permission that a query needs which reads.
    :param iam_actions_of_writes: the permissions that one needs which changes the graph.
    """

    name: str
    title: str
    operation: str
    iam_action: str
    iam_actions_of_writes: tuple[str, ...]

    def name_of(self, query: str) -> str:
        """Return how a message begins that is about a query: with the beginning of that."""
        line = " ".join(query.split())
        return f"{self.title} {line if len(line) <= _SHOWN_OF_QUERY else f'{line[:_SHOWN_OF_QUERY]}...'!r}"


GREMLIN = QueryLanguage(
    name="gremlin",
    title="Gremlin query",
    operation="ExecuteGremlinQuery",
    iam_action="neptune-db:ReadDataViaQuery",
    iam_actions_of_writes=("neptune-db:WriteDataViaQuery", "neptune-db:DeleteDataViaQuery"),
)

_JOB_STATUSES = Statuses(
    running="InProgress",  # graph-notebook's integration tests
    updating=None,
    stopping="Stopping",  # SageMaker ProcessingJobStatus, TrainingJobStatus
    stopped="Stopped",  # graph-notebook ends on it for transforms only; SageMaker
    succeeded="Completed",  # graph-notebook
    failed="Failed",  # graph-notebook
)
_ENDPOINT_STATUSES = Statuses(
    running="Creating",  # graph-notebook's integration tests
    updating="Updating",  # SageMaker EndpointStatus; likewise the rest but InService
    stopping="Deleting",
    stopped=None,
    succeeded="InService",  # graph-notebook
    failed="Failed",
    also_running=("SystemUpdating", "RollingBack"),
    also_failed=("OutOfService", "UpdateRollbackFailed"),
)
_STAGE_TERMINAL = _JOB_STATUSES.terminal | _ENDPOINT_STATUSES.terminal

_PROCESSING_LOGS = "/aws/sagemaker/ProcessingJobs"
_PROCESSING, _TRANSFORM = "SageMaker processing job", "SageMaker transform job"

DATA_PROCESSING = ResourceKind(
    name="dataprocessing",
    title="data processing job",
    id_argument="job_id",
    start_operation="StartMLDataProcessingJob",
    get_operation="GetMLDataProcessingJob",
    list_operation="ListMLDataProcessingJobs",
    stop_operation="CancelMLDataProcessingJob",
    statuses=_JOB_STATUSES,
    stages=(Stage("processingJob", "data processing", "processing-job", _PROCESSING_LOGS, _PROCESSING),),
)
MODEL_TRAINING = ResourceKind(
    name="modeltraining",
    title="model training job",
    id_argument="job_id",
    start_operation="StartMLModelTrainingJob",
    get_operation="GetMLModelTrainingJob",
    list_operation="ListMLModelTrainingJobs",
    stop_operation="CancelMLModelTrainingJob",
    statuses=_JOB_STATUSES,
    stages=(
        Stage("processingJob", "processing", "processing-job", _PROCESSING_LOGS, _PROCESSING),
        Stage(
            "hpoJob",
            "hyperparameter tuning",
            "hyper-parameter-tuning-job",
            "/aws/sagemaker/TrainingJobs",
            "SageMaker tuning job",
        ),
        Stage("modelTransformJob", "model transform", "processing-job", _PROCESSING_LOGS, _TRANSFORM),
    ),
    # Where graph-notebook reads the artifacts.
    output="processingJob",
)
MODEL_TRANSFORM = ResourceKind(
    name="modeltransform",
    title="model transform job",
    id_argument="job_id",
    start_operation="StartMLModelTransformJob",
    get_operation="GetMLModelTransformJob",
    list_operation="ListMLModelTransformJobs",
    stop_operation="CancelMLModelTransformJob",
    statuses=_JOB_STATUSES,
    stages=(
        Stage("baseProcessingJob", "processing", "processing-job", _PROCESSING_LOGS, _PROCESSING),
        Stage("remoteModelTransformJob", "model transform", "processing-job", _PROCESSING_LOGS, _TRANSFORM),
    ),
)
ENDPOINTS = ResourceKind(
    name="endpoints",
    title="inference endpoint",
    id_argument="endpoint_id",
    start_operation="CreateMLEndpoint",
    get_operation="GetMLEndpoint",
    list_operation="ListMLEndpoints",
    stop_operation="DeleteMLEndpoint",
    statuses=_ENDPOINT_STATUSES,
    # Queries name the endpoint by its name in SageMaker: Neptune#ml.endpoint.
    stages=(
        Stage(
            "endpoint",
            "endpoint",
            "endpoint",
            "/aws/sagemaker/Endpoints",
            "SageMaker endpoint",
            has_own_log_group=True,
            name_key="endpoint_name",
        ),
    ),
)

KINDS: dict[str, ResourceKind] = {
    kind.name: kind for kind in (DATA_PROCESSING, MODEL_TRAINING, MODEL_TRANSFORM, ENDPOINTS)
}

# A job of the Neptune-Export service, which is no resource of Neptune ML: another host, other operations and
# words. Described in the same form, so that whatever waits, cancels and reports works for it as well.
EXPORT = ResourceKind(
    name="export",
    title="export job",
    id_argument="job_id",
    start_operation="StartExportJob",
    get_operation="GetExportJob",
    list_operation="",  # there is none
    stop_operation="CancelExportJob",
    statuses=Statuses(
        running="running",  # AWS's guide; likewise "pending"
        updating=None,
        # What a cancelled job reports is not documented. AWS Batch, which runs it, says "FAILED".
        stopping="cancelling",
        stopped="cancelled",
        succeeded="succeeded",  # graph-notebook; likewise "failed"
        failed="failed",
        also_running=("pending",),
        also_failed=("canceled",),
    ),
    stages=(
        Stage(
            "exportJob",
            "export",
            "job",
            "/aws/batch/job",
            link="",
            has_log_by_name=False,  # streams of AWS Batch have the names of job definitions
            service="AWS Batch",
            failed_files="What could not be exported: /failed below {}",
        ),
    ),
    permission="execute-api:Invoke",
)
# All that can be waited for.
ALL_KINDS: dict[str, ResourceKind] = {**KINDS, EXPORT.name: EXPORT}


def find_kind(kind: ResourceKind | str, known: Mapping[str, ResourceKind] = KINDS) -> ResourceKind:
    """Return the row of a kind given by itself or by its name; a ValueError names the choices."""
    name = kind.name if isinstance(kind, ResourceKind) else kind
    if name not in known:
        raise ValueError(f"kind={name!r} is not supported here: choose from {', '.join(known)}")
    return known[name]


def is_valid_id(value: object) -> bool:
    """Tell whether Neptune takes the value as the id of a resource."""
    return isinstance(value, str) and _ID_PATTERN.fullmatch(value) is not None


def stage_phase(status: str | None) -> Phase:
    """Return what the status word of a stage means; SageMaker's words are the same for every kind."""
    return _find(_STAGE_TERMINAL, status) or Phase.RUNNING


def _is(description: Mapping[str, Any], word: str) -> bool:
    return str(description.get("status") or "").casefold() == word.casefold()


def _find(terminal: Mapping[str, Phase], status: str | None) -> Phase | None:
    folded = str(status or "").casefold()
    return next((phase for word, phase in terminal.items() if word.casefold() == folded), None)
