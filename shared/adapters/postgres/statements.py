"""The statements of one transaction. Writes are kept back and go to PostgreSQL together, as one statement.

A unit of work writes half a dozen tables. Sent one by one, these writes would cost more in round trips than in work,
at rest (where they are most of the time that a message takes) and under load. Where that one statement is all that is
written, as it mostly is, it is the transaction: then there is nothing to begin and nothing to commit.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import asyncpg

_PARAMETER = re.compile(r"\$(\d+)")


@dataclass(frozen=True, slots=True)
class Expected:
    """How many rows a write has to write; `error` makes what is raised when it has written another number."""

    rows: int
    error: Callable[[int], Exception]


@dataclass(frozen=True, slots=True)
class _Write:
    table: str
    statement: str
    arguments: tuple[Any, ...]
    expected: Expected | None


class Statements:
    """asyncpg's connection, within a transaction. Whatever is asked of it sees what was written before."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        self._kept_back: list[_Write] = []
        self._transaction: Any = None

    async def write(self, table: str, statement: str, *arguments: Any, expected: Expected | None = None) -> None:
        """Keeps an insert or update of the table back.

        What is sent as one statement can't see its own rows, so a table is written once in each.
        """
        if any(write.table == table for write in self._kept_back):
            await self.send()
        self._kept_back.append(_Write(table, statement, arguments, expected))

    async def send(self) -> None:
        """Sends what was kept back, as more is to come; raises what PostgreSQL raises, and what was not expected."""
        if self._kept_back:
            await self.begin()
            await self._send()

    async def begin(self) -> None:
        """Begins the transaction, if that has not been done: what follows is part of it, and so are its locks."""
        if self._transaction is None:
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
        await transaction.commit()

    async def rollback(self) -> None:
        """Takes back what was sent."""
        if self._transaction is not None:
            transaction, self._transaction = self._transaction, None
            await transaction.rollback()

    async def fetch(self, query: str, *arguments: Any) -> Sequence[Any]:
        """The rows of a query."""
        await self.send()
        rows: Sequence[Any] = await self._driver.fetch(query, *arguments)
        return rows

    async def fetchrow(self, query: str, *arguments: Any) -> Any:
        """A query's first row; None without one."""
        await self.send()
        return await self._driver.fetchrow(query, *arguments)

    async def fetchval(self, query: str, *arguments: Any) -> Any:
        """The first value of a query's first row; None without one."""
        await self.send()
        return await self._driver.fetchval(query, *arguments)

    async def execute(self, statement: str, *arguments: Any) -> str:
        """Runs a statement at once; returns its status, such as `UPDATE 1`."""
        await self.begin()
        await self._send()
        status: str = await self._driver.execute(statement, *arguments)
        return status

    async def _send(self) -> None:
        writes, self._kept_back = self._kept_back, []
        if not writes:
            return
        written = await self._driver.fetchrow(_together(_shape(writes)), *_arguments(writes))
        for write, rows in zip(writes, written, strict=True):
            if write.expected is not None and rows != write.expected.rows:
                raise write.expected.error(rows)

    async def _send_as_transaction(self) -> None:
        writes = self._kept_back
        if not writes:
            return
        expected = [write.expected.rows for write in writes if write.expected is not None]
        try:
            await self._driver.execute(_as_transaction(_shape(writes)), *_arguments(writes), *expected)
        except asyncpg.DivisionByZeroError:  # something was not as expected: done step by step, it says what
            await self.begin()
            await self.commit()
        else:
            self._kept_back = []


_Shape = tuple[tuple[str, int, bool], ...]
"""Of each write: its statement, the number of its parameters, and whether its rows are to be counted."""


def _shape(writes: Sequence[_Write]) -> _Shape:
    return tuple((write.statement, len(write.arguments), write.expected is not None) for write in writes)


def _arguments(writes: Sequence[_Write]) -> list[Any]:
    return [each for write in writes for each in write.arguments]


@lru_cache(maxsize=256)
def _together(shape: _Shape) -> str:
    """One statement for several. Its row is how many rows each has written."""
    counts = ", ".join(_count(number) for number in range(len(shape)))
    return f"{_with(shape)} select {counts}"


@lru_cache(maxsize=256)
def _as_transaction(shape: _Shape) -> str:
    """One statement for several, that fails unless each has written as many rows as the last parameters say.

    SQL has no assertion that could be made within a statement. Dividing by zero is one.
    """
    counted = [number for number, (_, _, is_counted) in enumerate(shape) if is_counted]
    first = sum(parameters for _, parameters, _ in shape) + 1
    met = " and ".join(f"{_count(number)} = ${index}::bigint" for index, number in enumerate(counted, start=first))
    return f"{_with(shape)} select 1 / ({met})::int" if counted else f"{_with(shape)} select"


def _with(shape: _Shape) -> str:
    parts, taken = [], 0
    for number, (statement, parameters, _) in enumerate(shape):
        parts.append(f"w{number} as ({_renumbered(statement, taken)} returning 1)")
        taken += parameters
    return f"with {', '.join(parts)}"


def _count(number: int) -> str:
    return f"(select count(*) from w{number})"


def _renumbered(statement: str, by: int) -> str:
    return _PARAMETER.sub(lambda parameter: f"${int(parameter[1]) + by}", statement)
