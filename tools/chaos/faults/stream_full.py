"""The stream has reached its `max_bytes`, and accepts no more messages."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from random import Random
from typing import ClassVar

from nats.js.errors import APIError

from kernel.topology import BY_NAME
from shared.adapters.nats.connection import NatsConnection
from tools.chaos.fault import Fault
from tools.chaos.world import World
from tools.system.system import RELAY
from tools.verify.facts import Finding

_BALLAST = "0.event.chaos.Ballast"
_PIECES = (1 << 20, 1 << 15, 1 << 10)
"""Sizes in bytes. The last is larger than many of our messages: some still fit although earlier ones did not."""
_LENGTHS = (1, 900, 1, 400, 1)
_RENAMED = "select data ->> 'name' from events where id = $1 and type = 'accounting.AccountRenamed' order by version"


class StreamFull(Fault):
    """Fills the stream with messages that no service reads, and removes them again later."""

    name = "stream-full"
    summary = "the stream has reached max_bytes: what is said stays in the outboxes, in order, until there is room"
    times = 3
    settings: ClassVar[Mapping[str, str]] = {"FTGO_STREAM_MAX_BYTES": str(64 << 20)}

    def __init__(self) -> None:
        self._consumer = ""
        self._names: list[str] = []

    async def begin(self, world: World) -> None:
        """Register a consumer, whose messages have an order."""
        answer = await world.ask("consumer", "POST", "/api/consumers", {"name": "Orderly"})
        self._consumer = answer.raise_for_status().json()["id"]

    async def inject(self, world: World, random: Random) -> str:
        """Fill the stream, go on until the relay has noticed, and make room."""
        async with world.nats() as connection:
            names = connection.names.log
            await _fill(connection)
            said = 0
            while not await _is_noticed(world) or said < 2 * len(_LENGTHS):
                await self._rename(world, random)
                said += 1
            await asyncio.sleep(random.uniform(0.5, 2.0))
            await connection.jetstream.purge_stream(names.stream, subject=names.to_wire(_BALLAST))
        return f"the stream was full, {said} messages of one key were said meanwhile"

    async def check(self, world: World) -> Sequence[Finding]:
        """Check that the messages of one key were received in order."""
        async with world.admin(BY_NAME["accounting"].database) as connection:
            seen = [name for (name,) in await connection.fetch(_RENAMED, self._consumer)]
        if seen == self._names:
            return ()
        wrong = [name.rstrip() for name in seen if name not in self._names]
        text = f"{len(self._names)} messages were sent, and {len(seen)} handled, in another order: {_numbers(seen)}"
        return [Finding("fault", text, (self._consumer, *wrong))]

    async def _rename(self, world: World, random: Random) -> None:
        """Rename the consumer, with names of different lengths, so that messages of one key differ in size."""
        name = f"{len(self._names)} {'x' * random.choice(_LENGTHS)}"
        answer = await world.ask("consumer", "PUT", f"/api/consumers/{self._consumer}", {"name": name})
        answer.raise_for_status()
        self._names.append(name)


def _numbers(names: Sequence[str]) -> str:
    return " ".join(name.split()[0] for name in names)


async def _fill(connection: NatsConnection) -> None:
    stream, subject = connection.client.jetstream(), connection.names.log.to_wire(_BALLAST)
    for size in _PIECES:
        with suppress(APIError):
            while True:
                await stream.publish(subject, bytes(size))


async def _is_noticed(world: World) -> bool:
    return "maximum bytes" in await world.supervisor.children[RELAY].part.probe()
