"""Transactions that stay open while later ones commit: the ids of an outbox's rows are not in the order of commits."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AsyncExitStack
from random import Random
from uuid import UUID

from kernel.topology import BY_NAME, SERVICES
from shared.core.clock import utc_now
from shared.core.serialization import to_json
from shared.messaging.envelope import Envelope
from tools.chaos.fault import Fault
from tools.chaos.world import World
from tools.system.system import RELAY
from tools.verify.facts import Finding
from tools.verify.running import running_state

_SERVICE = "consumer"
_DATABASE = BY_NAME[_SERVICE].database
_TYPE = "consumer.AddressRemoved"
"""A type of message that no service reads: only its publication is checked."""
_TRANSACTIONS = 6
_KEYS = 3
_SEND = "insert into outbox (subject, key, headers, data) values ($1, $2, $3, '{}')"
_NEXT = "select id, headers::json ->> 'ce-id' from outbox where id > $1 order by id"


class LateCommit(Fault):
    """The first of several transactions ends last; the others end in any order, and some roll back."""

    name = "late-commit"
    summary = "transactions that stay open while later ones commit, and others that roll back"
    times = 4

    def __init__(self) -> None:
        self._committed: dict[str, list[str]] = defaultdict(list)
        self._rolled_back: set[str] = set()

    async def inject(self, world: World, random: Random) -> str:
        """Begin and write in one order, and commit in another; sometimes the relay is killed in between."""
        keys = [_id(random) for _ in range(_KEYS)]
        kill_at = random.choice([None, random.randrange(_TRANSACTIONS)])
        rolled_back = 0
        async with AsyncExitStack() as stack:
            transactions = []
            for _ in range(_TRANSACTIONS):
                connection = await stack.enter_async_context(world.admin(_DATABASE))
                transaction = connection.transaction()
                await transaction.start()
                sent = [(_id(random), key) for key in random.choices(keys, k=random.randint(1, 4))]
                for id_, key in sent:
                    message = _message(id_, key)
                    await connection.execute(_SEND, message.route, key, to_json(message.to_headers()))
                transactions.append((transaction, sent))
            first, *others = transactions
            for number, (transaction, sent) in enumerate([*random.sample(others, len(others)), first]):
                await asyncio.sleep(random.uniform(0.1, 0.4))
                if number == kill_at:
                    world.kill(RELAY)
                if random.random() < 0.3 and sent is not first[1]:
                    await transaction.rollback()
                    rolled_back += 1
                    self._rolled_back.update(id_ for id_, _ in sent)
                    continue
                await transaction.commit()
                for id_, key in sent:
                    self._committed[key].append(id_)
                await self._look(world)
        what = f"{_TRANSACTIONS} transactions, the first of which ended last, {rolled_back} rolled back"
        return what if kill_at is None else f"{what}, the relay killed meanwhile"

    async def check(self, world: World) -> Sequence[Finding]:
        """Every committed row was published, each key's in the order of their commits, and no other row."""
        published = await self._published(world)
        at = {id_: place for place, id_ in reversed([*enumerate(published)])}
        found = [
            Finding("fault", "a row was published that was rolled back", (id_,))
            for id_ in self._rolled_back & at.keys()
        ]
        for key, ids in self._committed.items():
            found += [Finding("fault", "a committed row was not published", (key, id_)) for id_ in ids if id_ not in at]
            places = [at[id_] for id_ in ids if id_ in at]
            if places != sorted(places):
                found.append(Finding("fault", "rows were not published in the order of their commits", (key,)))
        return found

    async def _look(self, world: World) -> None:
        """Called after each commit."""

    async def _published(self, world: World) -> list[str]:
        """The ids of all messages, in the order in which they were published."""
        databases = [world.system.database(service) for service in SERVICES]
        async with running_state(databases, world.nats_address) as state:
            return [sent.message_id async for sent in state.stream()]


class PollingCursor(LateCommit):
    """The control: rows are read by a poller that remembers the last id, and looks for more after each commit."""

    name = "late-commit-polling"
    summary = "the same, read with a cursor on the ids of the outbox's rows instead of by the relay"
    control = True

    def __init__(self) -> None:
        super().__init__()
        self._last = 0
        self._read: list[str] = []

    async def _look(self, world: World) -> None:
        async with world.admin(_DATABASE) as connection:
            for row_id, message_id in await connection.fetch(_NEXT, self._last):
                self._last = row_id
                self._read.append(message_id)

    async def _published(self, world: World) -> list[str]:
        await self._look(world)
        return self._read


def _id(random: Random) -> str:
    return str(UUID(int=random.getrandbits(128), version=4))


def _message(id_: str, key: str) -> Envelope:
    return Envelope(
        id=id_,
        type=_TYPE,
        kind="event",
        source=_SERVICE,
        key=key,
        data="{}",
        time=utc_now(),
        correlation_id=id_,
        causation_id=id_,
    )
