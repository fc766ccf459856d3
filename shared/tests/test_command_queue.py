"""Commands from a service's own API: those that wait together share a unit of work."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from shared.adapters.memory import database
from shared.core.context import Cause, handling
from shared.core.errors import Conflict, IdempotencyKeyReused, TechnicalFault
from shared.core.messages import Command, Done
from shared.eventsourcing import store
from shared.processing import command_queue
from shared.processing.command_queue import MAX_WAITING, CommandQueue, Overloaded, Stopped
from shared.processing.conflicts import TRIES
from shared.tests.contracts import Balance, Deposit, Nudge, WalletId, Withdraw
from shared.tests.wallets import (
    Behaviour,
    NotEnough,
    Owner,
    WalletNotFound,
    WalletService,
    WalletUnitOfWork,
    handlers,
)
from shared.unit_of_work import unit_of_work
from shared.unit_of_work.idempotency import MAX_ID_BYTES, IdempotencyKey, KeptAnswer, under


class Api:
    """Commands of a service in memory; counts its transactions."""

    def __init__(self, service: WalletService, **behaviours: Behaviour) -> None:
        self.service = service
        self.transactions = 0
        self.commands = CommandQueue(handlers(**behaviours), service.units.on(self), service.clock, batch_size=50)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        self.transactions += 1
        async with self.service.database.transaction() as transaction:
            yield transaction

    async def together(self, *requests: Any) -> list[Any]:
        """All of them wait when the work begins; what they are answered."""
        waiting = [asyncio.ensure_future(request) for request in requests]
        await asyncio.sleep(0)
        self.transactions = 0
        await self.commands.carry_out_waiting()
        return await asyncio.gather(*waiting, return_exceptions=True)

    async def alone(self, request: Any) -> Any:
        """One request's answer."""
        (answer,) = await self.together(request)
        return answer

    def deposit(self, amount: int = 1, wallet: str = "w", key: IdempotencyKey | None = None) -> Any:
        return self._request(Deposit(wallet_id=WalletId(wallet), amount=amount), key)

    def withdraw(self, amount: int = 1, wallet: str = "w", key: IdempotencyKey | None = None) -> Any:
        return self._request(Withdraw(wallet_id=WalletId(wallet), amount=amount), key)

    def nudge(self, text: str = "", key: IdempotencyKey | None = None) -> Any:
        return self._request(Nudge(wallet_id=WalletId("w"), text=text), key)

    async def _request(self, command: Command[Any], key: IdempotencyKey | None) -> Any:
        with under(key):
            return await self.commands.execute(command)


def key(name: str = "k", body: str = "body", request: str = "POST /api/wallets") -> IdempotencyKey:
    return IdempotencyKey(request=request, key=name, body_hash=body)


async def api(balance: int = 0, **behaviours: Behaviour) -> Api:
    service = WalletService()
    await service.open("w", balance=balance)
    return Api(service, **behaviours)


async def test_a_command_is_answered_when_it_is_committed() -> None:
    made = await api(balance=10)
    assert await made.together(made.withdraw(3), made.deposit(5)) == [Balance(amount=7), Done()]
    assert await made.service.balance("w") == 12


async def test_commands_that_wait_together_share_a_transaction() -> None:
    made = await api()
    assert await made.together(*(made.deposit() for _ in range(50))) == [Done()] * 50
    assert made.transactions == 1
    assert await made.together(*(made.deposit() for _ in range(51))) == [Done()] * 51
    assert made.transactions == 2
    assert await made.service.balance("w") == 101


async def test_a_refusal_takes_nothing_of_the_others() -> None:
    made = await api()
    answers = await made.together(made.deposit(5), made.withdraw(50), made.deposit(1, "nobody"), made.withdraw(2))
    assert [type(answer) for answer in answers] == [Done, NotEnough, WalletNotFound, Balance]
    assert made.transactions == 1
    assert await made.service.balance("w") == 3


