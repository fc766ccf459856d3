"""Set-aside messages and repairs in PostgreSQL."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from shared.adapters.postgres.statements import Statements
from shared.core.clock import Due
from shared.core.serialization import from_json, to_json
from shared.eventsourcing.store import MAX_READ_TOGETHER
from shared.messaging.envelope import Received
from shared.messaging.repair_log import Action, Repair
from shared.messaging.set_aside import (
    Line,
    Parked,
    ParkedFilter,
    PutAside,
    PutBack,
    SetAside,
    SetAsideChange,
    TakenUp,
)

_COLUMNS = """
seq, partition, key, source, message_id, row_id, headers, data,
attempts, set_aside_at, retry_at, parked_at, error
"""
_HEADS = f"""
select {_COLUMNS}
from (select distinct on (key, source) * from set_aside where partition = $1 order by key, source, seq) heads
where parked_at is null
"""
_DUE_HEADS = f"""
select {_COLUMNS}
from (
    select *, sum(octet_length(data)) over (order by retry_at, seq) - octet_length(data) as before
    from ({_HEADS} and (retry_at <= $2 or retry_at > $3)) due
) due
where before < $5
order by retry_at, seq limit $4
"""
_PUT_ASIDE = """
insert into set_aside
    (partition, key, source, message_id, row_id, headers, data, attempts, set_aside_at, retry_at, parked_at, error)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
"""
_PUT_BACK = """
update set_aside set attempts = $2, set_aside_at = $3, retry_at = $4, parked_at = $5, error = $6 where seq = $1
"""
_PARKED = f"""
select {_COLUMNS},
    (select count(*) from set_aside behind where (behind.key, behind.source) = (head.key, head.source)) - 1 as behind
from set_aside head
where parked_at is not null
  and ($1::text is null or message_id = $1)
  and ($2::text is null or key = $2)
  and ($3::text is null or headers::json ->> 'ce-type' = $3)
  and ($4::text is null or strpos(lower(error), lower($4)) > 0)
