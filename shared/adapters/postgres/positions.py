"""Positions and leases in PostgreSQL. Times are the server's: clocks of replicas may differ.

Where the server's clock is set back, the times of who stands still lie ahead. What lies further ahead than it can be is
as good as past: then a lease has ended, and a session has said nothing. A clock that is set forward ends all leases.
Then others may take a partition before its holder has renewed it; the fence keeps that one from doing harm.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from shared.adapters.postgres.statements import Expected, Statements
from shared.core.errors import LeaseLost
from shared.core.serialization import from_json, to_json
from shared.messaging.broker import Mark
from shared.messaging.chain import Missing

_TAKE = """
update subscriptions set holder = $2, lease_until = clock_timestamp() + $3
where partition = $1 and (
    lease_until not between clock_timestamp() and clock_timestamp() + 2 * $3::interval
    or (not $5 and (holder is null or holder = $2 or holder = $4))
)
"""
# A process that stands still keeps its locks, but its sessions say nothing more.
_PRESENT = """
with heard as (
    select (classid::bigint << 32) + objid::bigint as id from pg_locks join pg_stat_activity using (pid)
    where locktype = 'advisory' and granted and datname = current_database() and usename = current_user
        and database = datid
        and state_change between clock_timestamp() - $1::interval and clock_timestamp() + $1::interval
)
select id, partition from heard left join subscriptions on holder = id
"""
_ADVANCE = """
update subscriptions set
    position = coalesce($3, position), message_id = coalesce($4, message_id), message_at = coalesce($5, message_at),
    lease_until = clock_timestamp() + $6, heads = coalesce($7::text::jsonb, heads)
where partition = $1 and holder = $2
"""


class PostgresPositions:
    """Implements `messaging.positions.Positions`."""

    def __init__(self, statements: Statements) -> None:
        self._statements = statements

    async def take(self, partition: int, holder: int, lease: timedelta, *, patient: bool = False) -> bool:
        """Make `holder` the partition's holder; return whether it is now.

        It becomes the holder when nobody else is, or when the one there has stopped (its lease has ended) or died (the
        lock on its number is free). One that is `patient` takes the partition only when the lease has ended.
        """
        await self._statements.execute(
            "insert into subscriptions (partition) values ($1) on conflict do nothing", partition
        )
        present = await self._holder(partition)
        dead = present if present not in (None, holder) and await self._has_died(present) else None
        status: str = await self._statements.execute(_TAKE, partition, holder, lease, dead, patient)
        return status == "UPDATE 1"

    async def is_free(self, partition: int) -> bool:
        """Return whether nobody holds the partition, or somebody who has died."""
        present = await self._holder(partition)
        return present is None or await self._has_died(present)

    async def present(self, silence: timedelta) -> Mapping[int, int | None]:
        """Return the holders that were heard of within `silence`, each with the partition that it holds, or None.

        A holder is seen by its session's lock on its number.
        """
        return {row["id"]: row["partition"] for row in await self._statements.fetch(_PRESENT, silence)}

    async def _holder(self, partition: int) -> int | None:
        holder: int | None = await self._statements.fetchval(
            "select holder from subscriptions where partition = $1", partition
        )
        return holder

    async def _has_died(self, holder: int | None) -> bool:
        if not await self._statements.fetchval("select pg_try_advisory_lock($1)", holder):
            return False
        await self._statements.execute("select pg_advisory_unlock($1)", holder)
        return True

    async def release(self, partition: int, holder: int) -> None:
        """Give the partition up, so that another can take it at once."""
        await self._statements.execute(
            "update subscriptions set holder = null where partition = $1 and holder = $2", partition, holder
        )

    async def get(self, partition: int) -> Mark | None:
        """Return the mark of the last message that was handled; None before the first."""
        row = await self._statements.fetchrow(
            "select position, message_id, message_at from subscriptions where partition = $1", partition
        )
        return None if row is None or row["message_at"] is None else Mark(*row)

    async def heads(self, partition: int) -> Mapping[str, int]:
        """Return the last row that came from each sender, by the sender's name."""
        heads = await self._statements.fetchval("select heads::text from subscriptions where partition = $1", partition)
        return {} if heads is None else from_json(dict[str, int], heads)

    async def advance(
        self, partition: int, holder: int, mark: Mark | None, lease: timedelta, heads: Mapping[str, int] | None = None
    ) -> None:
        """Move to `mark`, or stay (None), and renew the lease. Raises LeaseLost when another one holds it."""
        position, row_id, at = (mark.position, mark.row_id, mark.at) if mark else (None, None, None)
        expected = Expected(1, lambda _: LeaseLost(f"partition {partition} is held by another replica"))
        await self._statements.write(
            "subscriptions",
            _ADVANCE,
            partition,
            holder,
            position,
            row_id,
            at,
            lease,
            None if heads is None else to_json(heads),
            expected=expected,
        )

    async def add_checkpoint(self, partition: int, mark: Mark) -> None:
        """Remember a position that the subscription can go back to."""
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
        """Return the positions remembered, the furthest first."""
        rows = await self._statements.fetch(
            "select position, message_id, message_at from subscription_checkpoints "
            "where partition = $1 order by position desc",
            partition,
        )
        return [Mark(*row) for row in rows]

    async def note_missing(self, missing: Sequence[Missing]) -> None:
        """Write down, once, what cannot be got again, for an operator to see."""
        for each in missing:
            await self._statements.execute(
                "insert into missing_messages (partition, sender, after_row, before_row) values ($1, $2, $3, $4)"
                " on conflict do nothing",
                each.partition,
                each.sender,
                each.after_row,
                each.before_row,
            )

    async def missing(self) -> Sequence[Missing]:
        """Return what was written down as missing, of all partitions."""
        rows = await self._statements.fetch(
            "select partition, sender, after_row, before_row from missing_messages order by found_at, before_row"
        )
        return [Missing(**row) for row in rows]
