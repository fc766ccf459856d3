"""Repositories of entities that are stored as rows. The unit of work finds the changes: see `aggregates`."""

from collections.abc import Iterable, Sequence
from copy import copy
from typing import Generic, TypeVar

from shared.core.clock import Clock
from shared.core.errors import Conflict, NotFound, TooMuchAtOnce
from shared.eventsourcing.aggregate import Entity, RecordingEntity
from shared.eventsourcing.store import MAX_PAGE, RowStore
from shared.unit_of_work.aggregates import record
from shared.unit_of_work.cache import Recall
from shared.unit_of_work.journal import Journal, RowChanged

R = TypeVar("R", bound=Entity)


class Rows(Generic[R]):
    """Entities of one class, stored as rows. Changed entities are written at the end: handlers do not save."""

    def __init__(
        self, cls: type[R], store: RowStore[R], journal: Journal, clock: Clock, *, unknown: type[NotFound]
    ) -> None:
        self._store = store
        self._journal = journal
        self._clock = clock
        self._unknown = unknown
        self._stored: dict[str, int] = {}
        self._sealed: dict[str, R | None] = {}
        self._touched: dict[str, R] = {}
        self.recall = Recall(cls)

    async def get(self, id_: str) -> R:
        """Return the entity; raise the repository's `unknown` error if there is none."""
        row = await self.find(id_)
        if row is None:
            raise self._unknown
        return row

    async def find(self, id_: str) -> R | None:
        """Return the entity, or None."""
        if id_ not in self._touched:
            await self.load([id_])
            sealed = self._sealed[id_]
            if sealed is None:
                return None
            self._touched[id_] = copy(sealed)
        return self._touched[id_]

    async def add(self, row: R) -> R:
        """Add a new entity and return it.

        Its id must be new: if two transactions add the same id, one meets a Conflict.
        """
        if self._touched.get(row.id) is not None or self._sealed.get(row.id) is not None:
            raise Conflict(f"{type(row).__name__} {row.id} exists already")
        self._stored.setdefault(row.id, 0)
        self._sealed.setdefault(row.id, None)
        self._touched[row.id] = row
        return row

    def put(self, row: R, replaces: int) -> None:
        """Write an entity that is derived from an aggregate, with its version, without reading it first."""
        self._stored.setdefault(row.id, replaces)
        self._touched.pop(row.id, None)
        self._seal(row)

    async def load(self, ids: Iterable[str], most: int | None = None) -> None:
        """Read, in one query, those that have not been read yet. Raise TooMuchAtOnce as `RowStore.load` does."""
        missing = [id_ for id_ in dict.fromkeys(ids) if id_ not in self._sealed]
        recalled = self.recall.take(missing)
        for id_, row in recalled.items():
            self._sealed[id_] = row
            self._stored[id_] = row.version
        missing = [id_ for id_ in missing if id_ not in recalled]
        if not missing:
            return
        found = {row.id: row for row in await self._store.load(missing, most)}
        for id_ in missing:
            read = self._sealed[id_] = found.get(id_)
            self._stored[id_] = read.version if read is not None else 0

    async def first_of(self, ids: Sequence[str]) -> Sequence[R]:
        """Return the first of these entities, as many as a page can hold but at least one, only to look at."""
        while True:
            try:
                await self.load(ids, MAX_PAGE if len(ids) > 1 else None)
            except TooMuchAtOnce:
                ids = ids[: len(ids) // 2]
            else:
                return [row for id_ in ids if (row := self._sealed[id_]) is not None]

    def loaded(self, id_: str) -> R | None:
        """Return the entity as it was read, only to look at; None if there is none, or it has not been read."""
        return self._sealed.get(id_)

    def seal(self) -> None:
        """Journal the handed-out entities that have changed, and the events they recorded."""
        for id_, row in self._touched.items():
            if isinstance(row, RecordingEntity):
                events = row.take_recorded()
                for sequence, event in enumerate(events, start=row.sequence - len(events) + 1):
                    record(self._journal, row.aggregate_name, id_, sequence, event, self._clock)
            if row != self._sealed[id_]:
                row.version = self._stored[id_] + 1
                self._seal(copy(row))

    def reset(self) -> None:
        """Restore the handed-out entities to the state in which they were last sealed."""
        for id_, row in list(self._touched.items()):
            sealed = self._sealed.get(id_)
            if sealed is None:
                del self._touched[id_]
            elif row != sealed:
                row.__dict__.update(copy(sealed).__dict__)

    def in_hand(self) -> int:
        """Return how many entities are handed out."""
        return len(self._touched)

    def release(self, before: int) -> None:
        """Forget which entities were handed out since there were `before` of them."""
        for id_ in list(self._touched)[before:]:
            del self._touched[id_]

    def close(self) -> None:
        """Clear all that was read or changed."""
        for kept in (self._stored, self._sealed, self._touched):
            kept.clear()

    async def confirm(self) -> None:
        """Have the database confirm the states from the cache that are not written: a write confirms its row anyway."""
        versions = self.recall.unconfirmed()
        unchanged = {id_: version for id_, version in versions.items() if self._version(id_) == version}
        if unchanged:
            await self._store.confirm(unchanged)

    def remember(self) -> None:
        """Put the committed states into the cache."""
        self.recall.keep(row for row in self._sealed.values() if row is not None)

    async def write(self, rows: Iterable[R]) -> None:
        """Write the last state of each of the rows to the database."""
        latest = {row.id: row for row in rows}
        inserts = [row for row in latest.values() if self._stored[row.id] == 0]
        updates = [(row, stored) for row in latest.values() if (stored := self._stored[row.id]) > 0]
        if inserts:
            await self._store.insert(inserts)
        if updates:
            await self._store.update(updates)
        self._stored.update((row.id, row.version) for row in latest.values())

    def _version(self, id_: str) -> int:
        row = self._sealed[id_]
        return 0 if row is None else row.version

    def _seal(self, row: R) -> None:
        known, before = row.id in self._sealed, self._sealed.get(row.id)

        def undo() -> None:
            if known:
                self._sealed[row.id] = before
            else:  # it has not been read: nobody knows whether it exists
                del self._sealed[row.id]

        self._sealed[row.id] = row
        self._journal.append(RowChanged(row, undo))
