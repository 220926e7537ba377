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

from airflow_provider_neptune_ml.base import hook_parameters_of
from airflow_provider_neptune_ml.compat import AIRFLOW_V_3_0_PLUS, BaseEventTrigger, ask_store, decoded
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
from airflow_provider_neptune_ml.triggers.delivery import find_runner, stored
from airflow_provider_neptune_ml.triggers.threads import with_hook
from airflow_provider_neptune_ml.validation import validate, validate_seconds

# All that the service lists at once; it has no next page.
_MOST_LISTED = 1024
# More than can be listed; with the longest ids, still below the 64 KB that Airflow means a value to have.
_MOST_REMEMBERED = 1200
# The triggerer sends events on once a second. What is remembered only later may fire twice if the triggerer
# dies in between; what is remembered before Airflow has stored it may never fire, which is worse.
_CHECK_SECONDS = 0.02
# Where it can't be seen whether an event is stored, it is taken to be after this time. Of a watch that is
# removed within this time, as for a Dag that is paused, Airflow may have dropped the event.
_STORED_SECONDS = 5.0
# A triggerer that shuts down handles what it gets as long as its runner lives, but no answer arrives.
_LAST_WRITE_SECONDS = 1.0


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
        # None until the watch has begun.
        self._ended: set[str] | None = None
        self._ended_before: dict[str, bool] = {}
        self._going: dict[str, Watch] = {}
        self._listed: list[str] = []
        # What fired and is not known to be stored by Airflow, and when it was known of what fired last.
        self._fired: dict[str, TriggerEvent] = {}
        # Of these, the ones that a shutdown stores before it reaches this trigger.
        self._answered: set[str] = set()
        self._stored_at: dict[str, float] = {}
        self._delivery: asyncio.Task[None] | None = None
        self._memory: Any = None
        self._is_writing = False
        self._errors: RetryBudget | None = None
        self._refused_at = -math.inf
        self._has_warned = False

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
        validate({"botocore_config": self.botocore_config})

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the path of the class and its arguments, all plain JSON."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {
            field: getattr(self, field) for field in _FIELDS
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll until Airflow removes the trigger."""
        # Airflow starts a trigger that raised again at once, and for ever: nothing may end this loop.
        while True:
            try:
                async for event in self._look():
                    yield event
            except Exception as error:  # Airflow's look-ups raise whatever their backends do
                self._record(error)
            else:
                self._end_errors()
            await asyncio.sleep(self._errors.pause() if self._errors else jittered(self.poll_interval))

    async def cleanup(self) -> None:
        """Finish what is to be remembered, as the triggerer shuts down or the watch is removed."""
        if self._delivery:
            self._delivery.cancel()
        if (runner := find_runner()) is None:
            return
        task = asyncio.ensure_future(self._finish_write() if runner.stop else self._forget_removed())
        while not task.done():
            # Airflow cancels a trigger again each second until it has ended.
            with suppress(asyncio.CancelledError):
                await asyncio.shield(task)

    async def _look(self) -> AsyncIterator[TriggerEvent]:
        """Look once at every job that has not ended, as far as is known."""
        if self._ended is None:
            self._ended = await self._recall()
        if self._ended is None:
            self._ended = await self._begin()
            # What ends from now on counts, also if the triggerer dies before the first whole look.
            await self._remember()
        last_error = None
        self._listed = await self._list()
        for job_id in dict.fromkeys((*self._going, *self._listed)):
            if job_id in self._ended:
                continue
            watch = self._going.setdefault(job_id, self._watch(job_id))
            try:
                # Not by the watch: an error is mostly the same for all jobs, and logged once.
                description = watch.decide(await self._describe(job_id), time.time())
            except NeptuneMLFailedError as error:
                self.log.info("%s", error)
                self._note_end(job_id)
            except NeptuneMLNotFoundError:
                # Not yet there, or deleted. If it is listed, it is looked at again.
                del self._going[job_id]
            except NeptuneMLError as error:
                last_error = error
            else:
                if description is not None:
                    event = self._event(job_id, description)
                    yield event
                    # Not before: only now, the triggerer has taken it.
                    self._note_end(job_id)
                    self._deliver(job_id, event)
        if self._delivery:
            await self._delivery
        await self._remember_stored()
        if last_error:
            raise last_error

    async def _begin(self) -> set[str]:
        """Return the jobs that have ended before the watch begins."""
        # Kept from one attempt to the next: an error of one of many must not begin it anew.
        known = self._ended_before
        for job_id in await self._list():
            if job_id in known:
                continue
            try:
                known[job_id] = self._row.is_over(await self._describe(job_id))
            except NeptuneMLNotFoundError:
                continue
        ended = {job_id for job_id, is_over in known.items() if is_over}
        self.log.info("%s started; %d jobs already in a terminal status are ignored", self._name, len(ended))
        return ended

    async def _list(self) -> list[str]:
        """Return the ids that may be meant. One that is missing may still exist."""
        if not self._is_pattern:
            return [self.job_id]
        ids = await with_hook(self._hook_parameters, lambda hook: hook.list_ids(self.kind, _MOST_LISTED))
        if len(ids) >= _MOST_LISTED and not self._has_warned:
            self._has_warned = True
            self.log.warning("%s: the service lists at most %d jobs; others are missed", self._name, len(ids))
        return [job_id for job_id in ids if fnmatchcase(job_id, self.job_id)]

    async def _describe(self, job_id: str) -> Description:
        return await with_hook(self._hook_parameters, lambda hook: hook.describe(self.kind, job_id))

    def _watch(self, job_id: str, *, taken_over: bool = False) -> Watch:
        wait = Wait(self._row, job_id, time.time(), target_statuses=self.target_statuses)
        return Watch(wait, log=self.log, taken_over=taken_over)

    def _note_end(self, job_id: str) -> None:
        assert self._ended is not None  # noqa: S101
        del self._going[job_id]
        self._ended.add(job_id)

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

    # Remembering

    def _deliver(self, job_id: str, event: TriggerEvent) -> None:
        """Remember a job as soon as Airflow has stored its event, while the look goes on."""
        if self._store is None:
            return
        self._fired[job_id] = event
        if self._delivery is None or self._delivery.done():
            self._delivery = asyncio.ensure_future(self._try_to_remember())

    async def _try_to_remember(self) -> None:
        # What fails here is done again at the end of the look, and raises there.
        with suppress(Exception):
            await self._remember_stored()

    async def _remember_stored(self) -> None:
        """Store what changed; what fired as soon as Airflow has stored the event."""
        while self._fired:
            known = await self._known_as_stored()
            for job_id in known:
                del self._fired[job_id]
            self._answered.difference_update(known)
            latest = time.monotonic() - _STORED_SECONDS
            self._stored_at = {job_id: at for job_id, at in self._stored_at.items() if at > latest}
            self._stored_at |= dict.fromkeys(known, time.monotonic())
            if known:
                await self._remember()
        await self._remember()

    async def _known_as_stored(self) -> list[str]:
        fired = dict(self._fired)
        runner = find_runner()
        if runner is None:
            await asyncio.sleep(min(self.poll_interval, _STORED_SECONDS))
            return list(fired)
        await asyncio.sleep(_CHECK_SECONDS)
        return await stored(
            runner, fired, lambda: ask_store(self._store, "get", self._key), self._answered.update
        )

    async def _finish_write(self) -> None:
        """Have remembered what the triggerer has stored as it shuts down; no answer arrives any more."""
        stored = self._answered & self._fired.keys()
        last = None
        if stored and hasattr(self._store, "aset"):  # a thread would wait for the answer for ever
            self._fired = {job_id: event for job_id, event in self._fired.items() if job_id not in stored}
            last = asyncio.ensure_future(self._remember())
        if last or self._is_writing:
            await asyncio.sleep(_LAST_WRITE_SECONDS)
        if last:
            last.cancel()

    async def _forget_removed(self) -> None:
        """Let those fire again, should the watch come back, whose events Airflow may have dropped."""
        latest = time.monotonic() - _STORED_SECONDS
        recent = {job_id for job_id, at in self._stored_at.items() if at > latest}
        if recent and self._ended is not None:
            self._ended -= recent
            self._going |= {job_id: self._watch(job_id) for job_id in recent}
            await self._remember()

    @property
    def _store(self) -> Any:
        return getattr(self, "asset_state_store", None)

    @property
    def _key(self) -> str:
        # What the watch is for. A new poll interval or credential is no new watch.
        return ":".join(
            (self.neptune_ml_conn_id, self.kind, self.job_id, *sorted(self.target_statuses or ()))
        )

    async def _recall(self) -> set[str] | None:
        """Take up the watch that another triggerer left: return what had ended; None if there was none."""
        if self._store is None:
            return None
        try:
            memory = await ask_store(self._store, "get", self._key)
        except ValueError as error:
            self.log.warning("%s: jobs that fired are not remembered over restarts: %s", self._name, error)
            self.asset_state_store = None
            return None
        if memory is None:
            return None
        self._going = {job_id: self._watch(job_id, taken_over=True) for job_id in memory["going"]}
        self.log.info("%s resumed; %d jobs are running", self._name, len(self._going))
        return set(memory["ended"])

    async def _remember(self) -> None:
        """Store what a later run of this trigger must know, if it has changed."""
        assert self._ended is not None  # noqa: S101
        if len(self._ended) > _MOST_REMEMBERED:
            # Those that are listed would fire again.
            needed = self._ended.intersection(self._listed)
            self._ended = {*needed, *sorted(self._ended - needed)[: _MOST_REMEMBERED - len(needed)]}
        memory = {
            "ended": sorted(self._ended.difference(self._fired)),
            "going": sorted({*self._going, *self._fired}),
        }
        if self._store is not None and memory != self._memory:
            self._is_writing = True
            try:
                await ask_store(self._store, "set", self._key, memory)
            except Exception:
                self._is_writing = False
                raise
            self._is_writing, self._memory = False, memory

    # Errors

    def _record(self, error: Exception) -> None:
        """Log an error: a transient one once until the next reply, any other every ten minutes."""
        if isinstance(error, NeptuneMLError) and error.transient:
            self._errors = self._errors or RetryBudget(self._name, math.inf, self.log)
            self._errors.record(error, time.time())
        elif time.time() >= self._refused_at + HEARTBEAT_SECONDS:
            self._refused_at = time.time()
            again = format_duration(self.poll_interval)
            note = f"Requested again every {again}."
            if isinstance(error, NeptuneMLError):
                self.log.error("%s: %s", self._name, error.with_note(note))
            else:
                self.log.error("%s: %s %s", self._name, full_stop(str(error)), note, exc_info=True)

    def _end_errors(self) -> None:
        if self._errors:
            self._errors.end(time.time())
            self._errors = None
        self._refused_at = -math.inf


_FIELDS = tuple(inspect.signature(NeptuneMLJobEventTrigger).parameters)
