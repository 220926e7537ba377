"""
A resource's life, as data: the stages it goes through with the moment each begins and ends.

What a resource is at a moment follows from its plan and the time alone, so nothing has to run in the
background, a stepped clock is as good as a real one, and a saved resource goes on where it was.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_neptune_ml.kinds import (
    ALL_KINDS,
    ENDPOINTS,
    EXPORT,
    MODEL_TRAINING,
    Phase,
    ResourceKind,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

# Of an export that AWS Batch has no machine for yet.
[PENDING] = EXPORT.statuses.also_running
# SageMaker's own text, from a user's report of a failed job (aws/graph-notebook#145).
DEFAULT_REASON = "AlgorithmError: See job logs for more information"


@dataclass
class Run:
    """
    One stage of one resource.

    :param member: the member of the Get reply that shows it.
    :param name: the SageMaker resource's name.
    :param arn: its ARN.
    :param log_url: its CloudWatch log in the console.
    :param output: its S3 output location; None for endpoints.
    :param starts: the simulated time at which it appears.
    :param ends: the simulated time at which its work ends.
    :param going: its status word until then.
    :param ending: its status word from then on.
    :param reason: the failure reason that it shows from then on.
    """

    member: str
    name: str
    arn: str
    log_url: str
    output: str | None
    starts: float
    ends: float
    going: str
    ending: str
    reason: str | None = None

    def status(self, now: float) -> str:
        """Return the status word at a moment."""
        return self.going if now < self.ends else self.ending

    def describe(self, now: float) -> dict[str, str]:
        """Return the ``MlResourceDefinition`` at a moment."""
        part = {
            "name": self.name,
            "arn": self.arn,
            "status": self.status(now),
            "cloudwatchLogUrl": self.log_url,
        }
        if self.output:
            part["outputLocation"] = self.output
        if self.reason and now >= self.ends:
            part["failureReason"] = self.reason
        return part


@dataclass
class Script:
    """
    What shall happen to a resource that is yet to be started.

    :param kind: the kind's name.
    :param id: its id; None for whichever is started next.
    :param fail_stage: the member of the stage that fails at its end; None for a resource that ends well.
    :param reason: the failure reason.
    :param seconds: simulated seconds by stage, over the settings.
    """

    kind: str
    id: str | None = None
    fail_stage: str | None = None
    reason: str = DEFAULT_REASON
    seconds: Mapping[str, float] | None = None


@dataclass
class Resource:
    """
    One resource with its plan.

    :param kind: the kind's name.
    :param id: its id.
    :param body: the request that made it.
    :param created: the simulated time of its creation.
    :param visible: the simulated time from which a Get finds it.
    :param runs: its stages, each beginning where the one before ends.
    :param models: what the reply shows as its models once it succeeded: the names.
    :param gone: the simulated time from which it exists no more; None for ever.
    :param forced: ``[word]`` to show that status word whatever the plan says, ``[None]`` to show none.
    :param last_call: the last request for it, for people: when (simulated time), what, by whom.
    """

    kind: str
    id: str
    body: dict[str, Any]
    created: float
    visible: float
    runs: list[Run]
    models: list[str]
    gone: float | None = None
    forced: list[str | None] | None = None
    last_call: tuple[float, str, str] | None = None

    @property
    def row(self) -> ResourceKind:
        """Its kind's row of the table."""
        return ALL_KINDS[self.kind]

    @property
    def training_jobs(self) -> list[str]:
        """The names of its SageMaker training jobs, which end in eight characters of SageMaker's."""
        names = self.models if self.kind == MODEL_TRAINING.name else []
        return [f"{name}-{hashlib.sha256(name.encode()).hexdigest()[:8]}" for name in names]

    def current(self, now: float) -> Run:
        """Return the stage at work, or the last one that was."""
        begun = [run for run in self.runs if run.starts <= now]
        return begun[-1] if begun else self.runs[0]

    def status(self, now: float) -> str | None:
        """Return the status word to show; None to show none."""
        return self.forced[0] if self.forced else self.real_status(now)

    def real_status(self, now: float) -> str:
        """Return the status word by the plan: the stage's at work, as kinds and stages share their words."""
        run = self.current(now)
        # Of an export alone: what begins later than it was created is pending until then.
        return PENDING if now < run.starts and now < run.ends else run.status(now)

    def has_ended(self, now: float) -> bool:
        """Tell whether its work is over, well or not."""
        return self.row.phase_of(self.status(now)) is not Phase.RUNNING

    def has_succeeded(self, now: float) -> bool:
        """Tell whether it ended well; what the preconditions of other resources ask."""
        return self.row.phase_of(self.status(now)) is Phase.SUCCEEDED

    def finish(self, now: float) -> None:
        """Let it end well now."""
        self.forced = None
        for run in self.runs:
            self._end_run(run, now, self.row.statuses.succeeded)

    def fail(self, now: float, reason: str, stage: str | None) -> None:
        """Let it fail now in a stage (default: the one at work); the stages before it end well."""
        self.forced = None
        member = stage or self.current(now).member
        index = next(i for i, run in enumerate(self.runs) if run.member == member)
        for run in self.runs[:index]:
            self._end_run(run, now, self.row.statuses.succeeded)
        self._end_run(self.runs[index], now, self.row.statuses.failed)
        self.runs[index].reason = reason
        del self.runs[index + 1 :]

    def stop(self, now: float, seconds: float) -> None:
        """Begin to stop or delete it; done after simulated seconds."""
        self.forced = None
        run = self.current(now)
        run.going = self.row.statuses.stopping
        run.starts, run.ends = min(run.starts, now), now + seconds
        run.reason = None
        if self.row.statuses.stopped:
            run.ending = self.row.statuses.stopped
        else:
            self.gone = now + seconds
        del self.runs[self.runs.index(run) + 1 :]

    def is_stopping(self, now: float) -> bool:
        """Tell whether it is on its way to the end because its cancellation was requested."""
        return self.real_status(now) == self.row.statuses.stopping

    def is_active(self, now: float) -> bool:
        """Tell whether it counts as active: a job at work, an endpoint until it is gone."""
        return self.row.statuses.stopped is None or not self.has_ended(now)

    def update(self, now: float, seconds: float, body: dict[str, Any], script: Script) -> None:
        """Begin to change it; done after simulated seconds."""
        run = self.runs[-1]
        run.going = self.row.statuses.updating or self.row.statuses.running
        run.starts, run.ends = now, now + (script.seconds or {}).get(run.member, seconds)
        run.ending, run.reason = self.row.statuses.succeeded, None
        if script.fail_stage:
            run.ending, run.reason = self.row.statuses.failed, script.reason
        self.body = {**self.body, **body}

    def describe(self, now: float) -> dict[str, Any]:
        """Return the Get reply at a moment."""
        status = self.status(now)
        if self.kind == EXPORT.name:
            return self._describe_export(now, status)
        reply: dict[str, Any] = {"id": self.id} if status is None else {"status": status, "id": self.id}
        reply |= {run.member: run.describe(now) for run in self.runs if run.starts <= now}
        if self.kind == ENDPOINTS.name:
            name = f"{self.runs[0].name}-config"
            reply["endpointConfig"] = {
                "name": name,
                "arn": self.runs[0].arn.replace(":endpoint/", ":endpoint-config/") + "-config",
            }
        elif self.models and self.has_succeeded(now):
            member = "mlModels" if self.kind == MODEL_TRAINING.name else "models"
            prefix = self.runs[0].arn.rpartition(":")[0]
            reply[member] = [{"name": name, "arn": f"{prefix}:model/{name}"} for name in self.models]
        return reply

    def _describe_export(self, now: float, status: str | None) -> dict[str, Any]:
        """Return the reply of the export service. What it says of a failure is assumed."""
        [run] = self.runs
        reply = {"jobId": self.id} if status is None else {"jobId": self.id, "status": status}
        if now >= run.starts:
            reply["logs"] = run.log_url
        if self.has_succeeded(now) and run.output:
            reply["outputS3Uri"] = run.output
        if run.reason and now >= run.ends:
            reply["message"] = run.reason
        return reply

    def overview(self, now: float) -> dict[str, Any]:
        """
        Return what the status page shows of it at a moment.

        ``look`` is a style, not a status; ``starts`` and ``ends`` are None for a stage that never does.
        """
        titles = {stage.member: stage.title for stage in self.row.stages}
        return {
            "id": self.id,
            "status": self.status(now),
            "look": self._look(self.status(now)),
            "last_call": self.last_call,
            "training_jobs": self.training_jobs,
            "stages": [
                {
                    "title": titles[run.member],
                    "name": run.name,
                    "status": run.status(now),
                    "look": self._look(run.status(now)),
                    "starts": _finite(run.starts),
                    "ends": _finite(run.ends),
                    "output": run.output,
                    "reason": run.reason,
                }
                for run in self.runs
            ],
        }

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Resource:
        """Return it from plain data."""
        return cls(**{**data, "runs": [Run(**run) for run in data["runs"]]})

    def _look(self, word: str | None) -> str:
        return "stopped" if word and word == self.row.statuses.stopped else self.row.phase_of(word).value

    def _end_run(self, run: Run, now: float, word: str) -> None:
        if run.ends > now or run is self.runs[-1]:
            run.starts, run.ends = min(run.starts, now), min(run.ends, now)
            run.ending = word


def _finite(time: float) -> float | None:
    return time if math.isfinite(time) else None
