"""Replays: what a service has stored is sent again to whoever asks for it."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from kernel.topology import BY_NAME, FTGO
from kernel.values import OrderId, TicketId
from order.contracts import OrderApproved, OrderCancelled
from shared.adapters.memory.broker import MemoryBroker
from shared.adapters.nats.connection import ANYBODY, NatsAddress, NatsConnection, connect
from shared.adapters.nats.keeper import Keeper
from shared.adapters.nats.keeper_client import stream_for_replays
from shared.adapters.nats.replay import NoAnswer, ask, read_replay
from shared.adapters.nats.stream import StreamLimits
from shared.core.ids import new_id
from shared.core.serialization import Undecodable, to_json
from shared.eventsourcing.store import Metadata, StoredEvent
from shared.host.provision import Database
from shared.messaging.broker import Publication
from shared.messaging.envelope import Envelope, Received
from shared.messaging.replay import END_HEADER, ReplayAnswer, ReplayRequest
from shared.relay.database import CHUNK_EVENTS, open_database
from shared.relay.replay import Replays, Unpublishable, replay
from shared.relay.sent import SentFromOutbox
from tests.support.infra import NatsServer

READER = ANYBODY
NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
APPROVED, CANCELLED = OrderApproved.type_name, OrderCancelled.type_name


def request(*types: str, run: str = "run") -> ReplayRequest:
    return ReplayRequest(reader=READER, run=run, types=types)


def approved(id_: str, version: int, schema: int = 1) -> StoredEvent:
    metadata = Metadata(id=f"{id_}-{version}", schema=schema, correlation_id="correlation", causation_id="causation")
    data = to_json(OrderApproved(order_id=OrderId(id_), ticket_id=TicketId("ticket")))
    return StoredEvent(
        aggregate="Order", id=id_, version=version, type=APPROVED, data=data, metadata=metadata, occurred_at=NOON
    )


async def chunks(*events: Sequence[StoredEvent]) -> AsyncIterator[Sequence[StoredEvent]]:
    for chunk in events:
        yield chunk


async def test_events_go_out_as_they_did_at_first_and_the_end_mark_counts_them() -> None:
    broker = MemoryBroker()
    async with broker.connect() as publisher:
        chunked = chunks([approved("a", 1), approved("a", 2)], [approved("b", 1)])
        assert await replay(request(APPROVED), chunked, publisher) == 3

    stored = [found for position in range(1, 5) if (found := broker.stored_at(position))]
    assert [subject for subject, _ in stored] == [
        *[f"run.event.{APPROVED}"] * 3,
        "run.end",
    ]
    assert [message.row_id for _, message in stored] == ["run-1", "run-2", "run-3", "run-4"]
    assert stored[-1][1].headers[END_HEADER] == "3"
    assert Envelope.from_headers(stored[1][1].headers, stored[1][1].data) == Envelope(
        id="a-2",
        type=APPROVED,
        kind="event",
        source="order",
        key="a",
        data=approved("a", 2).data,
        time=NOON,
        correlation_id="correlation",
        causation_id="causation",
        subject="a",
        sequence=2,
    )


async def test_without_events_there_is_an_end_mark() -> None:
    broker = MemoryBroker()
    async with broker.connect() as publisher:
        assert await replay(request(APPROVED), chunks(), publisher) == 0
    assert [
        (subject, message.headers[END_HEADER]) for subject, message in [broker.stored_at(1) or ("", None)] if message
    ] == [("run.end", "0")]


async def test_there_is_no_end_mark_behind_what_can_not_be_sent() -> None:
    class Refusing:
        def __init__(self) -> None:
            self.subjects: list[str] = []

        async def publish(self, messages: Sequence[Publication]) -> list[int | None]:
            self.subjects += [message.subject for message in messages]
            return [None for _ in messages]

    publisher = Refusing()
    with pytest.raises(Unpublishable, match="version 1 of Order a"):
        await replay(request(APPROVED), chunks([approved("a", 1)]), publisher)
    with pytest.raises(Undecodable, match="schema 7"):
        await replay(request(APPROVED), chunks([approved("a", 1, schema=7)]), publisher)
    assert not [subject for subject in publisher.subjects if subject.endswith(".end")]


class Answering:
    """The replays of a relay, and a reader that asks them."""

    def __init__(self, database: Database, nats: NatsServer) -> None:
        self.active = True
        self._address = NatsAddress(nats.url, FTGO)
        sent = SentFromOutbox(BY_NAME["order"], database.relay_url, 1, {}, lambda: self.active)
        self._replays = Replays(BY_NAME["order"], database.relay_url, self._address, lambda: self.active, sent)
        self.reader: NatsConnection

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Answering"]:
        keeper = Keeper(self._address, 1, StreamLimits(3600, 1 << 26), reads={})
        async with keeper.keeping(), connect(self._address) as self.reader, stream_for_replays(self.reader):
            task = asyncio.create_task(self._replays.run())
            try:
                yield self
            finally:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def ask(self, asked: ReplayRequest) -> ReplayAnswer:
        """The answer, as soon as somebody listens."""
        while True:
            try:
                return await ask(self.reader, "order", asked)
            except NoAnswer:
                await asyncio.sleep(0.02)

    async def all_of(self, run: str) -> list[Received]:
        """The messages of a run up to the end mark."""
        received: list[Received] = []
        async with read_replay(self.reader, READER, run) as feed:
            while not received or END_HEADER not in received[-1].headers:
                received += await feed.take(100, 10)
        return received


@asynccontextmanager
async def service_of(database: Database) -> AsyncIterator["asyncpg.Connection[Any]"]:
    connection = await asyncpg.connect(database.url)
    try:
        yield connection
    finally:
        await connection.close()


async def store(connection: "asyncpg.Connection[Any]", events: Sequence[StoredEvent], type_: str = APPROVED) -> None:
    await connection.executemany(
        "insert into events (aggregate, id, version, type, data, metadata, occurred_at)"
        " values ($1, $2, $3, $4, $5, $6, $7)",
        [(e.aggregate, e.id, e.version, type_, e.data, to_json(e.metadata), e.occurred_at) for e in events],
    )


async def test_the_stored_events_come_in_the_order_of_each_aggregate(database: Database, nats: NatsServer) -> None:
    orders = [f"{number:04}" for number in range(CHUNK_EVENTS)]
    async with service_of(database) as service, Answering(database, nats).running() as relay:
        for version in (2, 1, 3):  # not in the order of the table's pages
            await store(service, [approved(order, version) for order in reversed(orders)])
        await store(service, [approved(orders[0], 4)], type_=CANCELLED)
        run = new_id()
        assert await relay.ask(request(APPROVED, run=run)) == ReplayAnswer(running=True)
        *events, end = await relay.all_of(run)
    found = [(event.headers["ce-subject"], int(event.headers["ce-sequence"])) for event in events]
    assert found == [(order, version) for order in orders for version in (1, 2, 3)]
    assert int(end.headers[END_HEADER]) == len(found)
    assert json.loads(events[0].data) == json.loads(approved(orders[0], 1).data)


async def test_what_was_committed_when_it_began_is_in_it(database: Database) -> None:
    async with service_of(database) as service, open_database(database.relay_url, FTGO) as relay:
        async with service.transaction():
            await store(service, [approved("a", 1)])
            waiting = asyncio.create_task(relay.committed_is_visible())
            async with service_of(database) as other:  # a later transaction does not matter, and several round trips
                for version in range(1, 6):
                    await store(other, [approved("b", version)])
            assert not waiting.done()
        await waiting
        events = [event async for chunk in relay.stored_events([APPROVED]) for event in chunk]
    assert ("a", 1) in {(event.id, event.version) for event in events}


async def test_who_asks_again_learns_how_it_ended(database: Database, nats: NatsServer) -> None:
    async with service_of(database) as service, Answering(database, nats).running() as relay:
        await store(service, [approved("a", 1, schema=7)])
        assert (await relay.ask(request(APPROVED))).running
        while (answer := await relay.ask(request())).running:
            await asyncio.sleep(0.02)
        assert "schema 7" in answer.reason
        assert await relay.ask(request(run="another")) == ReplayAnswer(running=False)


async def test_what_the_service_does_not_publish_is_refused(database: Database, nats: NatsServer) -> None:
    async with Answering(database, nats).running() as relay:
        for type_ in ("order.Nonsense", "kitchen.TicketAccepted", "order.OrderSeen"):
            answer = await relay.ask(request(APPROVED, type_))
            assert answer == ReplayAnswer(running=False, reason=f"the service order publishes no event called {type_}")


async def test_a_relay_that_stands_by_keeps_quiet(
    database: Database, nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Answering(database, nats).running() as relay:
        assert (await relay.ask(request(APPROVED))).running
        relay.active = False
        monkeypatch.setattr("shared.adapters.nats.replay.ANSWER_SECONDS", 0.2)
        with pytest.raises(NoAnswer):
            await ask(relay.reader, "order", request())


async def test_a_replay_whose_reader_has_gone_away_ends(database: Database, nats: NatsServer) -> None:
    async with service_of(database) as service, Answering(database, nats).running() as relay:
        await store(service, [approved("a", 1)])
        async with stream_for_replays(relay.reader):
            pass
        assert (await relay.ask(request(APPROVED))).running
        while (answer := await relay.ask(request())).running:
            await asyncio.sleep(0.02)
        assert answer.reason == "there is no stream for these subjects"
