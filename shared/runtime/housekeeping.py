"""What a service does now and then: forgets what is old, and counts what waits for an operator."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.adapters.postgres.errors import translated_errors
from shared.adapters.postgres.sagas import UNFINISHED
from shared.core.errors import TechnicalFault
from shared.telemetry import metrics

log = structlog.get_logger(__name__)

EVERY_SECONDS = 30.0
_AT_ONCE = 5000
"""Rows deleted by one statement, so that none takes long."""

_GAUGES = text(f"""
select
    (select count(*) from set_aside
        where (key, source) in (select key, source from set_aside where parked_at is not null)),
    (select count(*) from sagas where {UNFINISHED} and stuck),
    (select coalesce(extract(epoch from now() - min(started_at)), 0) from sagas
        where {UNFINISHED} and (due_at is not null or stuck)),
    (select count(*) from missing_messages)
""")
# Older checkpoints are further apart: each second of the last ten minutes, then each minute.
_THIN_CHECKPOINTS = text("""
with numbered as (
    select partition, position,
        row_number() over (partition by partition, date_trunc('minute', at) order by position desc) as in_minute
    from subscription_checkpoints where at < now() - interval '10 minutes'
)
delete from subscription_checkpoints old using numbered
where (old.partition, old.position) = (numbered.partition, numbered.position) and in_minute > 1
""")
_FORGET_CHECKPOINTS = text("delete from subscription_checkpoints where at < now() - cast(:kept as interval)")
# What still waits must be known when it is sent again, however long it has waited. Of the others the oldest are looked
# at, by their ids, so that it costs the same whether there is much to delete or nothing.
_FORGET_MESSAGES = text("""
with oldest as (
    select message_id, handled_at from inbox where message_id not in (select message_id from set_aside)
    order by message_id limit :at_once)
delete from inbox using oldest
where inbox.message_id = oldest.message_id and oldest.handled_at < now() - cast(:kept as interval)
""")
_FORGET_KEYS = text("""
delete from idempotency_keys where id in (
    select id from idempotency_keys where created_at < now() - cast(:kept as interval)
    order by created_at limit :at_once)
""")
_FORGET_SAGAS = text("""
delete from sagas where id in (
    select id from sagas where phase in ('completed', 'undone') and updated_at < now() - cast(:kept as interval)
    and started_at < now() - cast(:kept as interval) order by started_at limit :at_once)
""")


@dataclass(frozen=True, kw_only=True)
class Retention:
    """How long a service remembers what is done with. What waits for an operator is kept until one decides."""

    inbox: timedelta
    sagas: timedelta
    idempotency: timedelta


class Housekeeping:
    """Runs beside a service's work, on a connection of the pool."""

    def __init__(self, engine: AsyncEngine, retention: Retention) -> None:
        self._engine = engine
        self._purges = (
            (_FORGET_MESSAGES, retention.inbox),
            (_FORGET_SAGAS, retention.sagas),
            (_FORGET_KEYS, retention.idempotency),
        )
        self._checkpoints = retention.inbox

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            try:
                with translated_errors():
                    await self.once()
            except TechnicalFault as error:
                log.info("housekeeping is put off", error=str(error))
            await asyncio.sleep(EVERY_SECONDS)

    async def measure(self) -> None:
        """Finds out what Prometheus is to be told now. Raises TechnicalFault."""
        with translated_errors():
            async with self._engine.connect() as connection:
                parked, stuck, oldest, missing = (await connection.execute(_GAUGES)).one()
        metrics.PARKED.set(parked)
        metrics.STUCK_SAGAS.set(stuck)
        metrics.MISSING.set(missing)
        metrics.OLDEST_SAGA.set(float(oldest))

    async def once(self) -> None:
        """One round."""
        async with self._engine.connect() as connection:
            await connection.execute(_THIN_CHECKPOINTS)
            await connection.execute(_FORGET_CHECKPOINTS, {"kept": self._checkpoints})
            for purge, kept in self._purges:
                while (await connection.execute(purge, {"kept": kept, "at_once": _AT_ONCE})).rowcount == _AT_ONCE:
                    pass
