"""What an event trigger remembers of its jobs: with the asset, in Airflow's state store."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from airflow_provider_neptune_ml.compat import ask_store, has_coroutines

# More than can be listed; with the longest ids, still below the 64 KB that Airflow means a value to have.
_MOST_REMEMBERED = 1200


class Memory:
    """
    Which jobs have ended, and which are running, of one watcher.

    :param store: the state store of the asset; None: Airflow has none, nothing outlives this process.
    :param key: names the watcher.
    """

    def __init__(self, store: Any, key: str) -> None:
        self.ended: set[str] = set()
        self.running: set[str] = set()
        # Events that Airflow may not have stored yet, by job: such a job is not remembered as ended.
        self.fired: dict[str, object] = {}
        # Those that the service lists, or a pattern would have them fire again.
        self.listed: frozenset[str] = frozenset()
        self.is_writing = False
        self._store = store
        self._key = key
        self._written: Any = None

    @property
    def is_kept(self) -> bool:
        """Whether there is a store."""
        return self._store is not None

    @property
    def can_write_without_answer(self) -> bool:
        """Whether a write is no thread, which would wait for its answer for ever."""
        return has_coroutines(self._store)

    async def recall(self) -> bool:
        """
        Take over what an earlier process has remembered; tell whether there was any.

        :raises ValueError: the store can't be used, as where two assets share the trigger.
        """
        if self._store is None:
            return False
        try:
            found = await self.read()
        except ValueError:
            self._store = None
            raise
        if found is None:
            return False
        self.running, self.ended = set(found["going"]), set(found["ended"])
        return True

    async def read(self) -> Any:
        """Return what is stored."""
        return await ask_store(self._store, "get", self._key)

    def end(self, job_id: str) -> None:
        """Note that a job has ended."""
        self.running.discard(job_id)
        self.ended.add(job_id)

    def reopen(self, job_ids: Iterable[str]) -> None:
        """Have jobs that had ended fire again."""
        self.ended.difference_update(job_ids)
        self.running.update(job_ids)

    async def write(self) -> None:
        """Store what has changed."""
        if len(self.ended) > _MOST_REMEMBERED:
            needed = self.ended & self.listed
            self.ended = {*needed, *sorted(self.ended - needed)[: _MOST_REMEMBERED - len(needed)]}
        memory = {
            "ended": sorted(self.ended.difference(self.fired)),
            "going": sorted(self.running.union(self.fired)),
        }
        if self._store is None or memory == self._written:
            return
        self.is_writing = True
        try:
            await ask_store(self._store, "set", self._key, memory)
        except Exception:
            self.is_writing = False
            raise
        self.is_writing, self._written = False, memory
