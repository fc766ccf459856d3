"""Relays that read the outbox's table, to compare the relay with. They are not part of the product.

`python -m tools.bench.table_relays MODULE …` runs a module; if that is the relay's, with one of these in it.
Both read in the order of the rows' ids, which is not the order of commits, and delete what the broker has taken.
"""

import asyncio
import os
import runpy
import sys
from contextlib import suppress

import asyncpg

from shared.core.backoff import Backoff
from shared.host import relays
from shared.messaging.broker import BrokerConnection
from shared.relay.database import RelayDatabase, database_faults
from shared.relay.pgoutput import OutboxRow
from shared.relay.relay import BATCH_ROWS, Relay

MODULE = "tools.bench.table_relays"
VARIABLE = "FTGO_BENCH_RELAY"
"""Says which of `RELAYS` is used."""
NOTIFY = """
create function tell_of_outbox() returns trigger language plpgsql as
    $$ begin perform pg_notify('outbox', ''); return null; end $$;
create trigger tell_of_outbox after insert on outbox for each statement execute function tell_of_outbox()
"""
"""What the listening relay needs in a database."""

_TAKE = """
with oldest as (select id from outbox order by id limit $1)
delete from outbox using oldest where outbox.id = oldest.id returning outbox.id, subject, key, headers, data
"""


class PollingRelay(Relay):
    """Looks at the table, and looks again after a while if there was nothing."""

    look_seconds = 0.5

    async def _relay(self, backoff: Backoff) -> None:
        with database_faults():
            connection = await asyncpg.connect(self._url, timeout=5, command_timeout=60)
            try:
                await RelayDatabase(connection).require_outbox()
                async with self._broker.connect() as broker:
                    told = await self._listen(connection)
                    self._pulse.begin()
                    self.status.connected()
                    backoff.reset()
                    while not self._stopping.is_set():
                        told.clear()
                        if not await self._publish_some(connection, broker):
                            with suppress(TimeoutError):
                                async with asyncio.timeout(self.look_seconds):
                                    await told.wait()
            finally:
                connection.terminate()

    async def _listen(self, _connection: asyncpg.Connection) -> asyncio.Event:
        """Returns an event that is set when there may be something to publish."""
        return asyncio.Event()

    async def _publish_some(self, connection: asyncpg.Connection, broker: BrokerConnection) -> int:
        async with connection.transaction():
            rows = [OutboxRow(*record) for record in await connection.fetch(_TAKE, BATCH_ROWS)]
            await self._publish(sorted(rows, key=lambda row: row.id), broker)
        return len(rows)


class ListeningRelay(PollingRelay):
    """Looks at the table when PostgreSQL notifies it."""

    look_seconds = 5.0
    """A relay that no longer gets notifications only notices it in this way."""

    async def _listen(self, connection: asyncpg.Connection) -> asyncio.Event:
        told = asyncio.Event()
        await connection.add_listener("outbox", lambda *_: told.set())
        return told


RELAYS: dict[str, type[Relay]] = {"polling": PollingRelay, "listening": ListeningRelay}


def main() -> None:
    """Run the module that is named first, with the remaining arguments."""
    sys.argv = sys.argv[1:]
    if sys.argv[0] == "cdc":
        vars(relays)["Relay"] = RELAYS[os.environ[VARIABLE]]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