order by seq limit $5
"""
_REPAIR = "at, operator, action, subject, type, key, reason, details"
_REDRIVE = """
update set_aside set parked_at = null, retry_at = $2, set_aside_at = $2, attempts = 0
where key = $1 and source = $3
"""


class PostgresWaitingRoom:
    """Implements `messaging.set_aside.WaitingRoom`. Few rows are ever here, so they are written one by one."""

    def __init__(self, statements: Statements) -> None:
        self._statements = statements

    async def blocked(self, lines: Sequence[Line]) -> set[Line]:
        """Return those of the lines that have a message waiting."""
        rows = await self._statements.fetch(
            "select distinct key, source from set_aside join unnest($1::text[], $2::text[]) as line(key, source) "
            "using (key, source)",
            [line.key for line in lines],
            [line.source for line in lines],
        )
        return {Line(key, source) for key, source in rows}

    async def heads(self, partition: int, due: Due, limit: int) -> Sequence[SetAside]:
        """Return the first message of each line, where it is due and not parked; the longest due first."""
        rows = await self._statements.fetch(_DUE_HEADS, partition, due.now, due.latest, limit, MAX_READ_TOGETHER)
        return [_set_aside(row) for row in rows]

    async def next_due(self, partition: int, due: Due) -> datetime | None:
        """Return when the next head is due, now at the earliest; None if nothing waits."""
        at: datetime | None = await self._statements.fetchval(
            f"select min(case when retry_at between $2 and $3 then retry_at else $2 end) from ({_HEADS}) waiting",
            partition,
            due.now,
            due.latest,
        )
        return at

    async def write(self, changes: Sequence[SetAsideChange]) -> None:
        """Carry the changes out in order."""
        for change in changes:
            message = change.message
            match change:
                case PutAside():
                    await self._statements.execute(
                        _PUT_ASIDE,
                        message.partition,
                        message.line.key,
                        message.line.source,
                        message.message_id,
                        message.received.row_id,
                        to_json(dict(message.received.headers)),
                        message.received.data,
                        message.attempts,
                        message.set_aside_at,
                        message.retry_at,
                        message.parked_at,
                        message.error,
                    )
                case PutBack():
                    await self._statements.execute(
                        _PUT_BACK,
                        message.seq,
                        message.attempts,
                        message.set_aside_at,
                        message.retry_at,
                        message.parked_at,
                        message.error,
                    )
                case TakenUp():
                    await self._statements.execute("delete from set_aside where seq = $1", message.seq)

    async def is_empty(self) -> bool:
        """Return whether no message waits."""
        empty: bool = await self._statements.fetchval("select not exists (select from set_aside)")
        return empty

    async def is_crowded(self, number: int) -> bool:
        """Return whether at least `number` messages are parked, or wait behind parked ones."""
        crowded: bool = await self._statements.fetchval(
            "select count(*) >= $1 from (select from set_aside where (key, source) in"
            " (select key, source from set_aside where parked_at is not null) limit $1) as first",
            number,
        )
        return crowded

    async def parked(self, wanted: ParkedFilter, limit: int) -> Sequence[Parked]:
        """Return the first messages that wait for an operator, in order."""
        rows = await self._statements.fetch(_PARKED, wanted.message_id, wanted.key, wanted.type, wanted.error, limit)
        return [Parked(message=_set_aside(list(row)[:-1]), behind=row["behind"]) for row in rows]

    async def hold_parked(self, message_id: str) -> SetAside | None:
        """Return the parked message with that id, or None. Nobody else can change it until the transaction ends."""
        await self._statements.begin()
        row = await self._statements.fetchrow(
            f"select {_COLUMNS} from set_aside where message_id = $1 and parked_at is not null for update", message_id
        )
        return None if row is None else _set_aside(row)

    async def line(self, line: Line, limit: int) -> Sequence[SetAside]:
        """Return the first messages of a line, in order."""
        rows = await self._statements.fetch(
            f"select {_COLUMNS} from set_aside where key = $1 and source = $2 order by seq limit $3",
            line.key,
            line.source,
            limit,
        )
        return [_set_aside(row) for row in rows]

    async def redrive(self, line: Line, now: datetime) -> int:
        """Make a parked line due again from its first message; return how many of its messages wait."""
        status: str = await self._statements.execute(_REDRIVE, line.key, now, line.source)
        return int(status.rpartition(" ")[2])


class PostgresRepairLog:
    """Implements `messaging.repair_log.RepairLog`."""

    def __init__(self, statements: Statements) -> None:
        self._statements = statements

    async def add(self, repairs: Sequence[Repair]) -> None:
        """Write repairs down."""
        for done in repairs:
            await self._statements.execute(
                f"insert into repairs ({_REPAIR}) values ($1, $2, $3, $4, $5, $6, $7, $8)",
                done.at,
                done.operator,
                done.action,
                done.subject,
                done.type,
                done.key,
                done.reason,
                done.details,
            )

    async def latest(self, actions: Collection[Action], subject: str | None, limit: int) -> Sequence[Repair]:
        """Return the newest of these actions, the newest first; of one message or saga, if `subject` names it."""
        rows = await self._statements.fetch(
            f"select {_REPAIR}::text from repairs "
            "where action = any($1::text[]) and ($2::text is null or subject = $2) order by id desc limit $3",
            list(actions),
            subject,
            limit,
        )
        return [Repair(**{**row, "action": Action(row["action"])}) for row in rows]


def _set_aside(row: Sequence[Any]) -> SetAside:
    (
        seq,
        partition,
        key,
        source,
        message_id,
        row_id,
        headers,
        data,
        attempts,
        set_aside_at,
        retry_at,
        parked_at,
        error,
    ) = row
    # Its place in the stream is of no interest any more: what is set aside is behind the position.
    received = Received(
        position=0, row_id=row_id, received_at=set_aside_at, headers=from_json(dict[str, str], headers), data=data
    )
    return SetAside(
        seq=seq,
        partition=partition,
        line=Line(key, source),
        message_id=message_id,
        received=received,
        attempts=attempts,
        set_aside_at=set_aside_at,
        retry_at=retry_at,
        parked_at=parked_at,
        error=error,
    )
