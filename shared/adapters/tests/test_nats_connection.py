"""A connection to a real nats-server: what comes of requests and cancellations when it ends."""

import asyncio
import gc
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import ConnectionClosedError, NoRespondersError

from kernel.topology import FTGO
from shared.adapters.nats.connection import NatsAddress, PlainClient, connect
from shared.adapters.nats.names import NatsNames
from tests.support.infra import NatsServer

NewNats = Callable[[], NatsServer]


async def test_a_request_ends_with_the_connection_that_its_answer_would_come_on(new_nats: NewNats) -> None:
    server = new_nats()
    asked = asyncio.Event()

    async def say_nothing(_: Msg) -> None:
        asked.set()

    async with connect(NatsAddress(server.url, FTGO)) as connection:
        await connection.client.subscribe("question", cb=say_nothing)
        asking = asyncio.create_task(connection.client.request("question", timeout=3600))
        await asked.wait()
        server.server.kill()
        with pytest.raises(ConnectionClosedError):
            await asking


async def test_a_message_that_a_callback_fails_at_ends_the_connection(new_nats: NewNats) -> None:
    async def fail(_: Msg) -> None:
        raise KeyError("bug")

    async with connect(NatsAddress(new_nats().url, FTGO)) as connection:
        await connection.client.subscribe("subject", cb=fail)
        await connection.client.publish("subject", b"")
        assert await connection.lost == "a message was not handled: KeyError('bug')"


async def test_nothing_is_said_of_a_failed_request_that_nobody_waits_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def answered_as_it_is_cancelled(*_: Any, **__: Any) -> Msg:
        asked.set()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        raise NoRespondersError

    monkeypatch.setattr(Client, "request", answered_as_it_is_cancelled)
    loop, asked = asyncio.get_running_loop(), asyncio.Event()
    said: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: said.append(context))

    async def ask_and_give_up() -> None:
        asking = asyncio.create_task(PlainClient(loop.create_future(), NatsNames(FTGO)).request("a.subject"))
        await asked.wait()
        asking.cancel()
        await asyncio.wait([asking])
        assert asking.cancelled()

    await ask_and_give_up()
    gc.collect()
    assert said == []


@pytest.mark.parametrize("call", ["connect", "close"])
async def test_a_cancellation_is_none_the_less_for_being_swallowed(
    call: str, nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, original = asyncio.Event(), getattr(PlainClient, call)

    async def deaf(client: PlainClient, *arguments: Any, **options: Any) -> None:
        begun.set()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        await original(client, *arguments, **options)

    monkeypatch.setattr(PlainClient, call, deaf)

    async def use() -> None:
        async with connect(NatsAddress(nats_url, FTGO)):
            pass

    using = asyncio.create_task(use())
    await begun.wait()
    using.cancel()
    with pytest.raises(asyncio.CancelledError):
        await using
