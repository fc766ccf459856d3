"""A partition that is held: its fence, its checkpoints, and what is due by the clock."""

from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from shared.adapters.memory import database
from shared.core.errors import LeaseLost
from shared.core.messages import Done
from shared.core.policy import Policy
from shared.eventsourcing import store
from shared.messaging.broker import Mark
from shared.messaging.set_aside import Line
from shared.processing.partition import HeldPartition, Lease
from shared.saga.instance import SagaInstance
from shared.saga.orchestrator import instance_id
from shared.tests.contracts import Deposit, Deposited, Nudge, WalletId
from shared.tests.sagas import TransferSaga
from shared.tests.wallets import NOON, WalletService, WalletUnitOfWork, received

SECOND = timedelta(seconds=1)
LEASE = timedelta(days=1)


def deposit(id_: str, wallet: str = "w") -> Any:
    return received(Deposit(wallet_id=WalletId(wallet), amount=1), id_)


class BrokenSaga(TransferSaga, key="wallet_id"):
    """Its first command can't be made a second time."""

    def ask(self) -> Nudge:
        if BrokenSaga.broken:
            raise ValueError("no such question")
        return super().ask()

    broken = False


async def start(service: WalletService, saga: TransferSaga) -> str:
    """As an API does: on another connection, unknown to the partition."""
    async with service.units.begin() as uow:
        with uow.attempt():
            await uow.sagas.start(saga)
    return instance_id(saga, "")


def transfer(kind: type[TransferSaga] = TransferSaga) -> TransferSaga:
    return kind(wallet_id=WalletId("w"), other=WalletId("x"), amount=1)


async def test_who_has_lost_the_lease_commits_nothing() -> None:
    service = WalletService()
    await service.open("w")
    await service.handle(received(Deposit(wallet_id=WalletId("nobody"), amount=1), "c1"))
    service.database.holders[0] = (2, NOON + LEASE)
    with pytest.raises(LeaseLost):
        await service.handle(deposit("c2"))
    with pytest.raises(LeaseLost):
        await service.work_due(SECOND)
    with pytest.raises(LeaseLost):
        await service.partition.renew()
    with pytest.raises(LeaseLost):
        await service.partition.move_to(Mark(77, "r", NOON))
    assert await service.balance("w") == 0
    assert (service.waiting(), set(service.database.inbox)) == (["c1"], {"c1"})
    assert service.database.positions[0].position == 1
    assert service.database.holders[0][0] == 2


async def test_the_position_is_remembered_now_and_then() -> None:
    service = WalletService()
    await service.open("w")
    for number, later in enumerate([0, 0.4, 0.4, 0.4, 5], start=1):
        service.clock.advance(later * SECOND)
        await service.handle(deposit(f"c{number}"))
    assert [mark.position for mark in service.database.checkpoints[0]] == [5, 4, 1]


async def test_the_lease_is_renewed_when_nothing_comes() -> None:
    service = WalletService()
    for later, renewed in ((LEASE / 4, False), (LEASE / 12, True), (LEASE / 4, False)):
        before = service.database.holders[0][1]
        await service.work_due(later)
        assert (service.database.holders[0][1] > before) is renewed
    assert service.database.positions == {}


async def test_a_saga_that_another_started_is_woken_when_it_is_due() -> None:
    service = WalletService()
    await service.open("w", balance=5)
    await service.work_due()
    assert service.partition.next_due is None
    await start(service, transfer())
    await service.work_due(LEASE / 3)
    sent = [message for message in service.sent() if message.kind == "command"]
    assert [message.type for message in sent] == [Nudge.type_name] * 2
    assert sent[0].id == sent[1].id


async def test_what_an_operator_redrives_is_handled() -> None:
    service = WalletService(Policy(attempts=1, grace=timedelta(0)))
    await service.handle(received(Deposited(wallet_id=WalletId("w"), amount=1), "e1"))
    await service.work_due(SECOND)
    assert service.parked() == ["e1"]
    assert service.partition.next_due is None
    await service.open("w")
    async with service.database.transaction() as tx:
        assert await tx.waiting_room.redrive(Line("w", "test"), service.clock.now) == 1
    await service.work_due(LEASE / 3)
    assert service.waiting() == []
    assert (await service.wallet("w")).notes == ["deposited 1"]


async def test_a_saga_that_cannot_be_woken_does_not_hold_the_others_up() -> None:
    service = WalletService()
    await service.open("w", balance=5)
    BrokenSaga.broken = False
    broken = await start(service, transfer(BrokenSaga))
    well = await start(service, transfer())
    service.database.outbox.clear()
    BrokenSaga.broken = True
    await service.work_due(LEASE / 3)
    assert [message.saga_id for message in service.sent()] == [well]
    instance: Any = service.database.tables[SagaInstance][broken]
    assert (instance.attempts, instance.error) == (1, "ValueError('no such question')")
    assert instance.due_at > service.clock.now
    while not instance.stuck:
        await service.work_due(timedelta(hours=9))
        instance = service.database.tables[SagaInstance][broken]
    assert instance.attempts == service.policy.saga_attempts
    BrokenSaga.broken = False
    await service.handle(
        received(Done(), "r1", saga_id=broken, causation_id=instance.awaiting, reply_to="tests", key="w")
    )
    instance = service.database.tables[SagaInstance][broken]
    assert (instance.step, instance.stuck) == (2, False), "the reply that comes after all is taken"


