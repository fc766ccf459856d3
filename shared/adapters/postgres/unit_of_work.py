"""A unit of work for handlers that write SQL, instead of using repositories."""

from sqlalchemy.ext.asyncio import AsyncConnection

from shared.adapters.postgres.database import PostgresTransaction
from shared.core.clock import Clock, utc_now
from shared.core.policy import Policy
from shared.unit_of_work.unit_of_work import UnitOfWork


class SqlUnitOfWork(UnitOfWork):
    """What a handler writes by SQL is committed with the fact that its message was handled, or not at all."""

    def __init__(self, transaction: PostgresTransaction, clock: Clock = utc_now, policy: Policy | None = None) -> None:
        super().__init__(transaction, clock, policy)
        self._postgres = transaction

    async def connection(self) -> AsyncConnection:
        """Return SQLAlchemy's connection, in the transaction of this unit of work: `Outbox` can be used on it too.

        Do not commit on it. A handler that refuses after it has asked for it has its writes rolled back.
        """
        self.writes_directly()
        await self.flush()
        await self._postgres.hold_locks()
        return self._postgres.connection