async def test_a_refusal_after_a_flush_is_a_refusal_and_takes_nothing_of_the_others() -> None:
    async def flush_and_refuse(command: Nudge, uow: WalletUnitOfWork) -> None:
        (await uow.wallets.get(command.wallet_id)).deposit(100)
        await uow.flush()
        raise NotEnough

    made = await api(nudge=flush_and_refuse)
    answers = await made.together(made.deposit(), made.nudge(), made.deposit())
    assert [type(answer) for answer in answers] == [Done, NotEnough, Done]
    assert await made.service.balance("w") == 2
    assert isinstance(await made.alone(made.nudge()), NotEnough)


async def test_commands_that_name_too_much_are_carried_out_in_smaller_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(store, "MAX_READ_TOGETHER", 10)
    made = await api()
    for wallet in "xy":
        await made.service.open(wallet)
    answers = await made.together(*(made.deposit(wallet=wallet, key=key(wallet)) for wallet in "wxy"))
    assert answers == [Done()] * 3
    assert made.transactions == 5
    assert [await made.service.balance(wallet) for wallet in "wxy"] == [1, 1, 1]


async def test_commands_that_lead_to_too_much_together_are_carried_out_in_smaller_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unit_of_work, "MAX_WRITTEN_TOGETHER", 10)
    made = await api()
    assert await made.alone(made.deposit()) == Done()
    assert made.transactions == 1
    assert await made.together(made.deposit(), made.deposit()) == [Done()] * 2
    assert made.transactions == 3
    assert await made.service.balance("w") == 3


async def test_a_bug_in_one_handler_takes_nothing_of_the_others() -> None:
    async def crash(command: Nudge, uow: WalletUnitOfWork) -> None:
        (await uow.wallets.get(command.wallet_id)).deposit(100)
        raise ValueError("boom")

    made = await api(nudge=crash)
    answers = await made.together(made.deposit(), made.nudge(), made.deposit())
    assert [type(answer) for answer in answers] == [Done, ValueError, Done]
    assert await made.service.balance("w") == 2


async def test_a_conflict_is_tried_again_and_again_but_not_for_ever() -> None:
    failures = 0

    async def contended(command: Nudge, uow: WalletUnitOfWork) -> None:
        nonlocal failures
        if failures:
            failures -= 1
            raise Conflict("busy")
        (await uow.wallets.get(command.wallet_id)).deposit(1)

    made = await api(nudge=contended)
    failures = TRIES
    assert await made.alone(made.nudge()) == Done()
    failures = TRIES
    answers = await made.together(made.nudge(), made.deposit(10))
    assert answers == [Done(), Done()]
    failures = 1000
    assert isinstance(await made.alone(made.nudge()), Conflict)
    assert failures == 1000 - TRIES - 1
    assert await made.service.balance("w") == 12


async def test_a_fault_of_the_surroundings_is_everybodys_and_at_once() -> None:
    async def unlucky(command: Nudge, uow: WalletUnitOfWork) -> None:
        raise TechnicalFault("the disk is full")

    made = await api(nudge=unlucky)
    answers = await made.together(made.deposit(), made.nudge())
    assert [str(answer) for answer in answers] == ["the disk is full"] * 2
    assert made.transactions == 1
    assert await made.service.balance("w") == 0


async def test_it_says_why_the_last_commands_failed_until_one_succeeds_or_a_while_has_passed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    faults = [TechnicalFault("the disk is full")]

    async def unlucky(command: Nudge, uow: WalletUnitOfWork) -> None:
        for fault in faults:
            raise fault

    made = await api(nudge=unlucky)
    told = [made.commands.failing]
    assert await made.alone(made.nudge()) is faults[0]
    told.append(made.commands.failing)
    with monkeypatch.context() as later:
        later.setattr(command_queue, "FAILING_SECONDS", 0)
        told.append(made.commands.failing)
    faults.clear()
    assert await made.alone(made.nudge()) == Done()
    told.append(made.commands.failing)
    assert told == [None, "the disk is full", None, None]


