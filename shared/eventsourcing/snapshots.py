"""Snapshots: an aggregate's stored fields, so that a long history need not be read from its beginning."""

import dataclasses
import hashlib
from typing import Any, ClassVar, Generic, TypeVar, get_type_hints

import msgspec

from shared.core.serialization import from_json, to_json
from shared.eventsourcing.aggregate import Aggregate
from shared.eventsourcing.store import Snapshot

EVERY = 50
"""The number of events between two snapshots."""

A = TypeVar("A", bound=Aggregate[Any])


class SnapshotFormat(Generic[A]):
    """Converts aggregates of one class to snapshots and back.

    `tag` identifies the shape of the class's fields, nested ones included: a snapshot with another tag is not read.
    """

    _formats: ClassVar[dict[Any, Any]] = {}

    @classmethod
    def of(cls, aggregate: type[A]) -> "SnapshotFormat[A]":
        """Return the format of that class. It is made only once."""
        if aggregate not in cls._formats:
            cls._formats[aggregate] = cls(aggregate)
        found: SnapshotFormat[A] = cls._formats[aggregate]
        return found

    def __init__(self, cls: type[A]) -> None:
        types = get_type_hints(cls)
        self._cls = cls
        self._names = [field.name for field in dataclasses.fields(cls)]
        self._struct = msgspec.defstruct(cls.__name__, [(name, types[name]) for name in self._names], kw_only=True)
        shape = msgspec.json.encode([cls.snapshot_version, msgspec.json.schema(self._struct)], order="sorted")
        self.tag = hashlib.sha256(shape).hexdigest()[:16]

    def take(self, aggregate: A) -> Snapshot:
        """Return a snapshot of the aggregate's current fields."""
        return Snapshot(
            aggregate=aggregate.aggregate_name,
            id=aggregate.id,
            version=aggregate.version,
            tag=self.tag,
            state=to_json({name: getattr(aggregate, name) for name in self._names}),
        )

    def restore(self, snapshot: Snapshot) -> A:
        """Return the aggregate that the snapshot was taken of."""
        fields = from_json(self._struct, snapshot.state)
        restored = self._cls(id=snapshot.id)
        for name in self._names:
            setattr(restored, name, getattr(fields, name))
        return restored
