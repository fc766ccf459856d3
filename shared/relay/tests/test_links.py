"""A relay's links, and what it says of what it has sent: with a real outbox and a real broker."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from uuid import uuid4

import pytest

from kernel.topology import BY_NAME, FTGO
from shared.adapters.nats.connection import NatsAddress
from shared.adapters.nats.sent import SentRows
from shared.host.provision import Database
from shared.messaging.broker import BrokerConnection, BrokerUnavailable
from shared.messaging.chain import SentRow, link_header
from shared.relay import database as relay_database
from shared.relay import sent as sent_module
from shared.relay.replay import Replays
from shared.relay.sent import SentFromOutbox
from shared.relay.tests.support import (
    OPTIONS,
    ROUTE,
    Outbox,
    eventually,
    nats_broker,
    opened,
    published,
    running,
    stored,
)
from shared.relay.tests.test_relay_faults import Store
from tests.support.infra import NatsServer

READER = "kitchen"
OTHERS = "event.order.OrderApproved"
READERS: Mapping[str, Sequence[str]] = {ROUTE: [READER], OTHERS: ["delivery"]}
LINKING = dataclasses.replace(OPTIONS, readers=READERS)


async def add(outbox: Outbox, count: int, subject: str = ROUTE) -> list[int]:
    """Rows with ids of messages."""
    rows = []
    for _ in range(count):
        rows += await outbox.add(subject=subject, headers={"ce-id": f"{uuid4()}"})
    return rows


async def links(nats: NatsServer) -> dict[int, int]:
    """What each message in the stream says was before it, by their rows; of those that are there twice, the last."""
    messages = await stored(nats_broker(nats.url), routes=[ROUTE, OTHERS])
    header = link_header(READER)
    return {
        int(message.row_id.removeprefix("order-")): int(message.headers[header].partition(" ")[0])
        for message in messages
        if header in message.headers
    }


def chain(rows: Sequence[int]) -> dict[int, int]:
    return dict(zip(rows, [0, *rows], strict=False))


async def test_each_message_names_the_one_before_it_to_the_same_reader(database: Database, nats: NatsServer) -> None:
    async with opened(database) as outbox, running(database, nats_broker(nats.url), LINKING) as relay:
        await relay.publishing()
        rows = await add(outbox, 2)
        await add(outbox, 2, subject=OTHERS)
        rows += await add(outbox, 1)
        await published(nats_broker(nats.url), rows)
        assert await links(nats) == chain(rows)


async def test_the_chain_goes_on_after_a_stop_and_after_a_crash(database: Database, nats: NatsServer) -> None:
    rows: list[int] = []
    async with opened(database) as outbox:
        for end in ("stop", "crash", "crash", "stop"):
            async with running(database, nats_broker(nats.url), LINKING) as relay:
                await relay.publishing()
                rows += await add(outbox, 3)
                await published(nats_broker(nats.url), rows)
                await (relay.stop() if end == "stop" else relay.crash())
            await outbox.slot_is_free()
        assert await links(nats) == chain(rows)


async def test_the_chain_goes_on_behind_what_the_broker_has_kept(database: Database, nats: NatsServer) -> None:
    """It has lost its tail, and what is published again comes behind what is left."""
    store = Store(nats)
    async with opened(database) as outbox:
        async with running(database, nats_broker(nats.url), LINKING) as relay:
            await relay.publishing()
            kept = await add(outbox, 3)
            await outbox.checkpointed(kept[-1])
            store.copy()
            await relay.waiting("NATS")
            await relay.publishing()
            lost = await add(outbox, 3)
            await outbox.checkpointed(lost[-1])
            await relay.stop()
        store.set_back()
        await outbox.slot_is_free()
        async with running(database, nats_broker(nats.url), LINKING) as relay:
            await relay.publishing()
            new = await add(outbox, 1)
            await published(nats_broker(nats.url), [*kept, *lost, *new])
            assert await links(nats) == chain([*kept, *lost, *new])


@asynccontextmanager
async def answering(database: Database, nats: NatsServer, active: bool = True) -> AsyncIterator[BrokerConnection]:
    """A connection of a reader to a broker where the relay of the service `order` answers."""
    answers: SentRows = SentFromOutbox(BY_NAME["order"], database.relay_url, 1, READERS, lambda: active)
    replays = Replays(BY_NAME["order"], database.relay_url, NatsAddress(nats.url, FTGO), lambda: active, answers)
    task = asyncio.create_task(replays.run())
    try:
        async with nats_broker(nats.url).connect() as connection:
            if active:
                await eventually(lambda: _answers(connection))
            yield connection
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _answers(connection: BrokerConnection) -> bool:
    with suppress(BrokerUnavailable):
        await connection.sent_before("order", READER, 0, None)
        return True
    return False


async def test_a_relay_tells_what_it_has_sent_and_sends_it_again(
    database: Database, nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sent_module, "PAGE", 4)
    monkeypatch.setattr(relay_database, "PUBLISHED_ROWS", 3)
    async with (
        opened(database) as outbox,
        running(database, nats_broker(nats.url), LINKING) as relay,
        answering(database, nats) as connection,
    ):
        await relay.publishing()
        assert (await connection.sent_before("order", READER, 0, None)).rows == ()
        rows: list[int] = []
        for _ in range(3):
            rows += await add(outbox, 3)
            [other] = await add(outbox, 1, subject=OTHERS)
        await outbox.checkpointed(other)
        [last] = (await connection.sent_before("order", READER, 0, None)).rows
        assert last.row == rows[-1]

        found: list[SentRow] = []
        page = await connection.sent_before("order", READER, 0, rows[7])
        found += page.rows
        assert (len(found), page.more) == (4, True)
        page = await connection.sent_before("order", READER, 0, found[-1].row)
        found += page.rows[1:]
        page = await connection.sent_before("order", READER, 0, found[-1].row)
        found += page.rows[1:]
        assert ([each.row for each in found], page.more, page.kept) == (rows[7::-1], False, True)
        in_stream = {each.row_id: each for each in await stored(nats_broker(nats.url), routes=[ROUTE, OTHERS])}
        assert found[0].message_id == in_stream[f"order-{found[0].row}"].headers["ce-id"]

        again = await connection.sent_again("order", READER, [rows[2], other, rows[0]])
        assert again[1] is None  # it is none of the reader's business
        for row, message in ((rows[2], again[0]), (rows[0], again[2])):
            original = in_stream[f"order-{row}"]
            assert message is not None
            assert (message.row_id, message.data, message.position) == (original.row_id, original.data, 0)
            assert message.headers == {k: v for k, v in original.headers.items() if k != link_header(READER)}
        assert (await connection.sent_before("order", READER, 1, rows[-1])).rows == ()


async def test_what_the_outbox_no_longer_has_is_not_kept(database: Database, nats: NatsServer) -> None:
    async with (
        opened(database) as outbox,
        running(database, nats_broker(nats.url), LINKING) as relay,
        answering(database, nats) as connection,
    ):
        await relay.publishing()
        rows = await add(outbox, 4)
        await outbox.checkpointed(rows[-1])
        await outbox.relay.execute("delete from outbox where id <= $1", rows[1])
        page = await connection.sent_before("order", READER, 0, rows[3])
        assert ([each.row for each in page.rows], page.kept) == ([rows[3], rows[2]], False)
        page = await connection.sent_before("order", READER, 0, rows[1])
        assert ([each.row for each in page.rows], page.kept) == ([rows[1]], False)
        assert await connection.sent_again("order", READER, [rows[1]]) == [None]


async def test_what_was_published_a_moment_ago_is_waited_for(database: Database, nats: NatsServer) -> None:
    """It is known with the next checkpoint, not before."""
    async with (
        opened(database) as outbox,
        running(database, nats_broker(nats.url), LINKING) as relay,
        answering(database, nats) as connection,
    ):
        await relay.publishing()
        for _ in range(3):
            rows = await add(outbox, 1)
            await published(nats_broker(nats.url), rows)
            assert (await connection.sent_before("order", READER, 0, rows[0])).rows[0].row == rows[0]


async def test_a_relay_that_stands_by_keeps_quiet(
    database: Database, nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.adapters.nats.sent.ANSWER_SECONDS", 0.5)
    async with answering(database, nats, active=False) as connection:
        with pytest.raises(BrokerUnavailable, match="does not say what it has sent"):
            await connection.sent_before("order", READER, 0, None)
        with pytest.raises(BrokerUnavailable, match="does not send again"):
            await connection.sent_again("order", READER, [1])


async def test_the_order_is_forgotten_with_the_outbox_but_not_the_chains_ends(
    database: Database, nats: NatsServer
) -> None:
    async with opened(database) as outbox, relay_database.open_database(database.relay_url, FTGO) as relay_side:
        async with running(database, nats_broker(nats.url), LINKING) as relay:
            await relay.publishing()
            for _ in range(2):
                rows = await add(outbox, 2)
                await outbox.checkpointed(rows[-1])
            await relay.stop()
        await outbox.relay.execute("delete from outbox where id < $1", rows[-1])
        await relay_side.forget_published()
        assert await outbox.relay.fetchval("select count(*) from published_rows") == 1
        heads = await relay_side.chain_heads()
        assert {chain: int(link.partition(" ")[0]) for chain, link in heads.items()} == {f"0/{READER}": rows[-1]}
