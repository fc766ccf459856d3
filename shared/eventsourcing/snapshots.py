"""Snapshots: an aggregate's fields, so that a long history need not be read from its beginning."""

import dataclasses
import hashlib
from typing import Any, ClassVar, Generic, TypeVar, get_type_hints

import msgspec

from shared.core.serialization import from_json, to_json
from shared.eventsourcing.aggregate import Aggregate
from shared.eventsourcing.store import Snapshot

EVERY = 50
"""Events between two snapshots."""

A = TypeVar("A", bound=Aggregate[Any])


class SnapshotFormat(Generic[A]):
    """How aggregates of one class become snapshots and come back.

    `tag` names the shape of the class's fields, nested ones included: a snapshot of another shape is not read.
    """

    _formats: ClassVar[dict[Any, Any]] = {}

    @classmethod
    def of(cls, aggregate: type[A]) -> "SnapshotFormat[A]":
        """The format of that class, made once."""
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
        """The aggregate as it is."""
        return Snapshot(
            aggregate=aggregate.aggregate_name,
            id=aggregate.id,
            version=aggregate.version,
            tag=self.tag,
            state=to_json({name: getattr(aggregate, name) for name in self._names}),
        )

    def restore(self, snapshot: Snapshot) -> A:
        """The aggregate as it was."""
        fields = from_json(self._struct, snapshot.state)
        restored = self._cls(id=snapshot.id)
        for name in self._names:
            setattr(restored, name, getattr(fields, name))
        return restored
