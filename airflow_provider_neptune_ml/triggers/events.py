"""The event trigger: watches externally started jobs for a Dag that is scheduled by an asset."""

from __future__ import annotations

import asyncio
import inspect
import math
import re
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import Any

from airflow.triggers.base import TriggerEvent

from airflow_provider_neptune_ml.base import CONNECTION_FIELDS, hook_parameters_of
from airflow_provider_neptune_ml.compat import AIRFLOW_V_3_0_PLUS, BaseEventTrigger, decoded
from airflow_provider_neptune_ml.exceptions import (
    NeptuneMLError,
    NeptuneMLFailedError,
    NeptuneMLNotFoundError,
    full_stop,
)
from airflow_provider_neptune_ml.kinds import ID_RULE, KINDS, find_kind, is_valid_id
from airflow_provider_neptune_ml.polling import (
    DEFAULT_POLL_INTERVAL_SECONDS,
    HEARTBEAT_SECONDS,
    Description,
    Wait,
    Watch,
    validated_targets,
)
from airflow_provider_neptune_ml.retries import RetryBudget, format_duration, jittered
from airflow_provider_neptune_ml.text import one_line
from airflow_provider_neptune_ml.triggers.coroutines import undisturbed
from airflow_provider_neptune_ml.triggers.delivery import Delivery
from airflow_provider_neptune_ml.triggers.memory import Memory
from airflow_provider_neptune_ml.triggers.threads import with_hook
from airflow_provider_neptune_ml.validation import validate, validate_seconds

# All that the service lists at once; it has no next page.
_MOST_LISTED = 1024


