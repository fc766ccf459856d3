"""Connections that a user of the library brings: asyncpg's, or SQLAlchemy's with any driver for asyncio."""

import re
from collections.abc import Sequence
from typing import Any, TypeAlias, Union

import asyncpg
from asyncpg.pool import PoolConnectionProxy
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

AnyConnection: TypeAlias = Union["asyncpg.Connection[Any]", "PoolConnectionProxy[Any]", AsyncConnection, AsyncSession]

_PARAMETER = re.compile(r"\$(\d+)")


async def rows_of(connection: AnyConnection, statement: str, *arguments: Any) -> Sequence[Any]:
    """Run a statement with parameters `$1`, `$2`, … in the transaction of the connection; return the rows it gives.

    Raises RuntimeError when the connection is in no transaction: each statement would be one of its own.
    """
    if isinstance(connection, AsyncConnection | AsyncSession):
        bound = await connection.connection() if isinstance(connection, AsyncSession) else connection
        await _require_transaction(bound)
        named = _PARAMETER.sub(r"(:p\1)", statement)
        result = await bound.execute(text(named), {f"p{number}": each for number, each in enumerate(arguments, 1)})
        return result.all() if result.returns_rows else []
    if not connection.is_in_transaction():
        raise RuntimeError("the connection is in no transaction: begin one before you use outbox or inbox")
    rows: Sequence[Any] = await connection.fetch(statement, *arguments)
    return rows


async def _require_transaction(connection: AsyncConnection) -> None:
    """Raise RuntimeError in autocommit mode, unless a transaction was begun by means of the driver."""
    raw = await connection.get_raw_connection()
    if not getattr(raw.dbapi_connection, "autocommit", False):
        return  # SQLAlchemy begins it with the first statement
    driver = raw.driver_connection
    if not (isinstance(driver, asyncpg.Connection) and driver.is_in_transaction()):
        raise RuntimeError("the connection is in autocommit mode: outbox and inbox need a transaction")
