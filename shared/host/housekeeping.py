"""What a service does regularly: deletes what is old, and counts what waits for an operator."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.adapters.postgres.errors import translated_errors
from shared.adapters.postgres.sagas import UNFINISHED
from shared.core.errors import TechnicalFault
from shared.telemetry import metrics

log = structlog.get_logger(__name__)

EVERY_SECONDS = 30.0
_BATCH_ROWS = 5000
"""Maximum of rows that one statement deletes, so that none takes long."""
_READINGS = 24
"""Parts that the shortest retention is divided into: old rows may stay for one such part longer."""

_MESSAGE_GAUGES = text("""
select
    (select count(*) from set_aside
        where (key, source) in (select key, source from set_aside where parked_at is not null)),
    (select count(*) from missing_messages)
""")
_SAGA_GAUGES = text(f"""
select
    (select count(*) from sagas where {UNFINISHED} and stuck),
    (select coalesce(extract(epoch from greatest(now() - min(started_at), '0')), 0) from sagas
        where {UNFINISHED} and (due_at is not null or stuck))
""")
# A look adds what the clock says has passed since the last one, of whatever replica, but never more than the pause
# between two looks of one: a clock that is set forward adds no more than that, one that is set back adds nothing.
_READ_CLOCK = text("""
update clock_readings set lived = lived + greatest(least(now() - latest, cast(:every as interval)), '0'),
    earliest = least(earliest, now()), latest = now()
where id = (select max(id) from clock_readings)
""")
_BEGIN_READING = text("""
insert into clock_readings (id, lived, earliest, latest)
select coalesce(max(id), 0) + 1, '0', now(), now() from clock_readings
having count(*) filter (where lived < cast(:length as interval) and id = (select max(id) from clock_readings)) = 0
on conflict do nothing
""")
_FORGET_READINGS = text("delete from clock_readings where id < (select max(id) from clock_readings) - :kept")
# Older checkpoints are further apart: each second of the last ten minutes, then each minute.
_THIN_CHECKPOINTS = text("""
with numbered as (
    select partition, position,
        row_number() over (partition by partition, date_trunc('minute', at) order by position desc) as in_minute
    from subscription_checkpoints where at not between now() - interval '10 minutes' and now()
)
delete from subscription_checkpoints old using numbered
where (old.partition, old.position) = (numbered.partition, numbered.position) and in_minute > 1
""")
_FORGET_CHECKPOINTS = text("delete from subscription_checkpoints where at < surely_past(cast(:kept as interval))")
# Messages that wait must be recognized when they are sent again, however long they have waited. Of the others it looks
# at those with the lowest ids, and at as many behind those of the last look, starting over at the end. So it costs the
# same whether there is much to delete or nothing, and rows with a time in the future don't keep others from deletion.
_FORGET_MESSAGES = text("""
with oldest as (
    select message_id, handled_at from inbox where message_id not in (select message_id from set_aside)
    order by message_id limit :at_once),
others as (
    select message_id, handled_at from inbox
    where message_id > :after and message_id not in (select message_id from set_aside)
    order by message_id limit :at_once),
past as (select surely_past(cast(:kept as interval)) as at),
deleted as (
    delete from inbox using (select * from oldest union select * from others) as looked, past
    where inbox.message_id = looked.message_id and looked.handled_at < past.at
    returning 1)
select (select count(*) from deleted),
    (select case when count(*) = :at_once then max(message_id) else '' end from others)
""")
_FORGET_KEYS = text("""
delete from idempotency_keys where id in (
    select id from idempotency_keys where created_at < surely_past(cast(:kept as interval))
    order by created_at limit :at_once)
""")
_FORGET_SAGAS = text("""
delete from sagas where id in (
    select id from sagas where phase in ('completed', 'undone')
    and updated_at < surely_past(cast(:kept as interval)) and started_at < surely_past(cast(:kept as interval))
    order by started_at limit :at_once)
""")


@dataclass(frozen=True, kw_only=True)
class Retention:
    """How long a service remembers what is done with. What waits for an operator is kept until one decides.

    A service without sagas, or without idempotent requests, has None there: then nothing of the kind is looked for.
    """

    inbox: timedelta
    sagas: timedelta | None = None
    idempotency: timedelta | None = None


class Housekeeping:
    """Runs beside a service's work, on a connection of the pool."""

    def __init__(self, engine: AsyncEngine, retention: Retention) -> None:
        self._engine = engine
        self._retention = retention
        self._looked_to = ""

    async def run(self) -> None:
        """Work every `EVERY_SECONDS` until cancelled."""
        while True:
            try:
                with translated_errors():
                    await self.once()
            except TechnicalFault as error:
                log.info("housekeeping has failed and is tried again later", error=str(error))
            await asyncio.sleep(EVERY_SECONDS)

    async def measure(self) -> None:
        """Read the numbers for Prometheus from the database. Raises TechnicalFault."""
        with translated_errors():
            async with self._engine.connect() as connection:
                parked, missing = (await connection.execute(_MESSAGE_GAUGES)).one()
                stuck, oldest = 0, 0.0
                if self._retention.sagas is not None:
                    stuck, oldest = (await connection.execute(_SAGA_GAUGES)).one()
        metrics.PARKED.set(parked)
        metrics.STUCK_SAGAS.set(stuck)
        metrics.MISSING.set(missing)
        metrics.OLDEST_SAGA.set(float(oldest))

    async def once(self) -> None:
        """Delete what is old, once."""
        kept = self._retention
        async with self._engine.connect() as connection:
            await self._read_clock(connection)
            await connection.execute(_THIN_CHECKPOINTS)
            await connection.execute(_FORGET_CHECKPOINTS, {"kept": kept.inbox})
            while await self._forget_messages(connection) >= _BATCH_ROWS:
                pass
            for purge, age in ((_FORGET_SAGAS, kept.sagas), (_FORGET_KEYS, kept.idempotency)):
                while age is not None:
                    deleted = await connection.execute(purge, {"kept": age, "at_once": _BATCH_ROWS})
                    if deleted.rowcount < _BATCH_ROWS:
                        break

    async def _read_clock(self, connection: AsyncConnection) -> None:
        """Note that the service runs, and the clock's time: `surely_past` goes by these readings."""
        kept = (self._retention.inbox, self._retention.sagas, self._retention.idempotency)
        ages = [age for age in kept if age is not None]
        length = min(ages) / _READINGS
        await connection.execute(_READ_CLOCK, {"every": timedelta(seconds=EVERY_SECONDS)})
        await connection.execute(_BEGIN_READING, {"length": length})
        await connection.execute(_FORGET_READINGS, {"kept": max(ages) // length + 1})

    async def _forget_messages(self, connection: AsyncConnection) -> int:
        look = {"kept": self._retention.inbox, "at_once": _BATCH_ROWS, "after": self._looked_to}
        deleted, self._looked_to = (await connection.execute(_FORGET_MESSAGES, look)).one()
        return int(deleted)
