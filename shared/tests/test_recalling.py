"""States that units of work leave behind for the next: they spare reading, and are never what is decided by if others
have changed them since."""

import asyncio
from typing import Any

import pytest

from shared.adapters.memory import database
from shared.core.errors import Conflict
from shared.core.messages import Reply
from shared.eventsourcing.aggregate import Entity
from shared.processing.command_queue import CommandQueue
from shared.tests.contracts import Balance, Deposit, Nudge, WalletId, Withdraw
from shared.tests.wallets import (
    Owner,
    OwnerId,
    Wallet,
    WalletService,
    WalletUnitOfWork,
    handlers,
    received,
    wallet_units,
)
from shared.unit_of_work.cache import StateCache


def deposit(id_: str, amount: int = 1, wallet: str = "w") -> Any:
    return received(Deposit(wallet_id=WalletId(wallet), amount=amount), id_)


def withdraw(id_: str, amount: int, wallet: str = "w") -> Any:
    return received(Withdraw(wallet_id=WalletId(wallet), amount=amount), id_)


def nudge(id_: str) -> Any:
    return received(Nudge(wallet_id=WalletId("w")), id_)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which ids are read from the stores of aggregates and rows."""
    read: list[str] = []

    def noting(cls: type) -> None:
        load: Any = cls.load  # type: ignore[attr-defined]

        async def noted(self: Any, *arguments: Any) -> Any:
            read.extend(next(each for each in arguments if isinstance(each, list)))
            return await load(self, *arguments)

        monkeypatch.setattr(cls, "load", noted)

    noting(database._Events)
    noting(database._RowStore)
    return read


async def by_another(service: WalletService, amount: int) -> None:
    """Another replica changes the wallet: this process hears nothing of it."""
    async with wallet_units(service.database, service.clock, service.policy).begin() as uow:
        (await uow.wallets.get("w")).deposit(amount)


async def test_what_was_handled_before_is_not_read_again(reads: list[str]) -> None:
    service = WalletService()
    await service.open("w")
    await service.handle(deposit("c1"))
    assert reads == ["w"]
    await service.handle(deposit("c2"))
    await service.handle(deposit("c3"), deposit("c4"))
    assert reads == ["w"]
    assert await service.balance("w") == 4


async def test_what_a_command_has_left_behind_is_not_read_for_the_next(reads: list[str]) -> None:
    service = WalletService()
    await service.open("w")
    commands = CommandQueue(handlers(), service.units, service.clock, batch_size=50)
    for _ in range(2):
        waiting = asyncio.ensure_future(commands.execute(Deposit(wallet_id=WalletId("w"), amount=1)))
        await asyncio.sleep(0)
        await commands.carry_out_waiting()
        await waiting
    assert reads == ["w"]
    assert await service.balance("w") == 2


async def test_units_that_try_once_read_what_is_there(reads: list[str]) -> None:
    service = WalletService()
    await service.open("w")
    await service.handle(deposit("c1"))
    await by_another(service, 10)
    reads.clear()
    assert await service.balance("w") == 11
    assert reads == ["w"]


async def test_what_another_has_changed_since_is_read_before_it_is_changed() -> None:
    service = WalletService()
    await service.open("w")
    await service.handle(deposit("c1"))
    await by_another(service, 10)
    await service.handle(deposit("c2"))
    assert await service.balance("w") == 12
    assert service.replies() == [("c1", "shared.Done"), ("c2", "shared.Done")]


async def test_nothing_is_refused_for_what_was_but_is_no_more() -> None:
    service = WalletService()
    await service.open("w")
    await service.handle(deposit("c1"))
    await by_another(service, 10)
    await service.handle(withdraw("c2", 11))
    assert service.replies() == [("c1", "shared.Done"), ("c2", "tests.Balance")]
    assert await service.balance("w") == 0


async def test_what_is_only_looked_at_is_confirmed_too() -> None:
    async def tell(command: Nudge, uow: WalletUnitOfWork) -> Reply:
        return Balance(amount=(await uow.wallets.get(command.wallet_id)).balance)

    service = WalletService(nudge=tell)
    await service.open("w")
    await service.handle(nudge("c1"))
    await by_another(service, 10)
    await service.handle(nudge("c2"))
    assert [each.data for each in service.sent() if each.kind == "reply"] == ['{"amount":0}', '{"amount":10}']


async def test_a_row_that_is_only_looked_at_is_confirmed_too() -> None:
    async def tell(_command: Nudge, uow: WalletUnitOfWork) -> Reply:
        owner = await uow.owners.find("o") or await uow.owners.add(Owner(id="o", name="Ada"))
        return Balance(amount=len(owner.wallets))

    service = WalletService(nudge=tell)
    await service.handle(nudge("c1"))
    async with service.units.begin() as uow:
        (await uow.owners.get("o")).wallets = ("w",)
    await service.handle(nudge("c2"))
    assert [each.data for each in service.sent()] == ['{"amount":0}', '{"amount":1}']


async def test_what_a_refused_message_did_to_a_recalled_state_is_undone() -> None:
    service = WalletService()
    await service.open("w", "x")
    await service.handle(deposit("c1"), deposit("c2", wallet="x"))
    await service.handle(deposit("c3", 4), withdraw("c4", 6), deposit("c5", wallet="x"))
    refused = [each.causation_id for each in service.sent() if each.outcome == "refusal"]
    assert refused == ["c4"]
    assert (await service.balance("w"), await service.balance("x")) == (5, 2)
    await service.handle(withdraw("c6", 5))
    assert await service.balance("w") == 0


async def test_what_is_answered_after_a_refusal_is_what_is_stored() -> None:
    async def tell(command: Nudge, uow: WalletUnitOfWork) -> Reply:
        return Balance(amount=(await uow.wallets.get(command.wallet_id)).balance)

    service = WalletService(nudge=tell)
    await service.open("w", balance=3)
    await service.handle(deposit("c1"))
    await service.handle(withdraw("c2", 6), nudge("c3"))
    (answer,) = [each for each in service.sent() if each.causation_id == "c3"]
    assert answer.data == '{"amount":4}'


async def test_what_never_came_to_be_is_not_remembered() -> None:
    async def think_of(command: Nudge, uow: WalletUnitOfWork) -> None:
        await uow.wallets.add(Wallet(id=command.wallet_id))

    service = WalletService(nudge=think_of)
    await service.handle(nudge("c1"))
    await service.handle(deposit("c2"))
    assert service.waiting() == ["c2"]


async def test_what_was_rolled_back_is_not_remembered() -> None:
    service = WalletService()
    await service.open("w")
    await service.handle(deposit("c1"))
    with pytest.raises(ZeroDivisionError):
        async with service.units.begin(recalling=True) as uow:
            (await uow.wallets.get("w")).deposit(10)
            raise ZeroDivisionError
    await service.handle(deposit("c2"))
    assert await service.balance("w") == 2


async def test_after_a_database_has_lost_its_last_events_none_is_stored_behind_the_gap() -> None:
    service = WalletService()
    await service.open("w")
    await service.handle(deposit("c1"))
    service.database.events["Wallet", "w"].pop()
    await service.handle(deposit("c2"))
    assert [event.version for event in service.database.events["Wallet", "w"]] == [1, 2]
    assert await service.balance("w") == 1


async def test_what_is_written_early_is_confirmed_before() -> None:
    service = WalletService()
    await service.open("w")
    await service.handle(deposit("c1"))
    async with service.units.begin(recalling=True) as uow:
        wallet = await uow.wallets.get("w")
        wallet.deposit(1)
        await uow.flush()
        wallet.deposit(1)
    assert await service.balance("w") == 3
    await by_another(service, 10)
    with pytest.raises(Conflict):
        async with service.units.begin(recalling=True) as uow:
            (await uow.wallets.get("w")).deposit(1)
            await uow.flush()


async def test_a_state_is_one_units_at_a_time() -> None:
    service = WalletService()
    await service.open("w")
    await service.handle(deposit("c1"))
    recalled: list[Any] = []
    for _ in range(2):
        uow = WalletUnitOfWork(database.MemoryTransaction(service.database, []), service.clock, service.policy)
        uow.recall_from(service.units._cache)
        recalled.append(await uow.wallets.get("w"))
    assert recalled[0] is not recalled[1]
    assert [wallet.balance for wallet in recalled] == [1, 1]


def test_those_that_nobody_has_wanted_for_the_longest_are_forgotten() -> None:
    cache = StateCache(most=2000)
    cache.keep(Owner, [Owner(id=id_, name=id_) for id_ in "ab"])
    cache.keep(Owner, cache.take(Owner, ["a"]).values())
    cache.keep(Owner, [Owner(id="c", name="c")])
    cache.keep(Entity, [Entity(id="b")])
    assert set(cache.take(Owner, ["a", "b", "c"])) == {"a", "c"}
    assert cache.take(Owner, [OwnerId("a")]) == {}
    assert set(cache.take(Entity, ["b"])) == {"b"}


def test_large_states_leave_less_room_and_give_it_back() -> None:
    cache = StateCache(most=5000)
    large, larger = Owner(id="large", name=3000 * "x"), Owner(id="larger", name=5000 * "x")
    cache.keep(Owner, [Owner(id="a", name="a"), large, Owner(id="b", name="b")])
    cache.keep(Owner, [large])
    assert set(cache.take(Owner, ["a", "large", "b"])) == {"a", "large", "b"}
    cache.keep(Owner, [large, Owner(id="c", name=3000 * "x")])
    assert set(cache.take(Owner, ["large", "c"])) == {"c"}
    cache.keep(Owner, [larger])
    assert cache.take(Owner, ["larger"]) == {}
    cache.keep(Owner, [large])
    assert set(cache.take(Owner, ["large"])) == {"large"}
