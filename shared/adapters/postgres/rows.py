"""Entities as rows: the columns of a SQLAlchemy table are the fields of a dataclass, by name."""

import dataclasses
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Generic, TypeVar, get_type_hints

from sqlalchemy import Table, Text
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import JSONB

from shared.adapters.postgres.statements import UNLIMITED, Expected, Statements, outdated
from shared.core.errors import TooMuchAtOnce
from shared.core.serialization import Json, from_json, to_json
from shared.eventsourcing.aggregate import Entity

R = TypeVar("R", bound=Entity)
_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]


class RowMapping(Generic[R]):
    """How entities of a class become rows of a table. A JSONB column holds its field as JSON."""

    def __init__(self, cls: type[R], table: Table) -> None:
        self._cls = cls
        self.table = table.name
        hints = get_type_hints(cls)
        self._fields = [field.name for field in dataclasses.fields(cls)]
        missing = set(self._fields) ^ set(table.columns.keys())
        if missing:
            raise TypeError(f"{cls.__name__} and table {table.name} differ in {sorted(missing)}")
        self._readers = [_reader(hints[name], table.columns[name].type) for name in self._fields]
        self._writers = [_writer(hints[name], table.columns[name].type) for name in self._fields]
        columns = ", ".join(self._fields)
        types = [table.columns[name].type for name in self._fields]
        arrays = ", ".join(f"${index}::{_array_of(type_)}[]" for index, type_ in enumerate(types, start=1))
        values = ", ".join(
            f"new.{name}::jsonb" if isinstance(type_, JSONB) else f"new.{name}"
            for name, type_ in zip(self._fields, types, strict=True)
        )
        read = ", ".join(
            f"{name}::text as {name}" if isinstance(type_, JSONB) else name
            for name, type_ in zip(self._fields, types, strict=True)
        )
        self.select = f"select {read} from {table.name}"
        texts = [column.name for column in table.columns if isinstance(column.type, Text | JSONB)]
        size = " + ".join(f"coalesce(octet_length({name}), 0)" for name in texts)
        # The running total ends the answer where it becomes too much.
        self.load_statement = (
            f"select {columns}, _total from (select *, sum({size}) over (order by id) as _total, {size} as _size "
            f"from ({self.select} where id = any($1::text[]) offset 0) found) counted where _total - _size <= $2"
        )
        self.insert_statement = (
            f"insert into {table.name} ({columns}) select {values} from unnest({arrays}) as new({columns})"
        )
        self.update_statement = (
            f"update {table.name} as old set ({columns}) = row({values}) "
            f"from unnest({arrays}, ${len(types) + 1}::int[]) as new({columns}, replaces) "
            "where old.id = new.id and old.version = new.replaces"
        )
        self.confirm_statement = (
            f"select from {table.name} join unnest($1::text[], $2::int[]) as seen(id, version) using (id, version)"
        )

    def to_entity(self, row: Sequence[Any]) -> R:
        """The entity in a row of `select`."""
        return self._cls(
            **{name: read(row[i]) for i, (name, read) in enumerate(zip(self._fields, self._readers, strict=True))}
        )

    def to_arrays(self, entities: Sequence[R]) -> list[list[Any]]:
        """The entities column by column."""
        return [
            [write(getattr(entity, name)) for entity in entities]
            for name, write in zip(self._fields, self._writers, strict=True)
        ]


class PostgresRows(Generic[R]):
    """Implements `eventsourcing.store.RowStore`."""

    def __init__(self, statements: Statements, mapping: RowMapping[R]) -> None:
        self._statements = statements
        self._mapping = mapping

    async def load(self, ids: Sequence[str], most: int | None = None) -> Sequence[R]:
        """Return the rows that exist.

        Raises TooMuchAtOnce when they have more than `most` bytes of text, without reading much more than that.
        """
        rows = await self._statements.fetch(self._mapping.load_statement, ids, UNLIMITED if most is None else most)
        if most is not None and any(row["_total"] > most for row in rows):
            raise TooMuchAtOnce(f"{len(ids)} rows of {self._mapping.table} have more than {most} bytes")
        return [self._mapping.to_entity(row) for row in rows]

    async def insert(self, rows: Sequence[R]) -> None:
        """Insert new rows. Raises Conflict, at the latest at the commit, when an id is taken."""
        mapping = self._mapping
        await self._statements.write(
            mapping.table, mapping.insert_statement, *mapping.to_arrays(rows), ids=[row.id for row in rows]
        )

    async def update(self, rows: Sequence[tuple[R, int]]) -> None:
        """Replace rows. Each comes with the version that it replaces: Conflict when another one is stored."""
        await self._statements.write(
            self._mapping.table,
            self._mapping.update_statement,
            *self._mapping.to_arrays([row for row, _ in rows]),
            [replaces for _, replaces in rows],
            ids=[row.id for row, _ in rows],
            expected=self._expecting(len(rows)),
        )

    async def confirm(self, versions: Mapping[str, int]) -> None:
        """Raise Conflict, at the latest at the commit, unless each id is stored with the given version."""
        await self._statements.confirm(
            self._mapping.confirm_statement,
            list(versions),
            list(versions.values()),
            expected=self._expecting(len(versions)),
        )

    def _expecting(self, number: int) -> Expected:
        return Expected(number, lambda found: outdated(self._mapping.table, number, found))


def _array_of(type_: Any) -> str:
    return "text" if isinstance(type_, JSONB) else str(type_.compile(_DIALECT))


def _reader(hint: Any, type_: Any) -> Any:
    if isinstance(type_, JSONB) and hint is not Json:
        return lambda value: from_json(hint, value)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint
    return _as_it_is


def _writer(hint: Any, type_: Any) -> Any:
    if isinstance(type_, JSONB) and hint is not Json:
        return to_json
    return _as_it_is


def _as_it_is(value: Any) -> Any:
    return value