async def test_each_command_has_the_ids_of_its_request() -> None:
    made = await api()

    async def request(name: str) -> Any:
        with handling(Cause(f"correlation-{name}", name, "", "trace")):
            return await made.deposit()

    await made.together(request("one"), request("two"))
    sent = [(message.correlation_id, message.causation_id) for message in made.service.sent()]
    assert sent == [("correlation-one", "one"), ("correlation-two", "two")]


async def test_the_same_key_gets_the_first_answer_and_does_nothing_again() -> None:
    made = await api(balance=10)
    assert await made.alone(made.withdraw(3, key=key())) == Balance(amount=7)
    assert await made.alone(made.withdraw(3, key=key())) == Balance(amount=7)
    assert await made.service.balance("w") == 7
    assert await made.alone(made.withdraw(3, key=key("another"))) == Balance(amount=4)
    assert await made.alone(made.withdraw(3, key=key(request="PUT /api/wallets"))) == Balance(amount=1)


async def test_a_key_of_any_length_can_be_kept_and_is_told_from_others() -> None:
    paths = ("POST /" + end * MAX_ID_BYTES for end in ("a", "b", "\U0001f3e0"))
    ids = [key(request=path).id for path in paths]
    assert len(set(ids)) == len(ids)
    assert all(len(id_.encode()) <= MAX_ID_BYTES for id_ in ids)


