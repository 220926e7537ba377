"""How a start operator gets its resource: it adopts that of an earlier try, or starts one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_neptune_ml.base import task_instance_of
from airflow_provider_neptune_ml.compat import AirflowFailException
from airflow_provider_neptune_ml.exceptions import (
    NeptuneMLError,
    NeptuneMLKilledError,
    NeptuneMLNotFoundError,
    NeptuneMLServiceError,
)
from airflow_provider_neptune_ml.kinds import Phase
from airflow_provider_neptune_ml.operators.ownership import UnconsumedMarker, first_try, ids_of
from airflow_provider_neptune_ml.validation import is_set

if TYPE_CHECKING:
    from datetime import datetime

    from airflow_provider_neptune_ml.compat import Context
    from airflow_provider_neptune_ml.operators.base import NeptuneMLStartOperator

Description = Mapping[str, Any]


@dataclass(frozen=True)
class Submitted:
    """
    The resource that a start operator got.

    :param resource_id: its id.
    :param description: the reply of the start, or the description of what was adopted.
    """

    resource_id: str
    description: Description


@dataclass(frozen=True)
class IdConflict:
    """
    The resource that has the id which a start asked for.

    :param description: what the service says of it.
    :param refusal: what it said of the start.
    :param is_ours: whether an earlier sending of the same request may have created it.
    """

    description: Description
    refusal: NeptuneMLServiceError
    is_ours: bool


class Submission:
    """
    The submission of one try.

    It reads the operator's arguments, and changes none of them. What a kill would have to cancel is aimed at
    before it may exist, and its id is in XCom, for a teardown, before the request is sent.

    :param task: the operator, whose templates are rendered.
    :param context: that of the try.
    """

    def __init__(self, task: NeptuneMLStartOperator, context: Context) -> None:
        self._task = task
        self._context = context
        self._ti = task_instance_of(context)
        self._kill = task.kill
        self._marker = UnconsumedMarker(context)
        self._unconsumed_id, self._unconsumed_arn = self._marker.read()
        dag_run: Any = context.get("dag_run")
        self._run_began: datetime | None = dag_run and dag_run.start_date

    @staticmethod
    def can_adopt(context: Context) -> bool:  # noqa: ARG004
        """Tell whether a retry can find what this try has started: by ids that name their task, always."""
        return True

    def check(self) -> None:
        """
        Check, before anything is sent, that there is what the submission needs.

        :raises ValueError: there is nothing to make an id of.
        """
        if not self._task.resource_id and "ti" not in self._context:
            raise ValueError(
                f"{self._task.kind.id_argument}={self._task.resource_id!r} must be given where the context"
                " has no task instance (ti), of which an id is made"
            )

    def claim_earlier(self) -> None:
        """
        Have a kill cancel, and a teardown find, what the try before has most likely started.

        XComs are cleared for each try, and this one may come to nothing.
        """
        task = self._task
        # What is updated may have served before. So may an endpoint that was created externally under the
        # user's id meanwhile: before it is looked at, nothing tells, and a deletion can't be undone.
        is_told = task.kind.is_job or not task.resource_id
        expected = self._unconsumed_id or self._expected_id() if is_told else ""
        # Which try has started it, the marker alone tells.
        is_guessed = expected and not (self._marker.is_kept or task.resource_id)
        others = self._ids_before(self._ti.try_number - 1) if is_guessed else ()
        self._claim(expected, is_ours=not is_set(task.update), others=others)

    def submit(self) -> Submitted:
        """
        Adopt the resource of an earlier try, or start one.

        :raises NeptuneMLError: the service refused, did not answer, or the task was killed.
        :raises AirflowFailException: the user's own id exists already.
        """
        if self._task.resource_id:
            return self._submit_own_id(self._task.resource_id)
        return self._adopt_earlier() or self._submit_generated_id()

    # An id that the operator generates

    def _adopt_earlier(self) -> Submitted | None:
        """Adopt the resource of an earlier try since the task was cleared."""
        if not self._task.durable:
            return None
        for attempt in reversed(self._attempts(self._ti.try_number)):
            for ids in self._ids_of_earlier(attempt):
                if latest := self._latest_of(ids, self._ids_before(attempt)):
                    return self._adopt(*latest, is_named_by_us=True, may_serve=True)
        return None

    def _attempts(self, before: int) -> range:
        """Return the tries since the task was cleared and before one of them."""
        return range(first_try(self._ti, self._task.retries), before)

    def _ids_before(self, attempt: int) -> tuple[str, ...]:
        """Return the first id of each earlier one."""
        return tuple(next(ids_of(self._ti, each, self._run_began)) for each in self._attempts(attempt))

    def _ids_of_earlier(self, attempt: int) -> Iterator[Iterator[str]]:
        """Yield the ids of an earlier try, and those that a version before 1.0 gave it."""
        yield ids_of(self._ti, attempt, self._run_began)
        old = next(ids_of(self._ti, attempt, None))
        # Another Airflow may have the same ones: where the marker can tell, it has to.
        if self._run_began and (not self._marker.is_kept or (self._unconsumed_id or "").startswith(old)):
            yield ids_of(self._ti, attempt, None)

    def _latest_of(self, ids: Iterator[str], before: tuple[str, ...]) -> tuple[str, Description] | None:
        """Return the resource that a try has started last; before it, others may have."""
        latest = None
        for candidate in ids:
            # Where there is a marker, what it names is claimed already, and nothing else can be running.
            if not self._marker.is_kept:
                self._claim(candidate, others=before)
            if (description := self._look_up(candidate)) is None:
                break
            latest = candidate, description
            # Another one was started only where this one was of no use.
            if self._task.kind.is_under_way(description) or self._task.kind.is_serving(description):
                break
        return latest

    def _submit_generated_id(self) -> Submitted:
        """Send the start request under the first id of this try that is free."""
        for candidate in ids_of(self._ti, self._ti.try_number, self._run_began):
            self._kill.aim(None)
            existing = self._look_up(candidate)
            if existing is None:
                sent = self._send(candidate)
                # Nobody but this task takes such an id.
                return sent if isinstance(sent, Submitted) else Submitted(candidate, sent.description)
            if self._task.durable and (adopted := self._adopt(candidate, existing, is_named_by_us=True)):
                return adopted
        raise AssertionError("the ids of a try never end")

    # An id of the user's own, which does not tell who started what has it

    def _submit_own_id(self, resource_id: str) -> Submitted:
        may_be_ours = self._expected_id() == resource_id
        try:
            existing = self._look_up(resource_id)
        except NeptuneMLError as error:
            if may_be_ours and self._kill.target.resource_id is None:
                error.add_sentence("It may have been started by an earlier try.")
            raise
        if existing is not None and is_set(self._task.update):
            return self._update(resource_id, existing, may_be_ours=may_be_ours)
        if existing is None:
            sent = self._send(resource_id)
            if isinstance(sent, Submitted):
                return sent
            existing = sent.description
            if sent.is_ours:
                return Submitted(resource_id, existing)
        elif may_be_ours and (adopted := self._adopt(resource_id, existing)):
            return adopted
        self._kill.raise_if_received()
        self._claim("")
        raise self._id_conflict(resource_id, existing)

    def _id_conflict(self, resource_id: str, existing: Description) -> AirflowFailException:
        """Return the error for an id of the user's own that exists; a retry would adopt what has it."""
        kind = self._task.kind
        update = ", or set update=True to change it" if "update" in self._task.request_parameters else ""
        return AirflowFailException(
            f"{kind.name_of(resource_id)} exists already ({existing.get('status')}). Leave"
            f" {kind.id_argument} out: each try then gets a new id, which its retries find. Or give an id"
            f" that no {kind.noun} has had{update}."
        )

    def _update(self, resource_id: str, existing: Description, *, may_be_ours: bool) -> Submitted:
        """Change what exists, or wait for the change that an earlier try has sent."""
        kind = self._task.kind
        if may_be_ours and kind.is_under_way(existing):
            # One that is being created by this task is its own to cancel; one that served before is not.
            self._kill.aim(resource_id if kind.is_creating(existing) else None)
            return Submitted(resource_id, existing)
        sent = self._send(resource_id, is_update=True)
        if isinstance(sent, Submitted):
            return sent
        if sent.is_ours and kind.is_under_way(sent.description):
            return Submitted(resource_id, sent.description)
        raise sent.refusal

    # Both

    def _send(self, candidate: str, *, is_update: bool = False) -> Submitted | IdConflict:
        """Send the start request, again if need be."""
        task = self._task
        request = {name: getattr(task, name) for name in task.request_parameters}
        if is_set(task.update):
            request["update"] = is_update
        is_ambiguous = False

        def start() -> Mapping[str, Any]:
            nonlocal is_ambiguous
            self._kill.raise_if_received()
            try:
                return task.hook.start(
                    task.kind, id=candidate, additional_parameters=task.additional_parameters, **request
                )
            except NeptuneMLError as error:
                is_ambiguous = is_ambiguous or (error.transient and error.ambiguous)
                raise

        self._marker.write(candidate)
        # What is updated may have served before: it is not this task's to cancel.
        self._claim(candidate, is_ours=not is_update, may_appear=True)
        try:
            try:
                reply = task.retry(start, task.kind.name_of(candidate))
            except NeptuneMLServiceError as refusal:
                if not is_ambiguous and task.resource_id:
                    # What has an id of the user's own then was started externally.
                    self._kill.aim(None)
                elif not is_ambiguous:
                    self._kill.appeared()
                task.cancel_if_killed()
                return IdConflict(self._resolve_conflict(refusal, candidate), refusal, is_ours=is_ambiguous)
        except NeptuneMLKilledError:
            if is_ambiguous:  # the request may have arrived after the kill has looked
                task.cancel_if_killed()
            raise
        except NeptuneMLError as error:
            if is_ambiguous:
                earlier = "It" if error.ambiguous else "By an earlier request, it"
                error.add_sentence(f"{earlier} may have been started.")
                raise
            self._kill.aim(None)
            if candidate != self._unconsumed_id:
                self._marker.delete()
            raise
        task.cancel_if_killed()
        if task.resource_id and not is_update:
            # An id that anybody can use again does not tell what was started.
            self._marker.write(candidate, str(reply.get("arn") or ""))
        task.log.info("%s started", task.kind.name_of(candidate))
        return Submitted(candidate, reply)

    def _resolve_conflict(self, refusal: NeptuneMLServiceError, candidate: str) -> Description:
        """Return the description of what has the id, if that is why the start was refused; else raise."""
        if refusal.http_status == 403:
            raise refusal
        try:
            description = self._look_up(candidate)
        except NeptuneMLError as error:
            raise NeptuneMLError(f"{refusal} Whether the id exists already is not known: {error}") from None
        if description is None:
            # "Invalid ID provided." is about another id then.
            arguments = {name: getattr(self._task, name) for name in self._task.request_parameters}
            ids = [f"{name}={value!r}" for name, value in arguments.items() if name.endswith("_id") and value]
            if ids:
                refusal.add_sentence(f"Sent with {', '.join(ids)}.")
            raise refusal
        return description

    def _look_up(self, candidate: str) -> Description | None:
        """Return the description of a resource, None if there is none."""
        task = self._task
        try:
            return task.retry(
                lambda: task.hook.describe(task.kind, candidate),
                task.kind.name_of(candidate),
            )
        except NeptuneMLNotFoundError:
            return None

    def _adopt(
        self,
        candidate: str,
        description: Description,
        *,
        is_named_by_us: bool = False,
        may_serve: bool = False,
    ) -> Submitted | None:
        """
        Adopt what an earlier try has started, unless it failed, was used, or is being cancelled.

        :param is_named_by_us: whether nothing else can have changed it since, as its id names this task.
        :param may_serve: whether an endpoint that is in service is what this task was to create.
        """
        kind, status = self._task.kind, description.get("status")
        is_unconsumed = candidate == self._unconsumed_id or (may_serve and kind.is_serving(description))
        succeeded = kind.phase_of(status) is Phase.SUCCEEDED
        is_at_work = (kind.is_under_way if is_named_by_us else kind.is_creating)(description)
        is_another = candidate == self._unconsumed_id and kind.is_another(description, self._unconsumed_arn)
        if is_another or not (is_at_work or (succeeded and is_unconsumed)):
            self._kill.aim(None)
            return None
        self._kill.aim(candidate)
        self._task.log.info("%s (%s) of an earlier try adopted", kind.name_of(candidate), status)
        return Submitted(candidate, description)

    def _expected_id(self) -> str:
        """Return the id that the try before most likely used; empty where there was none."""
        task, ti = self._task, self._ti
        if not task.durable or ti.try_number <= first_try(ti, task.retries):
            return ""
        if self._marker.is_kept:
            # It was written before each start, so without it there was none, or it was used.
            return self._unconsumed_id or ""
        return task.resource_id or next(ids_of(ti, ti.try_number - 1, self._run_began))

    def _claim(
        self,
        resource_id: str,
        *,
        is_ours: bool = True,
        may_appear: bool = False,
        others: tuple[str, ...] = (),
    ) -> None:
        """Have a kill cancel what may be this task's, and a teardown find it, however this try ends."""
        self._kill.aim(resource_id if is_ours else None, may_appear=may_appear, others=others)
        self._task.push(self._context, self._task.kind.id_argument, resource_id)
