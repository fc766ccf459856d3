"""A service that exists in tests only: wallets, with an aggregate, rows, handlers and a unit of work."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, NewType, assert_never

from shared.adapters.memory.database import MemoryDatabase
from shared.core.clock import Clock
from shared.core.errors import FailedPrecondition, NotFound, NotYet
from shared.core.messages import Event, Message, Reply
from shared.core.policy import Policy
from shared.core.serialization import to_json
from shared.eventsourcing.aggregate import Aggregate, Entity, RecordingEntity
from shared.messaging.envelope import Envelope, Received
from shared.messaging.handlers import Handlers, handles
from shared.processing.dispatcher import Dispatcher
from shared.processing.partition import HeldPartition, Lease
from shared.testing.system import VirtualClock
from shared.tests.contracts import (
    Balance,
    Deposit,
    Deposited,
    Heard,
    Nudge,
    WalletId,
    WalletOpened,
    Withdraw,
    Withdrawn,
)
from shared.unit_of_work.unit_of_work import Transaction, UnitOfWork, Units

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
OwnerId = NewType("OwnerId", str)


class WalletNotFound(NotYet):
    text = "wallet not found"


class OwnerNotFound(NotFound):
    text = "owner not found"


class NotEnough(FailedPrecondition):
    text = "not enough money"


class Noted(Event, key="wallet_id"):
    """Private: it is not declared in the contracts."""

    wallet_id: WalletId
    note: str


WalletEvent = WalletOpened | Deposited | Withdrawn | Noted


@dataclass(eq=False)
class Wallet(Aggregate[WalletEvent]):
    """Money and notes."""

    owner: str = ""
    balance: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def wallet_id(self) -> WalletId:
        return WalletId(self.id)

    def open(self, owner: str) -> None:
        self.record(WalletOpened(wallet_id=self.wallet_id, owner=owner))

    def deposit(self, amount: int) -> None:
        self.record(Deposited(wallet_id=self.wallet_id, amount=amount))

    def withdraw(self, amount: int) -> None:
        """Records before it decides: a refusal has something to take back."""
        self.record(Withdrawn(wallet_id=self.wallet_id, amount=amount))
        if self.balance < 0:
            raise NotEnough

    def note(self, text: str) -> None:
        self.record(Noted(wallet_id=self.wallet_id, note=text))

    def apply(self, event: WalletEvent) -> None:
        match event:
            case WalletOpened():
                self.owner = event.owner
            case Deposited():
                self.balance += event.amount
            case Withdrawn():
                self.balance -= event.amount
            case Noted():
                self.notes.append(event.note)
            case _:
                assert_never(event)


@dataclass(kw_only=True)
class Owner(Entity):
    """A plain row."""

    name: str
    wallets: tuple[str, ...] = ()


@dataclass(kw_only=True)
class Tally(RecordingEntity):
    """A row that records events."""

    total: int = 0

    def add(self, amount: int) -> None:
        self.total += amount
        self.record(Deposited(wallet_id=WalletId(self.id), amount=amount))


class WalletUnitOfWork(UnitOfWork):
    """Wallets, owners and tallies."""

    def __init__(self, transaction: Transaction, clock: Clock, policy: Policy) -> None:
        super().__init__(transaction, clock, policy)
        self.wallets = self.aggregates(Wallet, WalletId, WalletNotFound)
        self.owners = self.entities(Owner, OwnerId, OwnerNotFound)
        self.tallies = self.entities(Tally, None, NotFound)


@handles
async def deposit(command: Deposit, uow: WalletUnitOfWork) -> None:
    wallet = await uow.wallets.get(command.wallet_id)
    wallet.deposit(command.amount)


@handles
async def withdraw(command: Withdraw, uow: WalletUnitOfWork) -> Balance:
    wallet = await uow.wallets.get(command.wallet_id)
    wallet.withdraw(command.amount)
    return Balance(amount=wallet.balance)


@handles
async def wallet_opened(event: WalletOpened, uow: WalletUnitOfWork) -> None:
    wallet = await uow.wallets.find(event.wallet_id) or await uow.wallets.add(Wallet(id=event.wallet_id))
    wallet.note(f"opened by {event.owner}")


@handles
async def wallet_deposited(event: Deposited, uow: WalletUnitOfWork) -> None:
    wallet = await uow.wallets.get(event.wallet_id)
    wallet.note(f"deposited {event.amount}")


Behaviour = Callable[[Any, WalletUnitOfWork], Awaitable[Reply | None]]


def handlers(**behaviours: Behaviour) -> Handlers:
    """The service's, and what the test says that `Nudge` and `Heard` do: `nudge=…, heard=…`."""
    marked: dict[type[Message], Any] = {
        Deposit: deposit,
        Withdraw: withdraw,
        WalletOpened: wallet_opened,
        Deposited: wallet_deposited,
    }
    named: Mapping[str, type[Message]] = {"nudge": Nudge, "heard": Heard}
    return Handlers(marked | {named[name]: behaviour for name, behaviour in behaviours.items()})


