"""The event store in PostgreSQL: one statement for the events of a whole unit of work."""

from collections.abc import Mapping, Sequence

from shared.adapters.postgres.statements import UNLIMITED, Expected, Statements, outdated
from shared.core.errors import TooMuchAtOnce
from shared.core.serialization import from_json, to_json
from shared.eventsourcing.store import History, Metadata, Snapshot, StoredEvent

# The snapshot comes first, as a row of its own: with each event it would be sent once for each. The running total ends
# the answer where it becomes too much.
#
# `offset 0` keeps each lateral a look-up by key. Flattened into a join, it would read the whole table while that looks
# small to the planner, which it does until the first analyze.
_LOAD = """
select id, version, type, data, metadata, occurred_at, total
from (
    select wanted.id, found.*, sum(octet_length(found.data)) over (order by wanted.id, found.version) as total
    from unnest($3::text[]) as wanted(id)
    left join lateral (
        select version, state::text from snapshots where aggregate = $1 and id = wanted.id and tag = $2 offset 0
    ) s on true
    cross join lateral (
        select s.version, null as type, s.state as data, null as metadata, null::timestamptz as occurred_at
        where s.version is not null
        union all
        select * from (
            select version, type, data::text, metadata::text, occurred_at from events
            where aggregate = $1 and id = wanted.id and version > coalesce(s.version, 0) offset 0
        ) e
    ) found
) counted
where total - octet_length(data) <= $4
order by id, version
"""
_APPEND = """
insert into events (aggregate, id, version, type, data, metadata, occurred_at)
select aggregate, id, version, type, data::jsonb, metadata::jsonb, occurred_at
from unnest($1::text[], $2::text[], $3::int[], $4::text[], $5::text[], $6::text[], $7::timestamptz[])
    as new(aggregate, id, version, type, data, metadata, occurred_at)
"""
_SNAPSHOT = """
insert into snapshots (aggregate, id, version, tag, state)
select aggregate, id, version, tag, state::jsonb
from unnest($1::text[], $2::text[], $3::int[], $4::text[], $5::text[]) as new(aggregate, id, version, tag, state)
on conflict (aggregate, id) do update
set version = excluded.version, tag = excluded.tag, state = excluded.state
"""
_CONFIRM = """
select from unnest($2::text[], $3::int[]) as seen(id, version)
where version = (select max(events.version) from events where aggregate = $1 and events.id = seen.id)
"""


class PostgresEvents:
    """Implements `eventsourcing.store.EventStore`."""

    def __init__(self, statements: Statements) -> None:
        self._statements = statements

    async def load(
        self, aggregate: str, tag: str, ids: Sequence[str], most: int | None = None
    ) -> Mapping[str, History]:
        """Return the histories of the aggregates that exist, by id. A snapshot with another tag is ignored.

        Raises TooMuchAtOnce when they have more than `most` bytes of data, without reading much more than that.
        """
        snapshots: dict[str, Snapshot] = {}
        events: dict[str, list[StoredEvent]] = {}
        for row in await self._statements.fetch(_LOAD, aggregate, tag, ids, UNLIMITED if most is None else most):
            id_, version, type_, data, metadata, occurred_at, total = row
            if most is not None and total > most:
                raise TooMuchAtOnce(f"the histories of {len(ids)} of {aggregate} have more than {most} bytes")
            history = events.setdefault(id_, [])
            if type_ is None:
                snapshots[id_] = Snapshot(aggregate=aggregate, id=id_, version=version, tag=tag, state=data)
                continue
            history.append(
                StoredEvent(
                    aggregate=aggregate,
                    id=id_,
                    version=version,
                    type=type_,
                    data=data,
                    metadata=from_json(Metadata, metadata),
                    occurred_at=occurred_at,
                )
            )
        return {id_: History(snapshots.get(id_), history) for id_, history in events.items()}

    async def append(self, events: Sequence[StoredEvent], snapshots: Sequence[Snapshot]) -> None:
        """Store events and snapshots. Raises Conflict, at the latest at the commit, when a version is taken."""
        await self._statements.write(
            "events",
            _APPEND,
            [event.aggregate for event in events],
            [event.id for event in events],
            [event.version for event in events],
            [event.type for event in events],
            [event.data for event in events],
            [to_json(event.metadata) for event in events],
            [event.occurred_at for event in events],
        )
        if snapshots:
            await self._statements.write(
                "snapshots",
                _SNAPSHOT,
                [snapshot.aggregate for snapshot in snapshots],
                [snapshot.id for snapshot in snapshots],
                [snapshot.version for snapshot in snapshots],
                [snapshot.tag for snapshot in snapshots],
                [snapshot.state for snapshot in snapshots],
            )

    async def erase(self, aggregate: str, id_: str) -> None:
        """Overwrite the personal fields in the aggregate's events, and delete its snapshot.

        Services may not change events: a function of the tables' owner does it, and only if an event that erases has
        been stored.
        """
        await self._statements.execute("select erase_personal($1, $2)", aggregate, id_)

    async def confirm(self, aggregate: str, versions: Mapping[str, int]) -> None:
        """Raise Conflict, at the latest at the commit, unless each id's last stored version is the given one."""
        expected = Expected(len(versions), lambda found: outdated(aggregate, len(versions), found))
        await self._statements.confirm(_CONFIRM, aggregate, list(versions), list(versions.values()), expected=expected)
