"""An entity's table follows from its fields."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NewType

from sqlalchemy import BigInteger, Boolean, DateTime, Text
from sqlalchemy.dialects.postgresql import JSONB

from shared.adapters.postgres.tables import table_of
from shared.core.serialization import Json
from shared.eventsourcing.aggregate import Entity

ShelfId = NewType("ShelfId", str)


class Kind(StrEnum):
    NOVEL = "NOVEL"


@dataclass(kw_only=True)
class Book(Entity):
    shelf: ShelfId
    kind: Kind | None = None
    pages: int
    lent: bool = False
    due_at: datetime | None = None
    authors: tuple[str, ...] = ()
    note: Json | None = None


def test_each_field_is_a_column_of_its_type() -> None:
    table = table_of(Book, "books")
    assert table.name == "books"
    assert {column.name: type(column.type) for column in table.columns} == {
        "id": Text,
        "version": BigInteger,
        "shelf": Text,
        "kind": Text,
        "pages": BigInteger,
        "lent": Boolean,
        "due_at": DateTime,
        "authors": JSONB,
        "note": JSONB,
    }
    assert [column.name for column in table.primary_key] == ["id"]
