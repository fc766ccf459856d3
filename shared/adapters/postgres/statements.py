"""The statements of one transaction. Writes are kept back and go to PostgreSQL together, as one statement.

A unit of work writes half a dozen tables. Sent one by one, these writes would cost more in round trips than in work,
at rest (where they are most of the time that a message takes) and under load.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

_PARAMETER = re.compile(r"\$(\d+)")


@dataclass(frozen=True, slots=True)
class _Write:
    table: str
    statement: str
    arguments: tuple[Any, ...]
    check: Callable[[int], None] | None


class Statements:
    """asyncpg's connection, within a transaction. Whatever is asked of it sees what was written before."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        self._kept_back: list[_Write] = []

    async def write(
        self, table: str, statement: str, *arguments: Any, check: Callable[[int], None] | None = None
    ) -> None:
        """Keeps an insert or update of the table back. `check` gets the number of rows that it has written.

        What is sent as one statement can't see its own rows, so a table is written once in each.
        """
        if any(write.table == table for write in self._kept_back):
            await self.send()
        self._kept_back.append(_Write(table, statement, arguments, check))

    async def send(self) -> None:
        """Sends what was kept back; raises what PostgreSQL and the checks raise."""
        writes, self._kept_back = self._kept_back, []
        if not writes:
            return
        together = _together(tuple((write.statement, len(write.arguments)) for write in writes))
        written = await self._driver.fetchrow(together, *(each for write in writes for each in write.arguments))
        for write, rows in zip(writes, written, strict=True):
            if write.check is not None:
                write.check(rows)

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
        await self.send()
        status: str = await self._driver.execute(statement, *arguments)
        return status


@lru_cache(maxsize=256)
def _together(statements: tuple[tuple[str, int], ...]) -> str:
    """One statement for several, each with the number of its parameters. Its row is how many rows each has written."""
    parts, taken = [], 0
    for number, (statement, parameters) in enumerate(statements):
        parts.append(f"w{number} as ({_renumbered(statement, taken)} returning 1)")
        taken += parameters
    counts = ", ".join(f"(select count(*) from w{number})" for number in range(len(statements)))
    return f"with {', '.join(parts)} select {counts}"


def _renumbered(statement: str, by: int) -> str:
    return _PARAMETER.sub(lambda parameter: f"${int(parameter[1]) + by}", statement)
