"""A service that writes down what it hears, in replicas that each read one partition."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Column, Integer, MetaData, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from shared.adapters.nats.stream import StreamLimits
from shared.core.clock import SteadyClock, utc_now
from shared.core.policy import Policy
from shared.eventsourcing.aggregate import Entity
from shared.messaging.broker import Broker, Mark, Publication, subject_of
from shared.processing.dispatcher import Dispatcher
from shared.processing.subscription import Subscription
from shared.tests.contracts import Heard, WalletId
from shared.tests.wallets import Behaviour, Owner, Tally, Wallet, WalletUnitOfWork, handlers, received, wallet_units

LEASE = timedelta(seconds=1)
LIMITS = StreamLimits(max_age=3600, max_bytes=1 << 26)
HEARD = "event.tests.Heard"

_metadata = MetaData()
TABLES: dict[type[Entity], Table] = {
    Owner: Table(
        "owners",
        _metadata,
        Column("id", Text, primary_key=True),
        Column("version", Integer),
        Column("name", Text),
        Column("wallets", JSONB),
    ),
    Tally: Table(
        "tallies",
        _metadata,
        Column("id", Text, primary_key=True),
        Column("version", Integer),
        Column("sequence", Integer),
        Column("total", Integer),
    ),
}


class Replica:
    """One process of the service, as far as its subscription goes."""

    def __init__(
        self,
        sessions: Any,
        broker: Broker,
        heard: Behaviour,
        lease: timedelta = LEASE,
        policy: Policy = Policy(),  # noqa: B008 - it can't be changed
        **options: Any,
    ) -> None:
        dispatcher = Dispatcher[WalletUnitOfWork](handlers(heard=heard), policy, utc_now)
        units = wallet_units(sessions, utc_now, Policy())
        self.subscription = Subscription(
            0, [HEARD], sessions=sessions, broker=broker, units=units.on, dispatcher=dispatcher, clock=utc_now,
            steady=SteadyClock(), lease=lease, batch_size=50, **options,
        )  # fmt: skip
        self.units = units
        self.task = asyncio.create_task(self.subscription.run())

    async def stop(self) -> None:
        await self.subscription.stop(self.task)

    async def die(self) -> None:
        """As by SIGKILL: nothing is released. What the kernel does then, to close its connections, is done too."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def notes(self) -> list[str]:
        async with self.units.begin() as uow:
            wallet = await uow.wallets.find("w")
            return [] if wallet is None else wallet.notes

    async def position(self) -> Mark | None:
        async with self.units.begin() as uow:
            return await uow.transaction.positions.get(0)


async def note(event: Heard, uow: WalletUnitOfWork) -> None:
    """Writes down what was heard."""
    wallet = await uow.wallets.find(event.wallet_id) or await uow.wallets.add(Wallet(id=event.wallet_id))
    wallet.note(event.text)


def heard(number: int, id_: str = "", row: str = "") -> Publication:
    message = received(Heard(wallet_id=WalletId("w"), text=str(number)), id_ or f"m{number}")
    return Publication(
        row_id=row or f"row-{number}", subject=subject_of(0, HEARD), headers=message.headers, data=message.data
    )


async def publish(broker: Broker, *publications: Publication) -> None:
    async with broker.connect() as connection:
        await connection.publish(publications)


def texts(numbers: Sequence[int]) -> list[str]:
    return [str(number) for number in numbers]


async def eventually(condition: Callable[[], Awaitable[Any]]) -> None:
    """The test's time limit ends it when the condition never comes true."""
    while not await condition():
        await asyncio.sleep(0.01)


async def heard_all(replica: Replica, numbers: Sequence[int]) -> None:
    async def all_of_them() -> bool:
        if replica.task.done():
            replica.task.result()
        return len(await replica.notes()) >= len(numbers)

    await eventually(all_of_them)
    assert await replica.notes() == texts(numbers)
