"""The hand on the cluster: what a test, or a person, may do to it besides asking it like a client."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from airflow_provider_neptune_ml.kinds import ALL_KINDS
from airflow_provider_neptune_ml.simulator.intake import checked
from airflow_provider_neptune_ml.simulator.planning import plan
from airflow_provider_neptune_ml.simulator.queries import QueryScript
from airflow_provider_neptune_ml.simulator.resources import DEFAULT_REASON, Resource, Script
from airflow_provider_neptune_ml.simulator.settings import STOP, Settings

if TYPE_CHECKING:
    from airflow_provider_neptune_ml.simulator.faults import Fault, FaultRules
    from airflow_provider_neptune_ml.simulator.journal import Journal, Request
    from airflow_provider_neptune_ml.simulator.store import Store


class Control:
    """
    Change and ask the cluster from any thread, without HTTP.

    ``kind`` is always one of ``dataprocessing``, ``modeltraining``, ``modeltransform``, ``endpoints``,
    ``export``. An argument of a wrong type raises ``ValueError``.
    """

    _settings: Settings
    _store: Store
    _faults: FaultRules
    _journal: Journal

    @property
    def journal(self) -> list[Request]:
        """The latest requests, in order."""
        return self._journal.requests()

    @property
    def faults(self) -> list[Fault]:
        """The faults that are still to come."""
        return self._faults.in_force()

    def now(self) -> float:
        """Return the simulated time, in seconds since the epoch."""
        return self._store.clock.now()

    def calls(self, operation: str | None = None) -> list[Request]:
        """
        Return the latest requests, in order.

        :param operation: the operation, as botocore spells it (default: all).
        """
        return self._journal.requests(operation)

    @checked
    def advance(self, seconds: float) -> None:
        """
        Move the clock ahead; a real clock jumps and goes on.

        :param seconds: simulated seconds.
        :raises ValueError: they are negative, or the clock would be past the year 9999.
        """
        with self._store.lock:
            self._store.advance(seconds)

    @checked
    def describe(self, kind: str, id: str) -> dict[str, Any]:  # noqa: A002 - the service's own name for it
        """
        Return what a Get would answer now, whether the resource is visible yet or not.

        :param kind: a kind, e.g. ``modeltraining``.
        :param id: its id.
        :raises ValueError: the kind is unknown.
        :raises KeyError: there is no resource with that id.
        """
        with self._store.lock:
            return self._store.find(kind, id).describe(self.now())

    def overview(self) -> dict[str, Any]:
        """Return the whole cluster as plain data, for the status page; times are simulated ones."""
        with self._store.lock:
            now = self.now()
            kinds = {
                kind: [resource.overview(now) for resource in self._store.all(kind)] for kind in ALL_KINDS
            }
            faults = [asdict(fault) for fault in self.faults]
            return {"now": now, "requests": self._journal.total, "faults": faults, "kinds": kinds}

    @checked
    def finish(self, kind: str, id: str) -> None:  # noqa: A002
        """
        Have a resource complete now.

        :param kind: a kind, e.g. ``modeltraining``.
        :param id: its id.
        :raises ValueError: the kind is unknown, or the resource has ended.
        :raises KeyError: there is no resource with that id.
        """
        with self._store.lock:
            resource = self._going(kind, id)
            resource.finish(self.now())
            self._store.save(resource)

    @checked
    def fail(self, kind: str, id: str, reason: str = DEFAULT_REASON, stage: str | None = None) -> None:  # noqa: A002
        """
        Have a resource fail now.

        :param kind: a kind, e.g. ``modeltraining``.
        :param id: its id.
        :param reason: the stage's failure reason (default: SageMaker's "AlgorithmError: ...").
        :param stage: the member of the stage that fails, e.g. ``hpoJob`` (default: the one at work).
        :raises ValueError: the kind or the stage is unknown, or the resource has ended.
        :raises KeyError: there is no resource with that id.
        """
        with self._store.lock:
            resource = self._going(kind, id)
            _check_stage(kind, stage)
            resource.fail(self.now(), reason, stage)
            self._store.save(resource)

    @checked
    def stop_job(self, kind: str, id: str) -> None:  # noqa: A002
        """
        Stop a resource now, as if stopped externally, in SageMaker; an endpoint is gone at once.

        :param kind: a kind, e.g. ``modeltraining``.
        :param id: its id.
        :raises ValueError: the kind is unknown, or the resource has ended.
        :raises KeyError: there is no resource with that id.
        """
        with self._store.lock:
            resource = self._going(kind, id)
            resource.stop(self.now(), 0.0)
            self._store.save(resource)

    @checked
    def set_status(self, kind: str, id: str, status: str | None) -> None:  # noqa: A002
        """
        Show any status word for a resource, until it is ended.

        :param kind: a kind, e.g. ``modeltraining``.
        :param id: its id.
        :param status: the word; None leaves the key out of the reply.
        :raises ValueError: the kind is unknown.
        :raises KeyError: there is no resource with that id.
        """
        with self._store.lock:
            resource = self._store.find(kind, id)
            resource.forced = [status]
            self._store.save(resource)

    @checked
    def seed(self, kind: str, id: str, status: str | None = None) -> None:  # noqa: A002
        """
        Create a resource without a request or any precondition.

        :param kind: a kind, e.g. ``modeltraining``.
        :param id: its id.
        :param status: its status; one with the word of a running resource goes on (default: that of one
            that completed).
        :raises ValueError: the kind is unknown, or there is one with that id.
        """
        with self._store.lock:
            self._store.all(kind)
            if self._store.get(kind, id):
                raise ValueError(f"id={id!r}: there is one already")
            row = ALL_KINDS[kind]
            now = self.now()
            resource = plan(row, id, _seed_body(kind), now, self._settings, Script(kind), self._store.made)
            resource.visible = now
            self._settle(resource, status or row.statuses.succeeded)
            self._store.put(resource)

    @checked
    def script(
        self,
        kind: str,
        id: str | None = None,  # noqa: A002
        *,
        fail_stage: str | None = None,
        reason: str = DEFAULT_REASON,
        seconds: dict[str, float] | None = None,
    ) -> None:
        """
        Set what happens to a resource that is not started yet; each script is used once.

        :param kind: a kind, e.g. ``modeltraining``.
        :param id: its id (default: whichever of the kind is started next).
        :param fail_stage: the member of the stage that fails at its end (default: none).
        :param reason: its failure reason (default: SageMaker's "AlgorithmError: ...").
        :param seconds: simulated seconds by stage, over the settings (default: none).
        :raises ValueError: the kind or a stage is unknown, or the seconds are negative.
        """
        with self._store.lock:
            self._store.all(kind)
            for stage in (fail_stage, *(seconds or {})):
                _check_stage(kind, stage)
            if min((seconds or {}).values(), default=0.0) < 0:
                raise ValueError(f"seconds={seconds}: must not be negative")
            self._store.scripts.append(Script(kind, id, fail_stage, reason, seconds))

    @checked
    def script_query(self, result: list[Any], query: str | None = None, times: int | None = None) -> None:
        """
        Set what Gremlin queries are answered.

        Of the scripts that fit, the one that was added first applies. A query that names an endpoint which is
        not in service is refused nevertheless.

        :param result: the values of the result, plain ones or GraphSON.
        :param query: a text that the queries have in them (default: all queries).
        :param times: how many are answered so (default: all).
        :raises ValueError: ``times`` is less than 1.
        """
        if times is not None and times < 1:
            raise ValueError(f"times={times}: must be at least 1")
        with self._store.lock:
            self._store.query_scripts.append(QueryScript(result, query, times))

    def add_fault(self, fault: Fault) -> None:
        """
        Put a fault in force.

        :param fault: the fault.
        """
        self._faults.add(fault)

    def clear_faults(self) -> None:
        """Drop the faults that are still to come."""
        self._faults.clear()

    def reset(self) -> None:
        """Remove all resources, scripts and faults and empty the journal; the clock goes on."""
        with self._store.lock:
            self._store.clear()
        self.clear_faults()
        self._journal.clear()

    def _going(self, kind: str, id_: str) -> Resource:
        resource = self._store.find(kind, id_)
        if resource.has_ended(self.now()):
            raise ValueError(f"{resource.row.title} {id_!r} has ended: {resource.status(self.now())}")
        return resource

    def _settle(self, resource: Resource, status: str) -> None:
        now, words = self.now(), resource.row.statuses
        if status == words.succeeded:
            resource.finish(now)
        elif status == words.failed:
            resource.fail(now, DEFAULT_REASON, None)
        elif status == words.stopped:
            resource.stop(now, 0.0)
        elif status == words.stopping:
            resource.stop(now, self._settings.seconds(resource.kind, STOP))
        elif status == words.running:
            resource.runs[0].starts = now
        else:
            resource.forced = [status]


def _check_stage(kind: str, stage: str | None) -> None:
    members = [known.member for known in ALL_KINDS[kind].stages]
    if stage is not None and stage not in members:
        raise ValueError(f"stage={stage!r}: a {ALL_KINDS[kind].title} has only {', '.join(members)}")


def _seed_body(kind: str) -> dict[str, Any]:
    member = {
        "dataprocessing": "processedDataS3Location",
        "modeltraining": "trainModelS3Location",
        "modeltransform": "modelTransformOutputS3Location",
        "export": "outputS3Path",
    }.get(kind)
    return {member: f"s3://neptune-ml-simulator/{kind}"} if member else {}