def wallet_units(database: Any, clock: Clock, policy: Policy) -> Units[WalletUnitOfWork]:
    """Units of work on that database."""
    return Units(database, lambda transaction: WalletUnitOfWork(transaction, clock, policy))


def received(message: Message, id_: str, *, row: str = "", position: int = 0, **fields: Any) -> Received:
    """A message as it arrives. A command asks for a reply, unless `reply_to=None` is given."""
    kind: Any = "event" if isinstance(message, Event) else "reply" if isinstance(message, Reply) else "command"
    defaults: dict[str, Any] = {
        "id": id_,
        "type": message.type_name,
        "kind": kind,
        "source": "test",
        "key": message.key if message.key_field else "",
        "data": to_json(message),
        "time": NOON,
        "correlation_id": f"correlation-{id_}",
        "causation_id": f"cause-{id_}",
        "reply_to": "order" if kind == "command" else None,
    }
    envelope = Envelope(**{**defaults, **fields})
    return Received(
        position=position,
        row_id=row or f"row-{id_}",
        received_at=NOON,
        headers=envelope.to_headers(),
        data=envelope.data,
    )


class WalletService:
    """The service on a database in memory, as the holder of its one partition."""

    def __init__(self, policy: Policy | None = None, *, has_sagas: bool = True, **behaviours: Behaviour) -> None:
        self.clock = VirtualClock(NOON)
        self.policy = policy or Policy()
        self.database = MemoryDatabase("wallets", self.clock)
        self.units = wallet_units(self.database, self.clock, self.policy)
        self.dispatcher = Dispatcher[WalletUnitOfWork](handlers(**behaviours), self.policy, self.clock)
        self._set_by = timedelta(0)
        lease = Lease(0, 1, timedelta(days=1))
        self.partition = HeldPartition(lease, self.units, self.dispatcher, self.clock, self.steady, has_sagas=has_sagas)
        self.database.holders[0] = (1, NOON + timedelta(days=1))
        self._position = 0

    def steady(self) -> datetime:
        """The time that has gone by, whatever the clock was set to."""
        return self.clock.now - self._set_by

    def set_clock(self, by: timedelta) -> None:
        """The wall clock says something else from now on. No time goes by."""
        self.clock.now += by
        self._set_by += by

    async def handle(self, *messages: Received) -> None:
        """They arrive together."""
        await self.partition.handle(self.placed(*messages))

    def placed(self, *messages: Received) -> list[Received]:
        """The messages at the next places of the stream."""
        batch = []
        for message in messages:
            self._position += 1
            batch.append(replace(message, position=self._position))
        return batch

    async def work_due(self, after: timedelta = timedelta(0)) -> None:
        """Time goes by, and what is due is done."""
        self.clock.advance(after)
        await self.partition.work_due()

    async def open(self, *wallets: str, balance: int = 0) -> None:
        """Opens wallets."""
        async with self.units.begin() as uow:
            for id_ in wallets:
                wallet = await uow.wallets.add(Wallet(id=id_))
                wallet.open("Ada")
                if balance:
                    wallet.deposit(balance)
        self.database.outbox.clear()

    async def balance(self, wallet: str) -> int:
        """What is in a wallet."""
        return (await self.wallet(wallet)).balance

    async def wallet(self, wallet: str) -> Wallet:
        """A wallet as it is stored."""
        async with self.units.begin() as uow:
            return await uow.wallets.get(wallet)

    def sent(self) -> list[Envelope]:
        """What is in the outbox."""
        return [Envelope.from_headers(each.headers, each.data) for each in self.database.outbox]

    def replies(self) -> list[tuple[str, str]]:
        """The replies in the outbox: to which command, and which type."""
        return [(each.causation_id, each.type) for each in self.sent() if each.kind == "reply"]

    def waiting(self) -> list[str]:
        """The ids of the messages that are set aside, in order."""
        return [message.message_id for _, message in sorted(self.database.waiting.items())]

    def parked(self) -> list[str]:
        """Those of them that wait for an operator."""
        return [message.message_id for message in self.database.waiting.values() if message.parked_at]