async def test_sagas_are_woken_by_the_holder_of_the_first_partition_alone() -> None:
    service = WalletService()
    await service.open("w", balance=5)
    await start(service, transfer())
    service.database.outbox.clear()
    service.database.holders[1] = (1, NOON + LEASE)
    service.clock.advance(LEASE / 2)
    second = HeldPartition(Lease(1, 1, LEASE), service.units, service.dispatcher, service.clock, service.clock)
    await second.work_due()
    assert (service.sent(), second.next_due) == ([], None)
    await service.partition.work_due()
    assert len(service.sent()) == 1


async def test_a_partition_knows_when_what_it_did_itself_is_due() -> None:
    async def begin(command: Nudge, uow: WalletUnitOfWork) -> None:
        await uow.sagas.start(transfer())

    service = WalletService(nudge=begin)
    await service.open("w", balance=5)
    await service.work_due()
    await service.handle(received(Nudge(wallet_id=WalletId("w")), "c1"))
    assert service.partition.next_due == service.clock.now + service.policy.step_timeout
    await service.handle(deposit("c2", "nobody"))
    assert service.partition.next_due == service.clock.now + service.policy.retry / 25


@pytest.mark.parametrize("hours", [-6, 6])
async def test_a_clock_that_is_set_delays_no_retry_and_no_renewal(hours: int) -> None:
    service = WalletService()
    await service.handle(deposit("c1"))
    await service.work_due()
    service.set_clock(by=hours * timedelta(hours=1))
    await service.open("w")
    assert service.partition.next_due is not None
    assert service.partition.next_due - service.steady() <= service.policy.retry / 25
    await service.work_due(SECOND)
    assert (service.waiting(), await service.balance("w")) == ([], 1)
    renewed = service.database.holders[0][1]
    service.set_clock(by=-2 * hours * timedelta(hours=1))
    await service.work_due(LEASE / 4)
    assert service.database.holders[0][1] == renewed, "it is not time yet"
    await service.work_due(LEASE / 4)
    assert service.database.holders[0][1] == service.clock.now + LEASE


@pytest.mark.parametrize("hours", [-6, 6])
async def test_a_clock_that_is_set_delays_no_saga_that_waits(hours: int) -> None:
    service = WalletService()
    await service.open("w", balance=5)
    await start(service, transfer())
    service.set_clock(by=hours * timedelta(hours=1))
    await service.partition.look_for_due()
    await service.work_due(service.policy.step_timeout)
    assert [message.type for message in service.sent() if message.kind == "command"] == [Nudge.type_name] * 2


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What batches are looked up in before they are handled."""
    looked: list[str] = []

    def noting(cls: type, name: str) -> None:
        original = getattr(cls, name)

        async def noted(self: Any, *arguments: Any) -> Any:
            looked.append(name)
            return await original(self, *arguments)

        monkeypatch.setattr(cls, name, noted)

    noting(database._Inbox, "find")
    noting(database._WaitingRoom, "blocked")
    return looked


async def test_what_is_new_is_not_looked_up_while_all_goes_well(looks: list[str]) -> None:
    service = WalletService()
    await service.open("w")
    await service.handle(deposit("c1"))
    assert looks == ["find", "blocked"]
    await service.work_due()
    await service.handle(deposit("c2"))
    assert looks == ["find", "blocked"]
    assert await service.balance("w") == 2


async def test_what_comes_twice_while_all_goes_well_has_its_effect_once(looks: list[str]) -> None:
    service = WalletService()
    await service.open("w")
    await service.work_due()
    await service.handle(deposit("c1"))
    await service.handle(deposit("c1"), deposit("c2"))
    assert looks == ["find", "blocked"]
    assert await service.balance("w") == 2
    await service.handle(deposit("c3"))
    assert looks == ["find", "blocked"] * 2, "where one has come twice more may: until the next look they are looked up"
    await service.work_due(LEASE)
    await service.handle(deposit("c4"))
    assert looks == ["find", "blocked"] * 2


async def test_what_follows_a_message_that_waits_is_held_back_at_once(looks: list[str]) -> None:
    service = WalletService()
    await service.work_due()
    await service.handle(deposit("c1"))
    assert looks == []
    await service.handle(deposit("c2"))
    assert (looks, service.waiting()) == (["find", "blocked"], ["c1", "c2"])


async def test_messages_that_name_too_much_are_handled_in_smaller_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(store, "MAX_READ_TOGETHER", 10)
    service = WalletService()
    for wallet in "wxy":
        await service.open(wallet)
    with capture_logs() as logs:
        await service.handle(deposit("c1"), deposit("c2", "x"), deposit("c3", "y"))
    assert [await service.balance(wallet) for wallet in "wxy"] == [1, 1, 1]
    assert [line["size"] for line in logs] == [3, 2]
    assert all("divided" in line["event"] for line in logs)
    assert service.waiting() == []
