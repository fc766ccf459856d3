"""Positions and leases in PostgreSQL. Times are the server's: clocks of replicas may differ."""

from collections.abc import Sequence
from datetime import timedelta

from shared.adapters.postgres.statements import Statements
from shared.core.errors import LeaseLost
from shared.messaging.broker import Mark

_TAKE = """
update subscriptions set holder = $2, lease_until = clock_timestamp() + $3
where partition = $1 and (holder is null or holder = $2 or lease_until < clock_timestamp() or holder = $4)
"""
_ADVANCE = """
update subscriptions set
    position = coalesce($3, position), message_id = coalesce($4, message_id), message_at = coalesce($5, message_at),
    lease_until = clock_timestamp() + $6
where partition = $1 and holder = $2
"""


class PostgresPositions:
    """See `positions.Positions`."""

    def __init__(self, statements: Statements) -> None:
        self._statements = statements

    async def take(self, partition: int, holder: int, lease: timedelta) -> bool:
        """See `positions.Positions`. A holder has died if the lock that its session held on its id can be had."""
        await self._statements.execute(
            "insert into subscriptions (partition) values ($1) on conflict do nothing", partition
        )
        present = await self._statements.fetchval("select holder from subscriptions where partition = $1", partition)
        dead = None
        if present not in (None, holder) and await self._statements.fetchval(
            "select pg_try_advisory_lock($1)", present
        ):
            await self._statements.execute("select pg_advisory_unlock($1)", present)
            dead = present
        status: str = await self._statements.execute(_TAKE, partition, holder, lease, dead)
        return status == "UPDATE 1"

    async def release(self, partition: int, holder: int) -> None:
        """See `positions.Positions`."""
        await self._statements.execute(
            "update subscriptions set holder = null where partition = $1 and holder = $2", partition, holder
        )

    async def get(self, partition: int) -> Mark | None:
        """See `positions.Positions`."""
        row = await self._statements.fetchrow(
            "select position, message_id, message_at from subscriptions where partition = $1", partition
        )
        return None if row is None or row["message_at"] is None else Mark(*row)

    async def advance(self, partition: int, holder: int, mark: Mark | None, lease: timedelta) -> None:
        """See `positions.Positions`."""
        position, row_id, at = (mark.position, mark.row_id, mark.at) if mark else (None, None, None)

        def check(written: int) -> None:
            if not written:
                raise LeaseLost(f"partition {partition} is held by another replica")

        await self._statements.write(
            "subscriptions", _ADVANCE, partition, holder, position, row_id, at, lease, check=check
        )

    async def add_checkpoint(self, partition: int, mark: Mark) -> None:
        """See `positions.Positions`."""
        await self._statements.write(
            "subscription_checkpoints",
            "insert into subscription_checkpoints (partition, position, message_id, message_at) "
            "values ($1, $2, $3, $4) on conflict (partition, position) "
            "do update set message_id = excluded.message_id, message_at = excluded.message_at, at = now()",
            partition,
            mark.position,
            mark.row_id,
            mark.at,
        )

    async def checkpoints(self, partition: int) -> Sequence[Mark]:
        """See `positions.Positions`."""
        rows = await self._statements.fetch(
            "select position, message_id, message_at from subscription_checkpoints "
            "where partition = $1 order by at desc, position desc",
            partition,
        )
        return [Mark(*row) for row in rows]
