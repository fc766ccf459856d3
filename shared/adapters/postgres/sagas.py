"""Which sagas need attention, in PostgreSQL."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from shared.adapters.postgres.rows import RowMapping
from shared.eventsourcing.aggregate import Entity
from shared.saga.instance import SagaInstance


class PostgresSagaTimers:
    """See `instance.SagaTimers`."""

    def __init__(self, driver: Any, mappings: Mapping[type[Entity], RowMapping[Any]]) -> None:
        self._driver = driver
        self._mapping: RowMapping[SagaInstance] = mappings[SagaInstance]

    async def due(self, now: datetime, limit: int) -> Sequence[tuple[str, str]]:
        """See `instance.SagaTimers`."""
        rows = await self._driver.fetch(
            "select id, correlation_id from sagas where due_at <= $1 order by due_at limit $2", now, limit
        )
        return [(id_, correlation_id) for id_, correlation_id in rows]

    async def next_due(self) -> datetime | None:
        """See `instance.SagaTimers`."""
        due: datetime | None = await self._driver.fetchval("select min(due_at) from sagas where due_at is not null")
        return due

    async def stuck(self) -> Sequence[SagaInstance]:
        """See `instance.SagaTimers`."""
        return await self._select("where stuck order by updated_at")

    async def unfinished(self) -> Sequence[SagaInstance]:
        """See `instance.SagaTimers`."""
        return await self._select("where due_at is not null or stuck order by started_at")

    async def _select(self, which: str) -> Sequence[SagaInstance]:
        return [self._mapping.to_entity(row) for row in await self._driver.fetch(f"{self._mapping.select} {which}")]
