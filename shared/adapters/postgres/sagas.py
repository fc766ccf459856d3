"""Which sagas need attention, in PostgreSQL."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from shared.adapters.postgres.rows import RowMapping
from shared.adapters.postgres.statements import Statements
from shared.core.clock import Due
from shared.eventsourcing.aggregate import Entity
from shared.saga.instance import SagaFilter, SagaInstance

UNFINISHED = "phase not in ('completed', 'undone')"
"""As the index on them says it: there are few at any time."""
_WANTED = f"""
where {UNFINISHED} and (due_at is not null or stuck)
  and ($1::text is null or id = $1)
  and ($2::boolean is null or stuck = $2)
  and ($3::text is null or type = $3)
  and ($4::text is null or strpos(lower(error), lower($4)) > 0)
order by started_at limit $5
"""


class PostgresSagaTimers:
    """Implements `saga.instance.SagaTimers`."""

    def __init__(self, statements: Statements, mappings: Mapping[type[Entity], RowMapping[Any]]) -> None:
        self._statements = statements
        self._mapping: RowMapping[SagaInstance] = mappings[SagaInstance]

    async def due(self, due: Due, limit: int) -> Sequence[tuple[str, str]]:
        """Return id and correlation id of the sagas that are due, the longest due first."""
        rows = await self._statements.fetch(
            f"select id, correlation_id from sagas where {UNFINISHED} and (due_at <= $1 or due_at > $2)"
            " order by due_at limit $3",
            due.now,
            due.latest,
            limit,
        )
        return [(id_, correlation_id) for id_, correlation_id in rows]

    async def next_due(self, due: Due) -> datetime | None:
        """Return when the next saga is due, now at the earliest; None if none waits."""
        at: datetime | None = await self._statements.fetchval(
            "select min(case when due_at between $1 and $2 then due_at when due_at is not null then $1 end)"
            f" from sagas where {UNFINISHED}",
            due.now,
            due.latest,
        )
        return at

    async def unfinished(self, wanted: SagaFilter, limit: int) -> Sequence[SagaInstance]:
        """Return the first sagas that have not ended, the oldest first."""
        rows = await self._statements.fetch(
            f"{self._mapping.select} {_WANTED}",
            wanted.id,
            wanted.stuck,
            wanted.type,
            wanted.error,
            limit,
        )
        return [self._mapping.to_entity(row) for row in rows]
