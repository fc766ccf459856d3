"""The statements of one transaction. Writes are kept back and go to PostgreSQL together, as one statement.

A unit of work writes half a dozen tables. Sent one by one, these writes would cost more in round trips than in work,
at rest (where they are most of the time that a message takes) and under load. Where that one statement is all that is
written, as it mostly is, it is the transaction: then there is nothing to begin and nothing to commit.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import asyncpg

from shared.adapters.postgres.errors import translated_errors
from shared.core.errors import Conflict

UNLIMITED = 2**62
"""More bytes than there can be."""

_PARAMETER = re.compile(r"\$(\d+)")


@dataclass(frozen=True, slots=True)
class Expected:
    """How many rows have to be written or found; `error` makes what is raised when it is another number."""

    rows: int
    error: Callable[[int], Exception]


def outdated(what: str, expected: int, found: int) -> Conflict:
    """The error of a write or look that met other versions than it knew."""
    return Conflict(f"{what}: {expected - found} of {expected} are not at the version that was read")


@dataclass(frozen=True, slots=True)
class _Part:
    """A write; or a look at what is there, which has no table. `ids` are the rows it is about; None: any."""

    table: str | None
    statement: str
    arguments: tuple[Any, ...]
    expected: Expected | None
    ids: frozenset[str] | None = None

    def meets(self, table: str, ids: frozenset[str] | None) -> bool:
        """Whether a write of the table may be about the same rows."""
        return self.table == table and (self.ids is None or ids is None or not self.ids.isdisjoint(ids))


class Statements:
    """asyncpg's connection, within a transaction. Whatever is asked of it sees what was written before.

    All methods raise Conflict and DatabaseUnavailable, for what asyncpg raises.
    """

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        self._kept_back: list[_Part] = []
        self._transaction: Any = None

    async def write(
        self,
        table: str,
        statement: str,
        *arguments: Any,
        ids: Iterable[str] | None = None,
        expected: Expected | None = None,
    ) -> None:
        """Keeps an insert or update back, of the table's rows with these ids, or of any.

        What is sent as one statement can't see its own rows, so a row is written once in each.
        """
        rows = None if ids is None else frozenset(ids)
        if any(part.meets(table, rows) for part in self._kept_back):
            await self.send()
        self._kept_back.append(_Part(table, f"{statement} returning 1", arguments, expected, rows))

    async def confirm(self, query: str, *arguments: Any, expected: Expected) -> None:
        """Keeps a query back that must find as many rows as expected. It sees what is there before the writes."""
        self._kept_back.append(_Part(None, query, arguments, expected))

    async def send(self) -> None:
        """Sends what was kept back, as more is to come; raises what PostgreSQL raises, and what was not expected."""
        if self._kept_back:
            await self.begin()
            await self._send()

    async def begin(self) -> None:
        """Begins the transaction, if that has not been done: what follows is part of it, and so are its locks."""
        if self._transaction is None:
            with translated_errors():
                transaction = self._driver.transaction()
                await transaction.start()
            self._transaction = transaction

    async def commit(self) -> None:
        """Sends what was kept back, and makes all of it last."""
        if self._transaction is None:
            await self._send_as_transaction()
            return
        await self._send()
        transaction, self._transaction = self._transaction, None
        with translated_errors():
            await transaction.commit()

    async def rollback(self) -> None:
        """Takes back what was sent."""
        if self._transaction is not None:
            transaction, self._transaction = self._transaction, None
            with translated_errors():
                await transaction.rollback()

    async def fetch(self, query: str, *arguments: Any) -> Sequence[Any]:
        """The rows of a query."""
        await self.send()
        with translated_errors():
            rows: Sequence[Any] = await self._driver.fetch(query, *arguments)
        return rows

    async def fetchrow(self, query: str, *arguments: Any) -> Any:
        """A query's first row; None without one."""
        await self.send()
        with translated_errors():
            return await self._driver.fetchrow(query, *arguments)

    async def fetchval(self, query: str, *arguments: Any) -> Any:
        """The first value of a query's first row; None without one."""
        await self.send()
        with translated_errors():
            return await self._driver.fetchval(query, *arguments)

    async def execute(self, statement: str, *arguments: Any) -> str:
        """Runs a statement at once; returns its status, such as `UPDATE 1`."""
        await self.begin()
        await self._send()
        with translated_errors():
            status: str = await self._driver.execute(statement, *arguments)
        return status

    async def _send(self) -> None:
        parts, self._kept_back = self._kept_back, []
        if not parts:
            return
        with translated_errors():
            counts = await self._driver.fetchrow(_together(_shape(parts)), *_arguments(parts))
        for part, rows in zip(parts, counts, strict=True):
            if part.expected is not None and rows != part.expected.rows:
                raise part.expected.error(rows)

    async def _send_as_transaction(self) -> None:
        parts = self._kept_back
        if not parts:
            return
        expected = [part.expected.rows for part in parts if part.expected is not None]
        try:
            with translated_errors():
                await self._driver.execute(_as_transaction(_shape(parts)), *_arguments(parts), *expected)
        except asyncpg.DivisionByZeroError:  # something was not as expected: done step by step, it says what
            await self.begin()
            await self.commit()
        else:
            self._kept_back = []


_Shape = tuple[tuple[str, int, bool], ...]
"""Of each part: its statement, the number of its parameters, and whether its rows are to be counted."""


def _shape(parts: Sequence[_Part]) -> _Shape:
    return tuple((part.statement, len(part.arguments), part.expected is not None) for part in parts)


def _arguments(parts: Sequence[_Part]) -> list[Any]:
    return [each for part in parts for each in part.arguments]


@lru_cache(maxsize=256)
def _together(shape: _Shape) -> str:
    """One statement for several. Its row is how many rows each has written, or found."""
    counts = ", ".join(_count(number) for number in range(len(shape)))
    return f"{_with(shape)} select {counts}"


@lru_cache(maxsize=256)
def _as_transaction(shape: _Shape) -> str:
    """One statement for several, that fails unless each has written, or found, as many rows as the last parameters say.

    SQL has no assertion that could be made within a statement. Dividing by zero is one.
    """
    counted = [number for number, (_, _, is_counted) in enumerate(shape) if is_counted]
    first = sum(parameters for _, parameters, _ in shape) + 1
    met = " and ".join(f"{_count(number)} = ${index}::bigint" for index, number in enumerate(counted, start=first))
    return f"{_with(shape)} select 1 / ({met})::int" if counted else f"{_with(shape)} select"


def _with(shape: _Shape) -> str:
    parts, taken = [], 0
    for number, (statement, parameters, _) in enumerate(shape):
        parts.append(f"w{number} as ({_renumbered(statement, taken)})")
        taken += parameters
    return f"with {', '.join(parts)}"


def _count(number: int) -> str:
    return f"(select count(*) from w{number})"


def _renumbered(statement: str, by: int) -> str:
    return _PARAMETER.sub(lambda parameter: f"${int(parameter[1]) + by}", statement)