async def test_a_key_is_looked_up_only_when_it_has_come_before(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up: list[str] = []
    load = database._RowStore.load

    async def noted(self: Any, ids: Any, most: Any) -> Any:
        looked_up.extend(ids)
        return await load(self, ids, most)

    monkeypatch.setattr(database._RowStore, "load", noted)
    made = await api(balance=10)
    assert await made.together(made.withdraw(3, key=key()), made.deposit(key=key("other"))) == [
        Balance(amount=7),
        Done(),
    ]
    assert (looked_up, made.transactions) == ([], 1)
    again = await made.together(made.withdraw(3, key=key()), made.deposit(key=key("new")))
    assert again == [Balance(amount=7), Done()]
    assert (sorted(looked_up), made.transactions) == (sorted([key().id, key("new").id]), 2)
    assert await made.service.balance("w") == 9


@pytest.mark.parametrize("now", [NotEnough(), ValueError("it has been nudged before")])
async def test_the_same_key_gets_the_first_answer_also_when_its_request_would_fail_now(now: Exception) -> None:
    async def once(command: Nudge, uow: WalletUnitOfWork) -> None:
        wallet = await uow.wallets.get(command.wallet_id)
        if wallet.balance:
            raise now
        wallet.deposit(1)

    made = await api(nudge=once)
    assert await made.alone(made.nudge(key=key())) == Done()
    assert await made.alone(made.nudge(key=key())) == Done()
    assert await made.together(made.nudge(key=key()), made.deposit()) == [Done(), Done()]
    assert await made.alone(made.nudge(key=key("another"))) is now
    assert await made.service.balance("w") == 2


async def test_the_same_key_at_the_same_moment_is_done_once() -> None:
    made = await api(balance=10)
    answers = await made.together(*(made.withdraw(3, key=key()) for _ in range(3)), made.withdraw(1))
    assert answers == [Balance(amount=7)] * 3 + [Balance(amount=6)]


async def test_the_same_key_at_the_same_moment_in_another_replica_is_done_once() -> None:
    made = await api(balance=10)
    other = Api(made.service)
    answers = await asyncio.gather(made.alone(made.withdraw(3, key=key())), other.alone(other.withdraw(3, key=key())))
    assert list(answers) == [Balance(amount=7)] * 2
    assert await made.service.balance("w") == 7


async def test_the_same_key_with_another_body_is_refused() -> None:
    made = await api(balance=10)
    answers = await made.together(made.withdraw(3, key=key()), made.withdraw(5, key=key(body="other")))
    assert [type(answer) for answer in answers] == [Balance, IdempotencyKeyReused]
    assert isinstance(await made.alone(made.withdraw(5, key=key(body="other"))), IdempotencyKeyReused)
    assert await made.service.balance("w") == 7


async def test_only_successes_are_kept() -> None:
    made = await api()
    assert isinstance(await made.alone(made.withdraw(3, key=key())), NotEnough)
    assert made.service.database.tables[KeptAnswer] == {}
    await made.alone(made.deposit(10))
    assert await made.alone(made.withdraw(3, key=key())) == Balance(amount=7)


async def test_a_key_that_was_used_meanwhile_elsewhere_gets_that_answer() -> None:
    """Two replicas looked the key up before either had written it: the second to write meets a conflict."""

    async def other_replica(command: Nudge, uow: WalletUnitOfWork) -> None:
        (await uow.wallets.get(command.wallet_id)).deposit(100)
        rows = made.service.database.tables[KeptAnswer]
        if not rows:
            rows[key().id] = KeptAnswer(
                id=key().id, version=1, body_hash="body", answer='{"first": true}', created_at=made.service.clock.now,  # type: ignore[arg-type]
            )  # fmt: skip

    made = await api(nudge=other_replica)
    assert await made.alone(made.nudge(key=key())) == Done()
    assert await made.service.balance("w") == 0


async def test_too_many_that_wait_are_turned_away() -> None:
    made = await api()
    waiting = [asyncio.ensure_future(made.deposit()) for _ in range(MAX_WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await made.deposit()
    await made.commands.carry_out_waiting()
    assert await asyncio.gather(*waiting) == [Done()] * MAX_WAITING
    assert await made.alone(made.deposit()) == Done()


async def test_what_nobody_waits_for_any_more_is_not_begun() -> None:
    made = await api()
    gone, there = asyncio.ensure_future(made.deposit(100)), asyncio.ensure_future(made.deposit(1))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    await made.commands.carry_out_waiting()
    assert await there == Done()
    assert await made.service.balance("w") == 1
    gone = asyncio.ensure_future(made.deposit(100))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    made.transactions = 0
    await made.commands.carry_out_waiting()
    assert made.transactions == 0


async def test_a_client_that_goes_while_its_command_is_carried_out_harms_nobody() -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(command: Nudge, uow: WalletUnitOfWork) -> None:
        begun.set()
        await go_on.wait()
        (await uow.wallets.get(command.wallet_id)).deposit(1)

    made = await api(nudge=slow)
    running = asyncio.create_task(made.commands.run())
    gone, there = asyncio.ensure_future(made.nudge()), asyncio.ensure_future(made.deposit(10))
    await begun.wait()
    gone.cancel()
    go_on.set()
    assert await there == Done()
    assert await made.service.balance("w") == 11
    running.cancel()


async def test_what_arrives_is_carried_out_while_it_runs() -> None:
    made = await api()
    running = asyncio.create_task(made.commands.run())
    for _ in range(3):
        assert await made.deposit() == Done()
    assert await asyncio.gather(*(made.deposit() for _ in range(5))) == [Done()] * 5
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert running.cancelled()
    assert await made.service.balance("w") == 8


async def test_nobody_waits_for_ever_when_it_stops() -> None:
    begun = asyncio.Event()

    async def endless(command: Nudge, uow: WalletUnitOfWork) -> None:
        (await uow.wallets.get(command.wallet_id)).deposit(1)
        await uow.owners.add(Owner(id="o", name="Ada"))
        await uow.flush()
        begun.set()
        await asyncio.Event().wait()

    made = await api(nudge=endless)
    running = asyncio.create_task(made.commands.run())
    in_hand = asyncio.ensure_future(made.nudge())
    await begun.wait()
    behind = asyncio.ensure_future(made.deposit())
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    for request in (in_hand, behind):
        with pytest.raises(Stopped):
            await request
    assert await made.service.balance("w") == 0


async def test_nobody_waits_for_ever_when_it_ends_before_it_has_begun() -> None:
    made = await api()
    running = asyncio.create_task(made.commands.run())
    early = asyncio.ensure_future(made.deposit())
    running.cancel()  # a task that has not had its first turn never gets one
    with pytest.raises(asyncio.CancelledError):
        await running
    made.commands.end()
    for request in (early, made.deposit()):
        with pytest.raises(Stopped):
            await request
