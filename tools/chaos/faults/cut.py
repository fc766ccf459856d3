"""The network between the programs and their servers is bad."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from random import Random
from typing import ClassVar

from kernel.topology import BY_NAME, SERVICES
from tools.chaos.fault import Fault
from tools.chaos.proxy import Direction, Proxy, Trouble, proxy
from tools.chaos.world import World
from tools.system.system import RELAY, Arrangement, System
from tools.verify.facts import Finding
from tools.verify.running import running_state

_WINDOW = 1.0
"""Seconds for which the broker drops duplicates."""
_SECONDS = (1.0, 3.0, 6.0)
_LOST_ACKS = 5
"""The least number of messages that the broker stores and whose acknowledgements are lost."""
_HELD = frozenset(Direction)


@dataclass(frozen=True)
class _Bad:
    """A way in which the network is bad. When it is over, connections have ended, or deliver what was held back."""

    name: str
    trouble: Trouble
    ends: bool


_WAYS = (
    _Bad("nothing connects", Trouble(refuses=True), ends=True),
    _Bad("nothing passes, then all of it", Trouble(held=_HELD), ends=False),
    _Bad("nothing passes, and what was on its way is lost", Trouble(held=_HELD), ends=True),
    _Bad("answers are lost", Trouble(held=frozenset({Direction.TO_CLIENT})), ends=True),
    _Bad("answers are late", Trouble(held=frozenset({Direction.TO_CLIENT})), ends=False),
    _Bad("slow", Trouble(bytes_per_second=50_000, delay=0.05), ends=False),
)
_LOSE_ACKS = _Bad("the broker's acknowledgements are lost", Trouble(loses_acks=True), ends=False)


class Cut(Fault):
    """Proxies between each program and each of its servers let less through, or nothing."""

    name = "cut"
    summary = "the network to PostgreSQL or NATS drops, stalls, goes one way, is slow, or loses only acknowledgements"
    times = len(_WAYS) + 1
    settings: ClassVar[Mapping[str, str]] = {"FTGO_DUPLICATE_WINDOW_SECONDS": f"{_WINDOW:g}"}

    def __init__(self) -> None:
        self._deck: list[_Bad] = []
        self._proxies: dict[str, dict[str, Proxy]] = {"PostgreSQL": {}, "NATS": {}}
        self._has_lost_acks = False

    async def arrange(self, system: System, stack: AsyncExitStack) -> Arrangement:
        """A proxy for each program and server."""
        parts = [part for name in (RELAY, *BY_NAME) for part in system.parts_of(name)]
        for part in parts:
            for server, port in (("PostgreSQL", system.postgres.port), ("NATS", system.nats.port)):
                made = await stack.enter_async_context(proxy(port, speaks_nats=(server, part) == ("NATS", RELAY)))
                self._proxies[server][part] = made
        ports = {
            server: {part: each.port for part, each in proxies.items()} for server, proxies in self._proxies.items()
        }
        return replace(system.arrangement, postgres_ports=ports["PostgreSQL"], nats_ports=ports["NATS"])

    async def inject(self, world: World, random: Random) -> str:
        """Break the network between one program, or all, and one server. Each way comes once before any is repeated."""
        if not self._deck:
            self._deck = random.sample(ways := self.ways(), len(ways))
        bad = self._deck.pop()
        if bad is _LOSE_ACKS:
            return await self._lose_acks(world)
        server = random.choice(list(self._proxies))
        proxies = self._proxies[server]
        who = random.choice(["all", RELAY, *random.sample(list(proxies), 2)])
        victims = list(proxies.values()) if who == "all" else [proxies[who]]
        seconds = random.choice(_SECONDS)
        await self._pass_through(bad, victims, seconds)
        return f"{bad.name} between {who} and {server} for {seconds:g} s"

    def ways(self) -> Sequence[_Bad]:
        """The ways in which the network is bad in one round."""
        return (*_WAYS, _LOSE_ACKS)

    async def _pass_through(self, bad: _Bad, victims: Sequence[Proxy], seconds: float) -> None:
        for each in victims:
            await each.begin(bad.trouble)
        try:
            await asyncio.sleep(seconds)
        finally:
            for each in victims:
                if bad.ends:
                    each.cut()
                await each.end()

    async def _lose_acks(self, world: World) -> str:
        """Lose acknowledgements until the relay stops waiting, and retries after the broker's duplicate window."""
        between = self._proxies["NATS"][RELAY]
        lost, connections = between.lost_acks, between.accepted

        async def has_tried_again() -> bool:
            return between.lost_acks >= lost + _LOST_ACKS and between.accepted > connections

        await between.begin(_LOSE_ACKS.trouble)
        try:
            await world.until(has_tried_again, "the relay goes on without acknowledgements")
            await self.lose_too(world)
        finally:
            await between.end()
        self._has_lost_acks = True
        return f"{between.lost_acks - lost} acknowledgements of the broker were lost"

    async def lose_too(self, world: World) -> None:
        """A hook for the control, which loses more. Does nothing here."""

    async def check(self, world: World) -> Sequence[Finding]:
        """Check that messages whose acknowledgement was lost were stored twice; otherwise nothing was tested."""
        if not self._has_lost_acks:
            return ()
        databases = [world.system.database(service) for service in SERVICES]
        async with running_state(databases, world.nats_address) as state:
            stored = Counter([sent.row_id async for sent in state.stream()])
        if max(stored.values()) > 1:
            return ()
        return [Finding("fault", "the broker has dropped all that came again: its window was not exceeded")]


class CutWithoutInboxes(Cut):
    """The control: without inboxes, what the broker stores twice is handled twice."""

    name = "cut-without-inboxes"
    summary = "acknowledgements are lost while the services forget what they have handled"
    times = 1
    control = True

    def ways(self) -> Sequence[_Bad]:
        """Only the way that makes the broker store messages twice."""
        return [_LOSE_ACKS]

    async def lose_too(self, world: World) -> None:
        """Delete what an inbox that keeps nothing would have deleted."""
        for service in SERVICES:
            async with world.admin(service.database) as database:
                await database.execute("delete from inbox")
