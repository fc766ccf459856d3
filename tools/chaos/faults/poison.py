"""Messages that nobody can handle, each at the head of one key among many: renames of consumers, read by accounting."""

import asyncio
import time
from collections.abc import Sequence
from random import Random
from uuid import UUID

from kernel.topology import BY_NAME
from shared.core.clock import utc_now
from shared.core.serialization import to_json
from shared.messaging.envelope import Envelope
from tools.chaos.fault import Fault
from tools.chaos.world import World
from tools.verify.facts import Finding

_FAILS, _UNDECODABLE, _UNHANDLED = "always fails", "can't be decoded", "is of a type that nobody handles"
_BEHIND = 5
_OTHERS = 40
_CONCURRENCY = 8
_SENDER, _READER = BY_NAME["consumer"].database, BY_NAME["accounting"].database
_UPDATED = "consumer.ConsumerUpdated"

_BREAK = """
create function chaos() returns trigger language plpgsql as $$ begin raise exception 'poison'; end $$;
create trigger chaos before insert on events for each row
    when (new.id = '{id}' and new.data ->> 'name' = 'poison') execute function chaos()
"""
_MEND = "drop trigger chaos on events; drop function chaos()"
_SEND = "insert into outbox (subject, key, headers, data) values ($1, $2, $3, $4)"
_SEND_AGAIN = """
insert into outbox (subject, key, headers, data)
select subject, key, headers, data from outbox
where key = $1 and headers::json ->> 'ce-type' = $2 and data like '{%' order by id
"""
_WAITING = "select message_id, parked_at is not null as is_parked from set_aside where key = $1 order by seq"
_RENAMED = "select data ->> 'name' from events where id = $1 and type = 'accounting.AccountRenamed' order by version"
_ALL_RENAMED = "select count(*) from events where type = 'accounting.AccountRenamed' and data ->> 'name' = $1"


class Poison(Fault):
    """Messages behind a poison message wait, in order, until an operator redrives or drops it; all other keys go on."""

    name = "poison"
    summary = "messages that always fail, can't be decoded or have no handler: their key waits in order, no other does"
    times = 3

    def __init__(self) -> None:
        self._deck: list[str] = []
        self._others: list[str] = []
        self._renamed: dict[str, list[str]] = {}

    async def begin(self, world: World) -> None:
        """Register the other consumers, whose messages must not wait."""
        for number in range(_OTHERS):
            self._others.append(await _register(world, f"Other {number}"))

    async def inject(self, world: World, random: Random) -> str:
        """Send a poison message of the next kind. The inbox has all waiting messages, so duplicates change nothing."""
        if not self._deck:
            self._deck = random.sample([_FAILS, _UNDECODABLE, _UNHANDLED], 3)
        kind = self._deck.pop()
        before = await self._rename_others(world, f"before {random.random()}")
        key = await _register(world, "Poisoned")
        names = [f"{number} {random.random()}" for number in range(_BEHIND)]
        await _poison(world, kind, key, UUID(int=random.getrandbits(128), version=4))
        for name in names:
            await _rename(world, key, name)
        await world.until(lambda: _waits(world, key), f"what is behind a message that {kind} does not wait")
        async with world.admin(_SENDER) as sender:
            await sender.execute(_SEND_AGAIN, key, _UPDATED)
        beside = await self._rename_others(world, f"beside {random.random()}")
        await world.until(lambda: _waits(world, key, parked=True), f"a message that {kind} is not parked")
        if overtaking := await _names_of(world, key):
            world.found(f"{len(overtaking)} messages have overtaken one that {kind}", key)

        head = await _head(world, key)
        if kind == _FAILS:
            async with world.admin(_READER) as reader:
                await reader.execute(_MEND)
            await _repair(world, "redrive", head)
            names.insert(0, "poison")
        else:
            await _repair(world, "drop", head)
        self._renamed[key] = names

        async def all_are_handled() -> bool:
            return len(await _names_of(world, key)) >= len(names)

        await world.until(all_are_handled, f"what was behind a message that {kind} is not handled")
        return f"one that {kind}, {_BEHIND} behind it; others at {beside:.0f} messages/s beside it, {before:.0f} before"

    async def check(self, world: World) -> Sequence[Finding]:
        """Check that each key's messages were handled in order, and once."""
        return [
            Finding("fault", f"handled as {seen}, sent as {names}", (key,))
            for key, names in self._renamed.items()
            if (seen := await _names_of(world, key)) != names
        ]

    async def _rename_others(self, world: World, name: str) -> float:
        """Rename all other consumers, and wait until accounting has handled it; returns messages per second."""
        free = asyncio.Semaphore(_CONCURRENCY)

        async def rename(id_: str) -> None:
            async with free:
                await _rename(world, id_, name)

        async def all_are_renamed() -> bool:
            async with world.admin(_READER) as reader:
                return bool(await reader.fetchval(_ALL_RENAMED, name) == _OTHERS)

        began = time.monotonic()
        await asyncio.gather(*map(rename, self._others))
        await world.until(all_are_renamed, "the other keys wait too")
        return _OTHERS / (time.monotonic() - began)


async def _poison(world: World, kind: str, key: str, id_: UUID) -> None:
    if kind == _FAILS:
        async with world.admin(_READER) as reader:
            await reader.execute(_BREAK.format(id=key))
        await _rename(world, key, "poison")
        return
    message = Envelope(
        id=f"{id_}",
        type=_UPDATED if kind == _UNDECODABLE else "consumer.ConsumerForgotten",
        kind="event",
        source="consumer",
        key=key,
        data="not json" if kind == _UNDECODABLE else "{}",
        time=utc_now(),
        correlation_id=f"{id_}",
        causation_id=f"{id_}",
    )
    async with world.admin(_SENDER) as sender:
        await sender.execute(_SEND, f"event.{_UPDATED}", key, to_json(message.to_headers()), message.data)


async def _register(world: World, name: str) -> str:
    """Register a consumer, and wait until its account exists; returns its id."""
    answer = await world.ask("consumer", "POST", "/api/consumers", {"name": name})
    answer.raise_for_status()
    id_ = str(answer.json()["id"])

    async def has_account() -> bool:
        return (await world.ask("accounting", "GET", f"/api/accounts/{id_}")).is_success

    await world.until(has_account, "a consumer has no account")
    return id_


async def _rename(world: World, id_: str, name: str) -> None:
    (await world.ask("consumer", "PUT", f"/api/consumers/{id_}", {"name": name})).raise_for_status()


async def _waits(world: World, key: str, *, parked: bool = False) -> bool:
    """Whether the poison message and all behind it wait; with `parked`, also whether it waits for an operator."""
    async with world.admin(_READER) as reader:
        rows = await reader.fetch(_WAITING, key)
    return len(rows) == 1 + _BEHIND and (rows[0]["is_parked"] or not parked)


async def _head(world: World, key: str) -> str:
    async with world.admin(_READER) as reader:
        return str(await reader.fetchval(_WAITING, key))


async def _names_of(world: World, key: str) -> list[str]:
    async with world.admin(_READER) as reader:
        return [name for (name,) in await reader.fetch(_RENAMED, key)]


async def _repair(world: World, action: str, message_id: str) -> None:
    """Redrive or drop a parked message, as `./ftgo parked` does."""
    body = {"operator": "chaos", "reason": "the cause is mended", "id": message_id}
    (await world.ask("accounting", "POST", f"/admin/parked/{action}", body, admin=True)).raise_for_status()
