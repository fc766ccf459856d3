"""What a relay has sent, for readers that find a gap in the stream: it is looked up in the outbox."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from shared.core.service_info import ServiceInfo
from shared.messaging.broker import BrokerUnavailable, Publication, subject_of
from shared.messaging.chain import (
    BEGINNING,
    RowsRequest,
    SentBefore,
    SentRequest,
    SentRow,
    chain_name,
    parse_link,
    row_id_of,
)
from shared.messaging.envelope import partition_of
from shared.relay.database import RelayDatabase, open_database
from shared.relay.pgoutput import OutboxRow

PAGE = 500
"""Maximum of rows in one answer."""
LOOK_SECONDS = 0.2
PATIENCE_SECONDS = 5.0
"""Seconds to wait for the next checkpoint, with which a row that has just been published is recorded."""

_decode_headers = msgspec.json.Decoder(dict[str, str]).decode


@dataclass(slots=True)
class _Found:
    rows: list[SentRow]
    kept: bool = True


class SentFromOutbox:
    """Answers for one service, from its outbox. `readers` names those that read a route.

    Only the relay that publishes answers: `active` says whether this one does.
    """

    def __init__(
        self,
        service: ServiceInfo,
        database_url: str,
        partitions: int,
        readers: Mapping[str, Sequence[str]],
        active: Callable[[], bool],
    ) -> None:
        self._service = service.name
        self._application = service.application
        self._url = database_url
        self._partitions = partitions
        self._readers = readers
        self._active = active

    async def before(self, request: SentRequest) -> SentBefore | None:
        """Return what was published for a reader, None if another relay answers. Raises TechnicalFault."""
        if not self._active():
            return None
        async with open_database(self._url, self._application) as database:
            if request.row is not None:
                return await self._before(database, request, request.row)
            head = (await database.chain_heads()).get(chain_name(request.partition, request.reader), BEGINNING)
            last = None if head == BEGINNING else parse_link(head)
            if last is None:
                return SentBefore()
            return SentBefore(rows=(SentRow(row=last[0], message_id=last[1]),), more=True)

    async def again(self, request: RowsRequest) -> list[Publication | None] | None:
        """Return these messages, None for one that is not kept or not for this reader; None if another relay answers.

        Raises TechnicalFault.
        """
        if not self._active():
            return None
        async with open_database(self._url, self._application) as database:
            kept = {row.id: row for row in await database.rows_with(request.rows)}
        return [self._publication(kept.get(row), request.reader) for row in request.rows]

    async def _before(self, database: RelayDatabase, request: SentRequest, row: int) -> SentBefore:
        if not await self._knows(database, row):
            return SentBefore(rows=(SentRow(row=row, message_id=""),), kept=False)
        found = _Found([])
        async for rows in database.published_up_to(row):
            await self._take(database, request, rows, found)
            if not found.kept or len(found.rows) > PAGE:
                break
        return SentBefore(rows=tuple(found.rows[:PAGE]), more=len(found.rows) > PAGE, kept=found.kept)

    async def _knows(self, database: RelayDatabase, row: int) -> bool:
        """Return whether the row is still kept; wait until it is recorded as published. Raises BrokerUnavailable."""
        until = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while await database.rows_with([row]):
            if await database.was_published(row):
                return True
            if asyncio.get_running_loop().time() >= until:
                raise BrokerUnavailable(f"the row {row} has not been published yet")
            await asyncio.sleep(LOOK_SECONDS)
        return False

    async def _take(self, database: RelayDatabase, request: SentRequest, rows: Sequence[int], found: _Found) -> None:
        """Take those of these rows that belong to the chain, the newest first, up to one that is no longer kept."""
        kept = {row.id: row for row in await database.rows_with(rows)}
        for id_ in rows:
            row = kept.get(id_)
            if row is None:
                found.kept = False
                return
            if self._is_for(row, request.reader) and partition_of(row.key, self._partitions) == request.partition:
                found.rows.append(SentRow(row=id_, message_id=_headers(row).get("ce-id", "")))

    def _is_for(self, row: OutboxRow, reader: str) -> bool:
        return reader in self._readers.get(row.subject, ())

    def _publication(self, row: OutboxRow | None, reader: str) -> Publication | None:
        if row is None or not self._is_for(row, reader):
            return None
        return Publication(
            row_id=row_id_of(self._service, row.id),
            subject=subject_of(partition_of(row.key, self._partitions), row.subject),
            headers=_headers(row),
            data=row.data,
        )


def _headers(row: OutboxRow) -> dict[str, str]:
    try:
        return _decode_headers(row.headers)
    except msgspec.DecodeError:
        return {}
