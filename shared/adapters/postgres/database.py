"""PostgreSQL: transactions on a pool, and on the one connection of a subscription.

SQLAlchemy owns the connections, and runs the queries that read well in it. What every message needs (events, inbox,
outbox, positions, rows) goes through asyncpg on the same connection and in the same transaction, which costs a half to
a quarter. The engine is in autocommit mode, so that the transaction is asyncpg's alone. It begins where locks must be
held or something is written before the end; each query sees what is committed by then, as within a transaction.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeAlias, TypeVar

import asyncpg
from sqlalchemy import Table, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from shared.adapters.postgres.addresses import engine_url
from shared.adapters.postgres.errors import translated, translated_errors
from shared.adapters.postgres.events import PostgresEvents
from shared.adapters.postgres.inbox import PostgresInbox
from shared.adapters.postgres.messaging import PostgresRepairLog, PostgresWaitingRoom
from shared.adapters.postgres.outbox import PostgresOutbox
from shared.adapters.postgres.positions import PostgresPositions
from shared.adapters.postgres.rows import PostgresRows, RowMapping
from shared.adapters.postgres.sagas import PostgresSagaTimers
from shared.adapters.postgres.statements import Statements
from shared.adapters.postgres.tables import FRAMEWORK_TABLES
from shared.core.errors import TechnicalFault
from shared.eventsourcing.aggregate import Entity

R = TypeVar("R", bound=Entity)
_Driver: TypeAlias = "asyncpg.Connection[Any]"

TRANSACTION_SECONDS = 10.0
"""How long a transaction can be open. The relay counts on this when it looks for rows to publish again."""

_ANSWER_SECONDS = TRANSACTION_SECONDS + 2
"""How long an answer can take: for longer than PostgreSQL needs to say that it has ended the transaction for that."""

_PLAN_ONCE = "set plan_cache_mode = force_generic_plan; set enable_seqscan = off"
"""A subscription's statements all look up by key, so they need no plan of their own each time, which would cost as much
as running it. One made while a table is small must not be to read it whole."""


class PostgresDatabase:
    """A service's database in PostgreSQL. `tables` says where the service's own rows are kept."""

    def __init__(
        self,
        url: str,
        tables: Mapping[type[Entity], Table] | None = None,
        *,
        pool_size: int = 4,
        idle_seconds: float = 5.0,
        application_name: str = "service",
    ) -> None:
        self._engine = create_async_engine(
            engine_url(url, "asyncpg"),
            isolation_level="AUTOCOMMIT",
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=TRANSACTION_SECONDS,
            pool_reset_on_return=None,
            connect_args={
                "timeout": TRANSACTION_SECONDS,
                "command_timeout": _ANSWER_SECONDS,
                "server_settings": {
                    "application_name": application_name,
                    # A stopped process must not block its successor for longer than its lease.
                    "idle_in_transaction_session_timeout": _milliseconds(idle_seconds),
                    "transaction_timeout": _milliseconds(TRANSACTION_SECONDS),
                    "tcp_user_timeout": _milliseconds(TRANSACTION_SECONDS),
                    # What is run here looks a few rows up by their keys: never worth reading a whole table for.
                    "enable_hashjoin": "off",
                    "enable_mergejoin": "off",
                    "random_page_cost": "1.1",
                    "jit": "off",
                },
            },
        )
        event.listen(self._engine.sync_engine, "handle_error", _translate)
        self._mappings = {cls: RowMapping(cls, table) for cls, table in {**FRAMEWORK_TABLES, **(tables or {})}.items()}

    @property
    def engine(self) -> AsyncEngine:
        """Return the engine, for what is not a unit of work: readiness, purging, queries of operators."""
        return self._engine

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["PostgresTransaction"]:
        """Begin a transaction on a pooled connection. It commits when the block ends, and rolls back when it raises."""
        async with self._connected() as connected, _begun(*connected, self._mappings) as transaction:
            yield transaction

    @asynccontextmanager
    async def session(self, holder: int) -> AsyncIterator["PostgresSession"]:
        """Open a connection for one subscription. Its advisory lock on `holder` lives as long as the connection."""
        async with self._connected() as (connection, driver):
            try:
                with translated_errors():
                    await driver.execute("select pg_advisory_lock($1)", holder)
                    await driver.execute(_PLAN_ONCE)
                yield PostgresSession(connection, driver, self._mappings)
            finally:
                with translated_errors():
                    await connection.invalidate()

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[tuple[AsyncConnection, _Driver]]:
        """Open a connection that works, and give it as SQLAlchemy's and as asyncpg's.

        SQLAlchemy cannot see what asyncpg does on it, so its pool is told which connections are broken.
        """
        with translated_errors():
            connection = await self._engine.connect()
        try:
            with translated_errors():
                while (driver := await _driver(connection)).is_closed():
                    await connection.invalidate()
            try:
                yield connection, driver
            finally:
                if driver.is_closed() or driver.is_in_transaction():
                    with translated_errors():
                        await connection.invalidate()
        finally:
            with translated_errors():
                await connection.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._engine.dispose()


class PostgresSession:
    """One connection that is kept for one user, such as a subscription."""

    def __init__(
        self, connection: AsyncConnection, driver: _Driver, mappings: Mapping[type[Entity], RowMapping[Any]]
    ) -> None:
        self._connection = connection
        self._driver = driver
        self._mappings = mappings

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["PostgresTransaction"]:
        """Begin a transaction. It commits when the block ends, and rolls back when it raises."""
        async with _begun(self._connection, self._driver, self._mappings) as transaction:
            yield transaction


class PostgresTransaction:
    """The stores of one transaction. `connection` is SQLAlchemy's, `driver` is asyncpg's: the same one.

    What PostgreSQL refuses is raised as Conflict or DatabaseUnavailable by `connection` and `statements`.
    """

    def __init__(
        self,
        connection: AsyncConnection,
        driver: _Driver,
        statements: Statements,
        mappings: Mapping[type[Entity], RowMapping[Any]],
    ) -> None:
        self.connection = connection
        self.driver = driver
        self.statements = statements
        self._mappings = mappings
        self.events = PostgresEvents(self.statements)
        self.inbox = PostgresInbox(self.statements)
        self.outbox = PostgresOutbox(self.statements)
        self.waiting_room = PostgresWaitingRoom(self.statements)
        self.repairs = PostgresRepairLog(self.statements)
        self.positions = PostgresPositions(self.statements)
        self.saga_timers = PostgresSagaTimers(self.statements, mappings)

    def rows(self, cls: type[R]) -> PostgresRows[R]:
        """Return the rows of a class. Raises KeyError for one without a table."""
        return PostgresRows(self.statements, self._mappings[cls])

    async def flush(self) -> None:
        """Send what the stores have kept back."""
        await self.statements.send()

    async def hold_locks(self) -> None:
        """Begin the transaction, if that has not been done: locks taken from now on are held until its end."""
        await self.statements.begin()


@asynccontextmanager
async def _begun(
    connection: AsyncConnection, driver: _Driver, mappings: Mapping[type[Entity], RowMapping[Any]]
) -> AsyncIterator[PostgresTransaction]:
    statements = Statements(driver)
    try:
        yield PostgresTransaction(connection, driver, statements, mappings)
        await statements.commit()
    except BaseException:
        with suppress(TechnicalFault):  # the connection is lost, and the transaction with it: why is said already
            await statements.rollback()
        raise


def _translate(context: ExceptionContext) -> None:
    """What SQLAlchemy's own statements raise; the error of the driver says more than the one that wraps it."""
    wrapped = context.sqlalchemy_exception
    error = getattr(context.original_exception, "__cause__", None) if wrapped else context.original_exception
    if error is not None and (found := translated(error)) is not error:
        raise found from error


def _milliseconds(seconds: float) -> str:
    return str(int(seconds * 1000))


async def _driver(connection: AsyncConnection) -> _Driver:
    raw = await connection.get_raw_connection()
    driver: _Driver = raw.driver_connection
    return driver
