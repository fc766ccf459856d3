"""The stream's keeper, when the stream or the server goes away."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from kernel.topology import FTGO
from shared.adapters.nats import keeper as module
from shared.adapters.nats.broker import NatsBroker
from shared.adapters.nats.connection import NatsAddress, connect
from shared.adapters.nats.keeper import Keeper
from shared.adapters.nats.stream import StreamLimits, stored_partitions
from shared.messaging.broker import BrokerUnavailable
from tests.support.infra import NatsServer


@asynccontextmanager
async def running(server: NatsServer) -> AsyncIterator[Keeper]:
    keeper = Keeper(NatsAddress(server.url, FTGO), 1, StreamLimits(3600, 1 << 26), reads={})
    task = asyncio.create_task(keeper.run())
    try:
        yield keeper
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


STREAM = "FTGO"


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.02)


async def test_a_stream_that_was_removed_is_made_again(
    new_nats: Callable[[], NatsServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.05)
    server = new_nats()
    async with running(server) as keeper, connect(NatsAddress(server.url, FTGO)) as operator:
        await keeper.tried.wait()
        await operator.jetstream.delete_stream(STREAM)
        while await stored_partitions(operator) is None:
            await asyncio.sleep(0.02)


async def test_it_says_that_the_server_is_away_and_comes_back_with_it(new_nats: Callable[[], NatsServer]) -> None:
    server = new_nats()
    async with running(server) as keeper:
        await until(lambda: keeper.waiting_for is None)
        await asyncio.to_thread(server.server.kill)
        await until(lambda: keeper.waiting_for is not None)
        await asyncio.to_thread(server.server.start)
        await until(lambda: keeper.waiting_for is None)
        async with NatsBroker(NatsAddress(server.url, FTGO), 1).connect() as log:
            assert await log.message_at(1) is None


async def test_a_question_that_it_fails_at_is_answered_with_that(
    new_nats: Callable[[], NatsServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = new_nats()
    async with running(server) as keeper:
        await until(lambda: keeper.waiting_for is None)
        async with NatsBroker(NatsAddress(server.url, FTGO), 1).connect() as log:
            with monkeypatch.context() as broken:
                broken.setattr(module, "stored_message", None)
                with pytest.raises(BrokerUnavailable, match="the keeper of the stream failed: TypeError"):
                    await log.message_at(1)
            assert keeper.waiting_for is None
            assert await log.message_at(1) is None


async def test_a_keeper_that_is_just_being_started_is_waited_for(new_nats: Callable[[], NatsServer]) -> None:
    server = new_nats()
    async with running(server) as keeper:
        await until(lambda: keeper.waiting_for is None)
    async with NatsBroker(NatsAddress(server.url, FTGO), 1).connect() as log:
        asking = asyncio.create_task(log.message_at(1))
        await asyncio.sleep(0)  # the question is out before there is anybody to answer it
        async with running(server):
            assert await asking is None


async def test_without_a_server_it_waits(new_nats: Callable[[], NatsServer]) -> None:
    server = new_nats()
    server.server.stop()
    async with running(server) as keeper:
        await keeper.tried.wait()
        assert keeper.waiting_for is not None
        assert keeper.waiting_for.startswith("NATS: ")
        with pytest.raises(BrokerUnavailable):
            async with NatsBroker(NatsAddress(server.url, FTGO), 1).connect():
                pass
