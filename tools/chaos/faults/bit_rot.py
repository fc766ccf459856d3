"""A file of the broker's store is damaged. The broker skips what is damaged, and does not report it."""

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import ClassVar

from kernel.topology import BY_NAME, FTGO
from shared.adapters.nats.names import NatsNames
from shared.adapters.nats.stream import stream_bounds
from shared.messaging.broker import subject_of
from tools.chaos import rot
from tools.chaos.fault import Fault
from tools.chaos.world import PUBLISHING, World
from tools.system.system import RELAY
from tools.verify.models import model_of

_UNREAD = 60
"""The least number of messages that a service has not read when a file is damaged."""
_A_BIT, _A_BIT_AND_THE_INDEX, _THE_END = "a bit", "a bit and the index", "the end"


class BitRot(Fault):
    """Damages a message that a service has not read, so that it must come directly from its sender's outbox."""

    name = "bit-rot"
    summary = "a bit of a file of NATS' messages changes, or the file's end is lost, before a service has read it"
    times = 3
    away: ClassVar[Sequence[str]] = ("kitchen", "accounting", "delivery", "order_history")
    """The services that may be down and miss messages; new orders do not need them."""

    def __init__(self) -> None:
        self._deck: list[str] = []

    async def inject(self, world: World, random: Random) -> str:
        """Take a service down while messages come in, and damage one that it has not read."""
        if not self._deck:
            kinds = (_A_BIT, _A_BIT_AND_THE_INDEX, _THE_END)
            self._deck = random.sample(kinds, len(kinds))
        kind, away = self._deck.pop(), random.choice(self.away)
        await world.take_down(away)
        read = _messages_for(away, world.nats_folder)
        end = await self._end(world)

        async def has_grown() -> bool:
            return await self._end(world) >= end + _UNREAD

        await world.until(has_grown, f"no {_UNREAD} messages were published")
        await self._is_confirmed(world)
        await world.take_down("nats")
        unread = [message for message in _messages_for(away, world.nats_folder) if message not in read]
        if unread:
            _damage(world.nats_folder, kind, *random.choice(unread))
        else:
            world.found(f"nothing was published that {away} had not read: nothing was tried")
        await self.lose_too(world)
        await world.bring_up("nats")
        await world.bring_up(away)
        await world.ready("nats", RELAY, away)
        return f"{kind} of a file of messages was lost, which {away} had not read"

    async def lose_too(self, world: World) -> None:
        """A hook for the control, which loses more. Does nothing here."""

    async def _is_confirmed(self, world: World) -> None:
        """Wait until no replication slot would send again what has been published."""
        async with world.admin(BY_NAME["order"].database) as database:
            newest = await database.fetchval("select max(id) from outbox")

            async def is_covered() -> bool:
                return bool(await database.fetchval("select max(row_id) >= $1 from relay_checkpoints", newest))

            await world.until(is_covered, "the relay writes no checkpoints")

    async def _end(self, world: World) -> int:
        async with world.nats() as connection:
            return (await stream_bounds(connection)).last


class BitRotWithoutOutboxes(BitRot):
    """The control: the outboxes keep nothing."""

    name = "bit-rot-without-outboxes"
    summary = "the same when the outboxes keep nothing of what has been published"
    times = 1
    control = True
    away: ClassVar[Sequence[str]] = ("order_history",)  # no sender publishes again what it has missed

    async def lose_too(self, world: World) -> None:
        """Delete what a retention of zero would have deleted."""
        for service in PUBLISHING:
            async with world.admin(BY_NAME[service].database) as database:
                await database.execute("delete from outbox")


def _messages_for(service: str, store: Path) -> list[tuple[Path, int]]:
    """Where the messages are that a service reads: files and offsets, in order."""
    subjects = [NatsNames(FTGO).log.to_wire(subject_of(0, route)) for route in model_of(service).routes]
    return [
        (block, at)
        for block in rot.blocks(store)
        for at in sorted({at for subject in subjects for at in rot.positions_of(block, subject)})
    ]


def _damage(store: Path, kind: str, block: Path, message: int) -> None:
    if kind == _THE_END:
        rot.cut(block, message)
        return
    rot.flip_bit(block, message)
    if kind == _A_BIT_AND_THE_INDEX:
        rot.forget_index(store)
