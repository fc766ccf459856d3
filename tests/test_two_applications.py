"""Two applications on one NATS and one PostgreSQL server, with services of the same names, do not meet."""

import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from shared.adapters.nats.broker import NatsBroker
from shared.adapters.nats.connection import NatsAddress, connect
from shared.adapters.postgres.database import PostgresDatabase
from shared.core.application import Application
from shared.core.serialization import to_json
from shared.core.service_info import ServiceInfo
from shared.host.provision import Database
from shared.messaging.broker import BrokerUnavailable
from shared.messaging.chain import SentBefore, SentRow
from shared.tests.listening import HEARD, TABLES, Replica, eventually, heard, note, texts
from tests.support.infra import Infra, NatsServer
from tests.support.schema import make_framework_tables
from tools.system.process import free_port

# What a user writes to have relays and a keeper for services of their own.
RELAY_PROGRAM = """
import sys

from shared.core.application import Application
from shared.core.service_info import ServiceInfo
from shared.host.relays import run_relays

application = Application(sys.argv[1])
services = [ServiceInfo("sender", 1, "sender", application), ServiceInfo("reader", 2, "reader", application)]
sys.exit(run_relays(application, services, {"reader": ["event.tests.Heard"]}, ["--keep-stream", "sender"]))
"""


@dataclass
class Running:
    """An application with a service that sends, a service that reads, and a relay process that keeps the stream."""

    application: Application
    sender: Database
    reader: Database
    sent: "asyncpg.Connection[Any]"
    broker: NatsBroker
    replica: Replica

    async def send(self, *numbers: int) -> None:
        """Write to the sender's outbox."""
        for number in numbers:
            message = heard(number)
            await self.sent.execute(
                "insert into outbox (subject, key, headers, data) values ($1, 'w', $2, $3)",
                HEARD,
                to_json(dict(message.headers)),
                message.data,
            )

    async def has_heard(self, *numbers: int) -> None:
        """Wait until the reader has heard these, in this order; anything else fails."""

        async def enough() -> bool:
            return len(await self.replica.notes()) >= len(numbers)

        await eventually(enough)
        assert await self.replica.notes() == texts(numbers)

    async def relay_has_sent(self, number: int) -> None:
        """Wait until the relay answers that this row is the last that it has sent: its next checkpoint records that."""
        last = SentBefore(rows=(SentRow(row=number, message_id=f"m{number}"),), more=True)

        async def recorded() -> bool:
            try:
                async with self.broker.connect() as connection:
                    return await connection.sent_before("sender", "reader", 0, None) == last
            except BrokerUnavailable:
                return False

        await eventually(recorded)


@contextmanager
def relay_of(application: Application, settings: Mapping[str, object]) -> Iterator[None]:
    """The relay process of an application, with nothing else in its environment."""
    relay = subprocess.Popen(
        [sys.executable, "-c", RELAY_PROGRAM, application.name],
        env={f"{application.environment_prefix}{name}": str(value) for name, value in settings.items()},
        cwd=Path(__file__).parents[1],
    )
    try:
        yield
    finally:
        relay.terminate()
        relay.wait()


@asynccontextmanager
async def running(
    name: str, partitions: int, infra: Infra, nats: NatsServer, new_database: Callable[[ServiceInfo], Database]
) -> AsyncIterator[Running]:
    application = Application(name)
    sender, reader = (
        new_database(ServiceInfo(service, 1, f"{name}_{service}", application)) for service in ("sender", "reader")
    )
    async with AsyncExitStack() as stack:
        for database in (sender, reader):
            make_framework_tables(database)
        settings = {
            "NATS_URL": nats.url,
            "PORT": free_port(),
            "PARTITIONS": partitions,
            "RELAY_URL_SENDER": sender.relay_url,
        }
        stack.enter_context(relay_of(application, settings))
        broker = NatsBroker(NatsAddress(nats.url, application), partitions)
        sessions = PostgresDatabase(reader.url, TABLES)
        stack.push_async_callback(sessions.close)
        replica = Replica(sessions, broker, note, reader="reader", senders=("sender",), partitions=partitions)
        stack.push_async_callback(replica.die)
        sent = await asyncpg.connect(sender.url)
        stack.push_async_callback(sent.close)
        yield Running(application, sender, reader, sent, broker, replica)


async def test_two_applications_share_the_servers_and_do_not_meet(
    infra: Infra, new_nats: Callable[[], NatsServer], new_database: Callable[[ServiceInfo], Database]
) -> None:
    nats = new_nats()
    async with (
        running("library", 1, infra, nats, new_database) as library,
        running("cinema", 2, infra, nats, new_database) as cinema,
    ):
        # Rows, messages and their ids are the same in both: what one has had must not count for the other.
        await library.send(1, 2, 3)
        await library.has_heard(1, 2, 3)
        assert await cinema.replica.notes() == []
        await cinema.send(1, 2)
        await cinema.has_heard(1, 2)
        await library.send(4)
        await library.has_heard(1, 2, 3, 4)
        await cinema.has_heard(1, 2)

        await library.relay_has_sent(4)
        await cinema.relay_has_sent(2)

        async with connect(NatsAddress(nats.url, library.application)) as connection:
            streams = [stream.config for stream in await connection.jetstream.streams_info()]
        assert {each.name: (each.subjects, _partitions(each.metadata)) for each in streams} == {
            "LIBRARY": (["library.>"], {"library_partitions": "1"}),
            "CINEMA": (["cinema.>"], {"cinema_partitions": "2"}),
        }

        admin = await asyncpg.connect(infra.admin_url)
        slots = await admin.fetch(
            "select slot_name, database from pg_replication_slots where database = any($1)",
            [library.sender.name, cinema.sender.name],
        )
        await admin.close()
        assert set(map(tuple, slots)) == {
            (f"library_{library.sender.name}", library.sender.name),
            (f"cinema_{cinema.sender.name}", cinema.sender.name),
        }
        # Each reader holds the partition in its own database, at a position of its own stream.
        assert [(await each.replica.position()).position for each in (library, cinema)] == [4, 2]  # type: ignore[union-attr]


def _partitions(metadata: dict[str, str] | None) -> dict[str, str]:
    return {name: value for name, value in (metadata or {}).items() if name.endswith("_partitions")}
