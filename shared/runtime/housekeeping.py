"""What a service does now and then: forgets what is old, and tells Prometheus what waits for an operator."""

import asyncio
from datetime import timedelta

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.adapters.postgres.errors import translated_errors
from shared.core.errors import TechnicalFault
from shared.telemetry import metrics

log = structlog.get_logger(__name__)

EVERY_SECONDS = 30.0
_AT_ONCE = 5000
"""Rows deleted by one statement, so that none takes long."""

_GAUGES = text("""
select
    (select count(*) from set_aside
        where (key, source) in (select key, source from set_aside where parked_at is not null)),
    (select count(*) from sagas where stuck),
    (select coalesce(extract(epoch from now() - min(started_at)), 0) from sagas where due_at is not null or stuck)
""")
# Older checkpoints are further apart: each second of the last ten minutes, then each minute.
_THIN_CHECKPOINTS = text("""
delete from subscription_checkpoints old where at < now() - interval '10 minutes' and exists (
    select from subscription_checkpoints newer
    where newer.partition = old.partition and newer.position > old.position
      and date_trunc('minute', newer.at) = date_trunc('minute', old.at))
""")


class Housekeeping:
    """Runs beside a service's work, on a connection of the pool."""

    def __init__(self, engine: AsyncEngine, *, inbox: timedelta, idempotency: timedelta) -> None:
        self._engine = engine
        self._retention = {
            # What still waits must be known when it is sent again, however long it has waited.
            "inbox": ("message_id", "handled_at", inbox, "message_id not in (select message_id from set_aside)"),
            "idempotency_keys": ("id", "created_at", idempotency, "true"),
            "subscription_checkpoints": ("position", "at", inbox, "true"),
        }

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            try:
                with translated_errors():
                    await self.once()
            except TechnicalFault as error:
                log.info("housekeeping is put off", error=str(error))
            await asyncio.sleep(EVERY_SECONDS)

    async def once(self) -> None:
        """One round."""
        async with self._engine.connect() as connection:
            parked, stuck, oldest = (await connection.execute(_GAUGES)).one()
            metrics.PARKED.set(parked)
            metrics.STUCK_SAGAS.set(stuck)
            metrics.OLDEST_SAGA.set(float(oldest))
            await connection.execute(_THIN_CHECKPOINTS)
            for table, (key, at, kept, condition) in self._retention.items():
                purge = text(
                    f"delete from {table} where {key} in (select {key} from {table} "
                    f"where {at} < now() - cast(:kept as interval) and {condition} limit {_AT_ONCE})"
                )
                while (await connection.execute(purge, {"kept": kept})).rowcount == _AT_ONCE:
                    pass