class NeptuneMLJobEventTrigger(BaseEventTrigger):
    """
    Watch externally started jobs, and fire an event for each that completes.

    For an :class:`~airflow.sdk.AssetWatcher`, so that the end of a job updates an asset and a Dag that is
    scheduled by the asset runs. Needs Airflow 3.0 or newer. To wait for a job in a task, take a sensor.

    Each job fires once. Jobs that were in a terminal status before the watch began don't fire. What fired is
    remembered with the asset on Airflow 3.3 or newer, so that no job is missed that ends while no triggerer
    runs; on an older one each start of the trigger begins a new watch.

    The payload of an event is a dict with ``kind``, ``id``, ``status`` and ``description``, the reply of Get.

    The watch ends with its Dag: transient errors are retried, and what the service refuses is logged as an
    error and requested again.

    .. seealso::
        - https://docs.aws.amazon.com/neptune/latest/userguide/machine-learning-api-reference.html
        - https://airflow.apache.org/docs/apache-airflow/stable/authoring-and-scheduling/event-scheduling.html

    :param job_id: The id of a job, or a pattern in which ``*`` stands for any characters and ``?`` for one,
        such as ``nightly-*``. A pattern is looked up in the list of jobs, of which the service gives 1024.
    :param kind: The kind of job: ``dataprocessing``, ``modeltraining`` (default) or ``modeltransform``.
    :param target_statuses: Terminal statuses that fire (default: ``Completed`` alone).
    :param poll_interval: Time in seconds between two looks (default: 60).
    :param neptune_ml_conn_id: The connection with the cluster endpoint (default: ``neptune_ml_default``).
    :param aws_conn_id: The connection with the AWS credentials (default: ``aws_default``); None: boto3's own
        credential chain.
    :param region_name: AWS region (default: from the connections or the host name).
    :param verify: Whether to verify the TLS certificate, or the path of a CA bundle (default: as the AWS
        connection says, else True).
    :param botocore_config: Arguments of :external:py:class:`botocore.config.Config` (default: none).
    :raises ValueError: names the argument, the value and the rule.
    :raises RuntimeError: on Airflow 2, which has no watchers.
    """

    def __init__(
        self,
        *,
        job_id: str,
        kind: str = "modeltraining",
        target_statuses: list[str] | None = None,
        poll_interval: float = DEFAULT_POLL_INTERVAL_SECONDS,
        neptune_ml_conn_id: str = "neptune_ml_default",
        aws_conn_id: str | None = "aws_default",
        region_name: str | None = None,
        verify: bool | str | None = None,
        botocore_config: dict[str, Any] | None = None,
    ) -> None:
        if not AIRFLOW_V_3_0_PLUS:
            raise RuntimeError(
                "NeptuneMLJobEventTrigger needs Airflow 3.0 or newer, the first with asset watchers."
                " A sensor waits for a job on every Airflow."
            )
        super().__init__()  # type: ignore[no-untyped-call]
        self.job_id = job_id
        self.kind = kind
        self.target_statuses = target_statuses
        self.poll_interval = poll_interval
        self.neptune_ml_conn_id = neptune_ml_conn_id
        self.aws_conn_id = aws_conn_id
        self.region_name = region_name
        self.verify = verify
        self.botocore_config = decoded(botocore_config)
        self._validate()

        self._row = find_kind(kind)
        self._is_pattern = not is_valid_id(job_id)
        self._name = f"Watcher of {self._row.title}s {job_id!r}"
        self._errors = _Errors(self._name, self.poll_interval, self.log)
        # None until the watch has begun.
        self._delivery: Delivery | None = None
        self._watches: dict[str, Watch] = {}

    def _validate(self) -> None:
        jobs = [name for name, row in KINDS.items() if row.is_job]
        if self.kind not in jobs:
            raise ValueError(f"kind={self.kind!r} must be a kind of job: {', '.join(jobs)}")
        # Not a template: there is nothing that could render it.
        if not isinstance(self.job_id, str) or not is_valid_id(re.sub(r"[*?]", "x", self.job_id)):
            raise ValueError(f"job_id={self.job_id!r} must be {ID_RULE}, or a pattern of these with * and ?")
        if self.target_statuses is not None:
            self.target_statuses = validated_targets(find_kind(self.kind), self.target_statuses)
        validate_seconds("poll_interval", self.poll_interval, zero=False)
        validate({name: getattr(self, name) for name in CONNECTION_FIELDS}, rendered=True)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the path of the class and its arguments, all plain JSON."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {
            field: getattr(self, field) for field in _FIELDS
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll until Airflow removes the trigger."""
        memory = Memory(getattr(self, "asset_state_store", None), self._key)
        is_over: dict[str, bool] = {}
        # Airflow starts a trigger that raised again at once, and for ever: nothing may end this loop.
        while True:
            try:
                if self._delivery is None:
                    await self._begin(memory, is_over)
                    self._delivery = Delivery(memory, self.poll_interval)
                async for event in self._poll(memory, self._delivery):
                    yield event
            except Exception as error:  # Airflow's look-ups raise whatever their backends do
                self._errors.record(error)
            else:
                self._errors.end()
            await asyncio.sleep(self._errors.pause())

    async def cleanup(self) -> None:
        """Finish what is to be remembered, as the triggerer shuts down or the watch is removed."""
        if self._delivery is None:
            return
        # Where an answer that can't come any more has ended the trigger, it closes before all is cancelled.
        while not await undisturbed(self._delivery.close()):
            pass

    async def _begin(self, memory: Memory, is_over: dict[str, bool]) -> None:
        """
        Resume the watch of an earlier process, or begin one, for which jobs that have ended don't count.

        :param is_over: whether each job has ended, as far as is known: kept from one attempt to the next.
        """
        try:
            if await memory.recall():
                self.log.info("%s resumed; %d jobs are running", self._name, len(memory.running))
                return
        except ValueError as error:
            self.log.warning(
                "%s: jobs that fired are not remembered over restarts: %s", self._name, one_line(error)
            )
        for job_id in await self._list():
            if job_id in is_over:
                continue
            with suppress(NeptuneMLNotFoundError):
                is_over[job_id] = self._row.is_over(await self._describe(job_id))
        memory.ended = {job_id for job_id, ended in is_over.items() if ended}
        self.log.info(
            "%s started; %d jobs already in a terminal status are ignored", self._name, len(memory.ended)
        )
        # What ends from now on counts, also if the triggerer dies before the first whole poll.
        await memory.write()

    async def _poll(self, memory: Memory, delivery: Delivery) -> AsyncIterator[TriggerEvent]:
        """Poll each job once that has not ended, as far as is known."""
        last_error = None
        listed = await self._list()
        memory.listed = frozenset(listed)
        for job_id in dict.fromkeys((*sorted(memory.running), *listed)):
            if job_id in memory.ended:
                continue
            if job_id not in self._watches:
                # One that is running already was watched by an earlier process.
                self._watches[job_id] = self._watch(job_id, taken_over=job_id in memory.running)
                memory.running.add(job_id)
            try:
                # Not by the watch: an error is mostly the same for all jobs, and logged once.
                description = self._watches[job_id].decide(await self._describe(job_id), time.time())
            except NeptuneMLFailedError as error:
                self.log.info("%s", error)
                self._end(memory, job_id)
            except NeptuneMLNotFoundError:
                # Not yet there, or deleted. If it is listed, it is polled again.
                del self._watches[job_id]
                memory.running.discard(job_id)
            except NeptuneMLError as error:
                last_error = error
            else:
                if description is not None:
                    event = self._event(job_id, description)
                    yield event
                    # Not before: only now, the triggerer has taken it.
                    self._end(memory, job_id)
                    if memory.is_kept:
                        delivery.add(job_id, event)
        await delivery.complete()
        if last_error:
            raise last_error

    def _end(self, memory: Memory, job_id: str) -> None:
        del self._watches[job_id]
        memory.end(job_id)

    async def _list(self) -> list[str]:
        """Return the ids that may be meant. One that is missing may still exist."""
        if not self._is_pattern:
            return [self.job_id]
        ids = await with_hook(self._hook_parameters, lambda hook: hook.list_ids(self.kind, _MOST_LISTED))
        if len(ids) >= _MOST_LISTED:
            self._errors.warn_once(f"the service lists at most {_MOST_LISTED} jobs; others are missed")
        return [job_id for job_id in ids if fnmatchcase(job_id, self.job_id)]

    async def _describe(self, job_id: str) -> Description:
        return await with_hook(self._hook_parameters, lambda hook: hook.describe(self.kind, job_id))

    def _watch(self, job_id: str, *, taken_over: bool) -> Watch:
        wait = Wait(self._row, job_id, time.time(), target_statuses=self.target_statuses)
        return Watch(wait, log=self.log, taken_over=taken_over)

    def _event(self, job_id: str, description: Description) -> TriggerEvent:
        return TriggerEvent(
            {
                "kind": self.kind,
                "id": job_id,
                "status": description.get("status"),
                "description": dict(description),
            }
        )

    @property
    def _hook_parameters(self) -> dict[str, Any]:
        return hook_parameters_of(self)

    @property
    def _key(self) -> str:
        # What the watch is for. A new poll interval or credential is no new watch.
        return ":".join(
            (self.neptune_ml_conn_id, self.kind, self.job_id, *sorted(self.target_statuses or ()))
        )


class _Errors:
    """
    The errors of a watch: transient ones are logged once until the next reply, others every ten minutes.

    :param name: how a line begins.
    :param poll_interval: seconds between two polls.
    :param log: the trigger's.
    """

    def __init__(self, name: str, poll_interval: float, log: Any) -> None:
        self._name = name
        self._poll_interval = poll_interval
        self._log = log
        self._transient: RetryBudget | None = None
        self._refused_at = -math.inf
        self._warned: set[str] = set()

    def record(self, error: Exception) -> None:
        """Log an error, unless it was just logged."""
        if isinstance(error, NeptuneMLError) and error.transient:
            self._transient = self._transient or RetryBudget(self._name, math.inf, self._log)
            self._transient.record(error, time.time())
        elif time.time() >= self._refused_at + HEARTBEAT_SECONDS:
            self._refused_at = time.time()
            note = f"Requested again every {format_duration(self._poll_interval)}."
            if isinstance(error, NeptuneMLError):
                self._log.error("%s: %s", self._name, error.with_note(note))
            else:
                self._log.error("%s: %s %s", self._name, full_stop(one_line(error)), note, exc_info=True)

    def end(self) -> None:
        """Log that the last poll went well, after transient errors."""
        if self._transient:
            self._transient.end(time.time())
            self._transient = None
        self._refused_at = -math.inf

    def warn_once(self, text: str) -> None:
        """Log a warning the first time."""
        if text not in self._warned:
            self._warned.add(text)
            self._log.warning("%s: %s", self._name, text)

    def pause(self) -> float:
        """Return the seconds until the next poll."""
        return self._transient.pause() if self._transient else jittered(self._poll_interval)


_FIELDS = tuple(inspect.signature(NeptuneMLJobEventTrigger).parameters)
