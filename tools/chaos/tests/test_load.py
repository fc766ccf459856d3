"""The load on a system in memory whose clients often get no answer: what they write down is true."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import httpx
import pytest

from kernel.topology import BY_NAME
from shared.testing.system import MemorySystem
from tools.chaos.load import Load
from tools.chaos.record import Outcome
from tools.demo.api import Api
from tools.verify.memory import MemorySystemState

ORDERS = 60


class Unreliable(httpx.AsyncBaseTransport):
    """Some requests don't arrive, and some answers don't."""

    def __init__(self, service: httpx.AsyncClient, random: Random) -> None:
        self.service = service
        self.random = random
        self.reliable = True

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        fate = 1.0 if self.reliable else self.random.random()
        if fate < 0.1:
            raise httpx.ConnectError("nobody there")
        answer = await self.service.request(
            request.method, request.url.raw_path.decode(), content=request.content, headers=request.headers
        )
        if fate < 0.25:
            raise httpx.ReadError("it has gone")
        return answer


@asynccontextmanager
async def living(system: MemorySystem) -> AsyncIterator[None]:
    """Messages travel by themselves in the block, and all have arrived at its end."""

    async def live() -> None:
        while True:
            await system.settle()
            await asyncio.sleep(0.01)

    living = asyncio.create_task(live())
    try:
        yield
    finally:
        living.cancel()
        await asyncio.gather(living, return_exceptions=True)
        await system.settle()


@pytest.mark.time_limit(60)
async def test_what_the_clients_know_is_true_and_a_loss_is_seen() -> None:
    random = Random(1)
    async with MemorySystem(BY_NAME) as system:
        transports = {name: Unreliable(system.client(name), random) for name in system.services}
        clients = {
            name: httpx.AsyncClient(transport=each, base_url=f"http://{name}") for name, each in transports.items()
        }
        load = Load(Api(clients, lambda: asyncio.sleep(0.01)), "1", rate=60)
        async with living(system):
            await load.open_town()
            for transport in transports.values():
                transport.reliable = False
            running = asyncio.create_task(load.run())
            while len(load.record.placed) < ORDERS:
                await asyncio.sleep(0.01)
            load.enough()
            for transport in transports.values():
                transport.reliable = True
            await running
        state = MemorySystemState({name: service.database for name, service in system.services.items()}, system.broker)
        assert await load.record.compare(state) == []
        assert all(load.record.count(outcome) for outcome in Outcome)

        lost = next(order.order_id for order in load.record.placed if order.order_id)
        del system.services["order"].database.events["Order", lost]
        assert "an acknowledged order is missing" in [each.text for each in await load.record.compare(state)]
