"""The broker over a real nats-server: what it does beyond the common suite when things go wrong."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client

from kernel.topology import FTGO
from shared.adapters.nats import publisher, reader
from shared.adapters.nats.broker import NatsBroker
from shared.adapters.nats.connection import NatsAddress
from shared.adapters.nats.stream import StreamLimits
from shared.messaging.broker import Bounds, Broker, BrokerUnavailable, PartitionsDiffer, Publication, subject_of
from shared.messaging.envelope import MAX_DATA, ROW_ID_HEADER
from shared.testing.broker_suite import CREATED, BrokerSuite, publication, publications, rows, take_exactly
from tests.support.infra import Infra, NatsServer, Server
from tests.support.kept_broker import KeptBroker
from tools.chaos import rot
from tools.chaos.proxy import Trouble, proxy

STREAM = "FTGO"
LIMITS = StreamLimits(max_age=3600, max_bytes=1 << 26)
NewNats = Callable[[], NatsServer]


def broker_at(url: str, partitions: int = 1, limits: StreamLimits = LIMITS) -> KeptBroker:
    return KeptBroker(NatsAddress(url, FTGO), partitions, limits)


def store_of(nats: NatsServer) -> Path:
    assert isinstance(nats.server, Server), "only a broker on this disk can be damaged"
    return nats.server.log.parent / "store"


class TestNatsBroker(BrokerSuite):
    nats: NatsServer

    @pytest.fixture
    def broker(self, new_nats: NewNats) -> Broker:
        self.nats = new_nats()
        return broker_at(self.nats.url)

    async def damage(self, broker: Broker, position: int) -> None:
        self.nats.server.stop()
        [block] = rot.blocks(store_of(self.nats))
        rot.flip_bit(block, rot.positions_of(block, "ftgo.0.")[position - 1])
        self.nats.server.start()


@pytest.mark.parametrize("index", ["with its index", "without its index"])
async def test_a_file_that_is_cut_off_is_read_as_far_as_it_goes(new_nats: NewNats, index: str) -> None:
    nats = new_nats()
    broker = broker_at(nats.url)
    async with broker.connect() as log:
        await log.publish(publications(range(1, 21)))
    nats.server.stop()
    [block] = rot.blocks(store_of(nats))
    rot.cut(block, rot.positions_of(block, "ftgo.0.")[12])
    if index == "without its index":
        rot.forget_index(store_of(nats))
    nats.server.start()
    async with broker.connect() as log, log.read(0, after=0, filters=[CREATED], to_end=True) as feed:
        taken = []
        while batch := await feed.take(5, 10):
            taken += rows(batch)
        assert taken == list(range(1, 13))


async def test_no_server_is_a_fault_that_passes() -> None:
    with pytest.raises(BrokerUnavailable):
        async with broker_at("nats://127.0.0.1:1").connect():
            pass


async def test_without_a_keeper_nothing_is_read(new_nats: NewNats) -> None:
    url = new_nats().url
    unkept = NatsBroker(NatsAddress(url, FTGO), 1)
    with pytest.raises(BrokerUnavailable, match="no stream FTGO yet"):
        async with unkept.connect():
            pass
    async with broker_at(url).connect(), unkept.connect() as log:
        assert await log.message_at(1) is None
    async with unkept.connect() as log:
        assert await log.bounds() == Bounds(1, 0)
        with pytest.raises(BrokerUnavailable, match="keeper of the stream does not answer"):
            await log.message_at(1)
        with pytest.raises(BrokerUnavailable, match="keeper of the stream does not answer"):
            async with log.read(0, after=0, filters=[CREATED]):
                pass


async def test_the_stream_takes_new_limits_and_keeps_its_messages(new_nats: NewNats) -> None:
    url = new_nats().url
    async with broker_at(url).connect() as log:
        await log.publish(publications([1]))
    async with broker_at(url, limits=StreamLimits(1800.5, 1 << 20, duplicate_window=60)).connect() as log:
        assert await log.bounds() == Bounds(1, 1)
    async with await nats.connect(url) as client:
        config = (await client.jsm().stream_info(STREAM)).config
        assert (config.max_age, config.max_bytes, config.discard) == (1800.5, 1 << 20, "new")
        assert (config.storage, config.retention, config.duplicate_window) == ("file", "limits", 60)


async def test_publishing_may_take_long_as_long_as_acknowledgements_come(
    new_nats: NewNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "ACK_SECONDS", 1.0)
    async with (
        proxy(int(new_nats().url.rpartition(":")[2])) as between,
        broker_at(f"nats://127.0.0.1:{between.port}").connect() as log,
    ):
        await between.begin(Trouble(bytes_per_second=40_000))  # which 1000 acknowledgements need some seconds for
        assert await log.publish(publications(range(1, 1001))) == list(range(1, 1001))


async def test_another_count_of_partitions_is_refused(new_nats: NewNats) -> None:
    url = new_nats().url
    async with broker_at(url, partitions=4).connect():
        pass
    for broker in (broker_at(url, partitions=3), NatsBroker(NatsAddress(url, FTGO), 3)):
        with pytest.raises(PartitionsDiffer, match="has 4 partitions, this process is set to 3"):
            async with broker.connect():
                pass


async def test_what_the_server_will_never_take_is_told_from_what_it_takes(new_nats: NewNats) -> None:
    url = new_nats().url
    async with await nats.connect(url) as client:
        limit = client.max_payload
    async with broker_at(url).connect() as log:
        positions = await log.publish(
            [
                publication(1),
                publication(2, data="x" * limit),  # its headers make it too large
                publication(3, route="event.with a space"),
                publication(4, route="event..empty"),
                Publication(row_id="order-5", subject="0.event.x", headers={"not a token": "x"}, data="{}"),
                Publication(row_id="order-6", subject="0.event.x", headers={"ce-id": "y" * 70_000}, data="{}"),
                publication(7),
            ]
        )
        assert positions == [1, None, None, None, None, None, 2]


async def test_a_line_break_can_not_forge_a_header(new_nats: NewNats) -> None:
    forged = Publication(
        row_id="order-1", subject=subject_of(0, CREATED), headers={"ce-id": "1\r\nce-type: x", "ce-a": "\n"}, data="{}"
    )
    async with broker_at(new_nats().url).connect() as log, log.read(0, after=0, filters=[CREATED]) as feed:
        assert await log.publish([forged]) == [1]
        [received] = await feed.take(1, 5)
    assert received.headers == {ROW_ID_HEADER: "order-1", "ce-id": "1  ce-type: x", "ce-a": " "}


async def test_headers_that_others_have_written_are_read_as_they_mean_them(new_nats: NewNats) -> None:
    url = new_nats().url
    headers = b"NATS/1.0\r\nce-id:x\r\nce-a:\t b \r\nce-umlaut: \xe4\r\n\r\n"
    async with broker_at(url).connect() as log, log.read(0, after=0, filters=[CREATED]) as feed:
        _, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        subject = f"ftgo.{subject_of(0, CREATED)}"
        writer.write(f'CONNECT {{"headers":true}}\r\nHPUB {subject} {len(headers)} {len(headers) + 2}\r\n'.encode())
        writer.write(headers + b"{}\r\n")
        await writer.drain()
        [received] = await feed.take(1, 5)
        writer.close()
    assert received.headers == {"ce-id": "x", "ce-a": "b", "ce-umlaut": "\ufffd"}


async def test_the_largest_message_that_may_be_written_is_taken(new_nats: NewNats) -> None:
    headers = {f"ce-{number}": "x" * 1000 for number in range(20)}
    async with broker_at(new_nats().url).connect() as log:
        largest = Publication(row_id="r", subject="0.event.x", headers=headers, data="x" * MAX_DATA)
        assert await log.publish([largest]) == [1]


async def test_a_broker_that_takes_less_than_may_be_written_is_not_used(infra: Infra) -> None:
    with (
        infra.nats("max_payload: 1MB") as server,
        pytest.raises(BrokerUnavailable, match="max_payload is 1048576 bytes, and messages may have 4194304"),
    ):
        async with broker_at(server.url).connect():
            pass


async def test_of_large_messages_fewer_are_read_ahead(new_nats: NewNats, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "WINDOW_BYTES", 1_000_000)
    async with broker_at(new_nats().url).connect() as log:
        await log.publish([publication(number, data="x" * 100_000) for number in range(1, 101)])
        taken: list[str] = []
        async with log.read(0, after=0, filters=[CREATED]) as feed:
            while len(taken) < 100:
                await asyncio.sleep(0.01)  # it could read far ahead
                assert feed._queued_bytes <= 2_500_000
                taken += [message.row_id for message in await feed.take(3, 5)]
            assert await feed.take(1, 0.05) == []
        assert taken == [publication(number).row_id for number in range(1, 101)]


async def test_a_full_stream_refuses_and_keeps_what_it_has(new_nats: NewNats) -> None:
    async with broker_at(new_nats().url, limits=StreamLimits(3600, 100_000)).connect() as log:
        await log.publish(publications([1]))
        with pytest.raises(BrokerUnavailable, match="maximum bytes exceeded"):
            await log.publish([publication(number, data="x" * 10_000) for number in range(2, 20)])
        bounds = await log.bounds()
        assert bounds.first == 1


async def test_nothing_overtakes_what_a_full_stream_refuses(new_nats: NewNats) -> None:
    async with broker_at(new_nats().url, limits=StreamLimits(3600, 100_000)).connect() as log:
        large = [publication(number, data="x" * 10_000) for number in range(1, 11)]
        with pytest.raises(BrokerUnavailable, match="maximum bytes exceeded"):
            await log.publish([*large, publication(11)])
        assert (await log.bounds()).last == 9


async def test_a_lost_connection_ends_publishing_and_reading(new_nats: NewNats) -> None:
    server = new_nats()
    async with broker_at(server.url).connect() as log, log.read(0, after=0, filters=[CREATED]) as feed:
        waiting = asyncio.create_task(feed.take(10, 50))
        await log.publish(publications([1]))
        assert rows(await waiting) == [1]
        waiting = asyncio.create_task(feed.take(10, 50))
        await asyncio.sleep(0)
        server.server.kill()
        with pytest.raises(BrokerUnavailable):
            await waiting
        with pytest.raises(BrokerUnavailable):
            await log.publish(publications([2]))
        server.server.start()
        with pytest.raises(BrokerUnavailable):  # it never reconnects by itself
            await log.bounds()
    async with broker_at(server.url).connect() as log, log.read(0, after=1, filters=[CREATED]) as feed:
        await log.publish(publications([2]))
        assert rows(await take_exactly(feed, 1)) == [2]


async def test_a_server_that_does_not_answer_is_noticed(new_nats: NewNats, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "HEARTBEAT_SECONDS", 0.5)
    server = new_nats()
    async with broker_at(server.url).connect() as log, log.read(0, after=0, filters=[CREATED]) as feed:
        await log.publish(publications([1]))
        await take_exactly(feed, 1)
        server.server.pause()
        try:
            with pytest.raises(BrokerUnavailable, match="no heartbeat came"):
                await feed.take(1, 50)
        finally:
            server.server.resume()


async def test_heartbeats_keep_an_idle_feed_alive(new_nats: NewNats, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "HEARTBEAT_SECONDS", 0.2)
    monkeypatch.setattr(reader, "REQUEST_EXPIRES_SECONDS", 0.5)
    async with broker_at(new_nats().url).connect() as log, log.read(0, after=0, filters=[CREATED]) as feed:
        assert await feed.take(1, 2.5) == []  # several requests expire, and none is missed
        await log.publish(publications(range(1, 1001)))
        assert rows(await take_exactly(feed, 1000)) == list(range(1, 1001))


async def test_a_deleted_consumer_is_noticed(new_nats: NewNats) -> None:
    url = new_nats().url
    async with broker_at(url).connect() as log, log.read(0, after=0, filters=[CREATED]) as feed:
        async with await nats.connect(url) as client:
            [consumer] = await client.jsm().consumers_info(STREAM)
            await client.jsm().delete_consumer(STREAM, consumer.name)
        with pytest.raises(BrokerUnavailable):
            await feed.take(1, 50)


async def test_a_gap_is_noticed(new_nats: NewNats) -> None:
    async with broker_at(new_nats().url).connect() as log, log.read(0, after=0, filters=[CREATED]) as feed:
        process = Client._process_msg
        dropped = asyncio.Event()

        async def drop_one(client: Client, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
            if b"order-5\r\n" in (headers or b"") and not dropped.is_set():
                dropped.set()
                return
            await process(client, sid, subject, reply, data, headers)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Client, "_process_msg", drop_one)
            await log.publish(publications(range(1, 11)))
            with pytest.raises(BrokerUnavailable, match="message 5 of the consumer is missing"):
                await take_exactly(feed, 10)
        assert dropped.is_set()


async def test_a_lost_last_message_is_noticed(new_nats: NewNats, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "HEARTBEAT_SECONDS", 0.2)
    async with broker_at(new_nats().url).connect() as log, log.read(0, after=0, filters=[CREATED]) as feed:
        process = Client._process_msg

        async def drop(client: Client, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
            if b"order-1\r\n" not in (headers or b""):
                await process(client, sid, subject, reply, data, headers)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Client, "_process_msg", drop)
            await log.publish(publications([1]))
            with pytest.raises(BrokerUnavailable, match="last messages did not arrive"):
                await feed.take(1, 50)


async def test_a_stream_that_was_set_back_is_noticed_while_publishing(new_nats: NewNats) -> None:
    url = new_nats().url
    async with broker_at(url).connect() as log:
        await log.publish(publications([1, 2, 3]))
        async with await nats.connect(url) as client:
            await client.jsm().delete_stream(STREAM)
        async with broker_at(url).connect():  # makes it again
            pass
        with pytest.raises(BrokerUnavailable, match="went back from 3 to 1"):
            await log.publish(publications([4]))


async def test_a_missing_stream_is_a_fault(new_nats: NewNats) -> None:
    url = new_nats().url
    async with broker_at(url).connect() as log:
        async with await nats.connect(url) as client:
            await client.jsm().delete_stream(STREAM)
        with pytest.raises(BrokerUnavailable, match="there is no stream for these subjects"):
            await log.publish(publications([1]))
