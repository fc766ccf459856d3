"""The orchestrator: a saga with every kind of step, whatever comes in its way."""

from datetime import timedelta
from typing import Any

import pytest

from shared.adapters.memory.database import MemoryDatabase
from shared.core.errors import Conflict, FailedPrecondition
from shared.core.messages import AnyCommand, Done
from shared.core.policy import Policy
from shared.saga import saga as declared
from shared.saga.machine import Phase
from shared.saga.orchestrator import SagaNotFound
from shared.saga.saga import Saga, Steps, local, step
from shared.testing.sagas import SagaTest
from shared.tests.contracts import Balance, Deposit, Nudge, WalletId, Withdraw
from shared.tests.sagas import TransferSaga
from shared.tests.wallets import NotEnough, Wallet, WalletUnitOfWork

MINE, OTHER = WalletId("mine"), WalletId("other")
POLICY = Policy()

ASK = Nudge(wallet_id=OTHER, text="may I?")
LOOK = Nudge(wallet_id=OTHER, text="look")
RESERVE = Withdraw(wallet_id=OTHER, amount=1)
DECIDE = Nudge(wallet_id=OTHER, text="decide, you have 70")
PAY = Deposit(wallet_id=OTHER, amount=40)
FREE = Deposit(wallet_id=OTHER, amount=1)
FORGET = Nudge(wallet_id=OTHER, text="forget it")


def transfer(amount: int = 40) -> TransferSaga:
    return TransferSaga(wallet_id=MINE, other=OTHER, amount=amount)


def with_money(amount: int) -> Any:
    async def open_wallet(uow: WalletUnitOfWork) -> None:
        wallet = await uow.wallets.add(Wallet(id=MINE))
        wallet.open("Ada")
        wallet.deposit(amount)

    return open_wallet


def has(balance: int, *notes: str) -> Any:
    async def check(uow: WalletUnitOfWork) -> None:
        wallet = await uow.wallets.get(MINE)
        assert (wallet.balance, wallet.notes) == (balance, list(notes))

    return check


async def earn(uow: WalletUnitOfWork) -> None:
    (await uow.wallets.get(MINE)).deposit(1)


def story(money: int = 100) -> SagaTest[WalletUnitOfWork]:
    return SagaTest(WalletUnitOfWork, MemoryDatabase(), POLICY).given(with_money(money))


def decided(money: int = 100) -> SagaTest[WalletUnitOfWork]:
    """The pivot is behind it."""
    told = story(money).start(transfer()).expect(ASK).reply().expect(LOOK).reply()
    return told.expect(RESERVE).reply(Balance(amount=70)).expect(DECIDE).reply()


def test_every_step_succeeds() -> None:
    told = story().start(transfer()).then(has(60)).expect(ASK).reply().expect(LOOK).reply()
    told = told.expect(RESERVE).reply(Balance(amount=70)).expect(DECIDE).reply().expect(PAY).reply()
    told.expect_completed().then(has(59))


def test_a_command_says_where_it_comes_from_and_where_its_reply_goes() -> None:
    told = story().start(transfer(), by="request-1").expect(ASK)
    command, instance = told.command, told.instance
    assert (command.saga_id, command.reply_to, command.reply_key) == (instance.id, "tests", MINE)
    assert (command.correlation_id, command.causation_id, command.key) == ("correlation", "request-1", OTHER)
    assert (instance.awaiting, instance.command) == (command.id, Nudge.type_name)
    assert instance.due_at == told.now + POLICY.step_timeout


def test_a_local_first_step_that_is_refused_begins_nothing() -> None:
    told = story(money=10)
    with pytest.raises(NotEnough):
        told.start(transfer(), by="request-1")
    told.expect_nothing().then(has(10))
    with pytest.raises(SagaNotFound):
        _ = told.instance


@pytest.mark.parametrize(
    ("refused_at", "undoing"),
    [(0, []), (1, [FORGET]), (2, [FORGET]), (3, [FREE, FORGET])],
    ids=["ask", "look", "reserve", "decide"],
)
def test_up_to_the_pivot_a_refusal_undoes_what_was_done_in_reverse(refused_at: int, undoing: list[Any]) -> None:
    told = story().start(transfer())
    commands: list[AnyCommand] = [ASK, LOOK, RESERVE, DECIDE]
    for number, command in enumerate(commands):
        told.expect(command)
        if number == refused_at:
            told.refuse("too late")
            break
        told.reply(Balance(amount=70) if command is RESERVE else Done())
    for command in undoing:
        told.expect(command).reply()
    told.expect_undone().then(has(100, "given back: too late"))
    assert told.instance.error == "too late"


def test_behind_the_pivot_a_refused_step_is_tried_again_until_it_succeeds() -> None:
    told = decided().expect(PAY)
    ids = {told.command.id}
    for failures in range(1, POLICY.saga_attempts):
        told.refuse("not now").expect_pause()
        assert told.instance.attempts == failures
        assert told.instance.due_at == told.now + POLICY.retry_after(failures)
        told.until_due().expect(PAY)
        ids.add(told.command.id)
    assert len(ids) == POLICY.saga_attempts, "each try is a command of its own: an old one's kept reply is the refusal"
    told.reply().expect_completed().then(has(59))


def test_a_step_that_is_refused_too_often_leaves_the_saga_stuck_until_it_is_resumed() -> None:
    told = decided()
    for _ in range(POLICY.saga_attempts - 1):
        told.expect(PAY).refuse("not now").until_due()
    told.expect(PAY).refuse("never").expect_stuck()
    assert told.instance.error == "never"
    told.after(timedelta(days=30)).expect_stuck()
    told.resume().expect(PAY)
    assert (told.instance.stuck, told.instance.attempts) == (False, 0)
    told.reply().expect_completed()


def test_only_a_stuck_saga_is_resumed() -> None:
    told = story().start(transfer()).expect(ASK)
    with pytest.raises(AssertionError, match="not stuck"):
        told.resume()
    told.expect_nothing()


def test_a_saga_that_waits_for_a_reply_sends_its_command_at_once_when_it_is_retried() -> None:
    told = story().start(transfer()).expect(ASK)
    first = told.command
    for _ in range(5):
        told.until_due().expect(ASK)
    told.retry().expect(ASK)
    assert told.command.id == first.id, "who has handled it only answers again"
    assert told.instance.due_at == told.now + POLICY.step_timeout, "the waits are short again"
    told.reply().expect(LOOK)


def test_a_saga_that_pauses_tries_its_step_at_once_when_it_is_retried() -> None:
    told = decided().expect(PAY).refuse("not now").expect_pause().retry().expect(PAY)
    assert told.instance.attempts == 1, "it is still one that was refused"


def test_only_a_saga_on_its_way_is_retried() -> None:
    told = decided(money=40).expect(PAY).reply()
    for _ in range(POLICY.saga_attempts - 1):
        told.expect_pause().until_due()
    told.expect_stuck()
    with pytest.raises(AssertionError, match="not on its way"):
        told.retry()
    told.given(earn).resume().expect_completed()
    with pytest.raises(AssertionError, match="not on its way"):
        told.retry()


def test_undoing_is_tried_again_too() -> None:
    told = story().start(transfer()).expect(ASK).reply().expect(LOOK).refuse("too late")
    for _ in range(POLICY.saga_attempts - 1):
        told.expect(FORGET).refuse("not now").expect_pause().until_due()
    told.expect(FORGET).refuse("not now").expect_stuck().resume().expect(FORGET).reply()
    told.expect_undone().then(has(100, "given back: too late"))


def test_a_local_step_behind_the_pivot_is_tried_again_until_it_succeeds() -> None:
    told = decided(money=40).expect(PAY).reply().expect_pause().then(has(0))
    assert told.instance.attempts == 1
    told.until_due().expect_pause()
    assert told.instance.attempts == 2
    told.given(earn).until_due().expect_completed().then(has(0))
    told.after(timedelta(days=1)).expect_completed().then(has(0))


def test_a_local_step_that_is_refused_too_often_is_stuck_and_can_be_resumed() -> None:
    told = decided(money=40).expect(PAY).reply()
    for _ in range(POLICY.saga_attempts - 1):
        told.expect_pause().until_due()
    told.expect_stuck().given(earn).resume().expect_completed().then(has(0))


def test_a_reply_that_comes_twice_is_taken_once() -> None:
    told = story().start(transfer()).expect(ASK)
    first = told.command
    told.reply().expect(LOOK).reply(to=first).refuse(to=first).expect_nothing()
    assert told.instance.awaiting == told.command.id
    told.reply().expect(RESERVE)


def test_a_refusal_that_comes_twice_undoes_once() -> None:
    told = story().start(transfer()).expect(ASK).reply().expect(LOOK)
    look = told.command
    told.refuse("too late").expect(FORGET).refuse(to=look).expect_nothing().reply()
    told.refuse(to=look).reply(to=look).expect_undone().then(has(100, "given back: too late"))


def test_a_late_reply_to_an_earlier_try_is_dropped() -> None:
    told = decided().expect(PAY)
    first = told.command
    told.refuse("not now").reply(to=first).expect_pause().until_due().expect(PAY).reply(to=first)
    assert told.instance.awaiting == told.command.id
    told.reply().expect_completed()


def test_a_reply_after_the_end_is_dropped() -> None:
    told = decided().expect(PAY).reply().expect_completed()
    version = told.instance.version
    told.reply().refuse().expect_completed().then(has(59))
    assert told.instance.version == version


def test_without_a_reply_the_same_command_is_sent_again_with_growing_pauses() -> None:
    told = story().start(transfer()).expect(ASK)
    first, pauses = told.command, []
    for _ in range(7):
        before = told.now
        told.until_due().expect(ASK)
        pauses.append(told.now - before)
        assert (told.command.id, told.command.data) == (first.id, first.data)
    doubling = [POLICY.step_timeout * 2**n for n in range(5)]
    assert pauses == [*doubling, POLICY.longest_step_timeout, POLICY.longest_step_timeout]
    told.reply().expect(LOOK)
    assert told.instance.resends == 0
    assert told.instance.due_at == told.now + POLICY.step_timeout


def test_nothing_is_sent_again_before_its_time() -> None:
    told = story().start(transfer()).expect(ASK)
    told.after(POLICY.step_timeout - timedelta(microseconds=1)).expect_nothing()
    told.after(timedelta(microseconds=1)).expect(ASK)


def test_the_same_message_starts_one_saga() -> None:
    told = story().start(transfer(), by="request-1").expect(ASK)
    with pytest.raises(Conflict):
        told.start(transfer(), by="request-1")
    told.expect_nothing().then(has(60))
    told.start(transfer(), by="request-2").expect(ASK).then(has(20))


def test_a_message_may_start_sagas_of_several_keys() -> None:
    async def open_other(uow: WalletUnitOfWork) -> None:
        (await uow.wallets.add(Wallet(id=OTHER))).deposit(100)

    told = story().given(open_other).start(transfer(), by="request-1").expect(ASK)
    told.start(TransferSaga(wallet_id=OTHER, other=OTHER, amount=40), by="request-1").expect(ASK)


def test_a_reply_to_a_saga_that_is_not_known_has_to_wait() -> None:
    told = story().start(transfer()).expect(ASK)
    told._units._database.tables.clear()  # type: ignore[attr-defined]
    with pytest.raises(SagaNotFound):
        told.reply()


def test_a_saga_that_cannot_be_woken_pauses_and_is_stuck_in_the_end() -> None:
    told = story().start(transfer()).expect(ASK)
    id_ = told.instance.id

    async def put_off(uow: WalletUnitOfWork) -> None:
        await uow.sagas.put_off(id_, ValueError("broken"))

    for failures in range(1, POLICY.saga_attempts):
        told.given(put_off)
        assert told.instance.due_at == told.now + POLICY.retry_after(failures)
    told.given(put_off).expect_stuck()
    assert told.instance.error == "ValueError('broken')"
    told.reply().expect(LOOK)
    assert (told.instance.stuck, told.instance.attempts) == (False, 0)


def test_a_saga_of_local_steps_only_ends_at_once() -> None:
    class Local(Saga, key="wallet_id"):
        wallet_id: WalletId
        fails: bool = False

        @classmethod
        def steps(cls) -> Steps:
            return (local(cls.one, undo=cls.undo_one), local(cls.two))

        async def one(self, uow: WalletUnitOfWork) -> None:
            (await uow.wallets.get(self.wallet_id)).note("one")

        async def undo_one(self, uow: WalletUnitOfWork) -> None:
            (await uow.wallets.get(self.wallet_id)).note(f"undone: {self.reason}")

        async def two(self, uow: WalletUnitOfWork) -> None:
            (await uow.wallets.get(self.wallet_id)).note("two")
            if self.fails:
                raise FailedPrecondition("no")

    try:
        story().start(Local(wallet_id=MINE)).expect_completed().then(has(100, "one", "two"))
        told = story().start(Local(wallet_id=MINE, fails=True))
        told.expect_undone().then(has(100, "one", "undone: no"))
    finally:
        del declared._sagas[Local.type_name]


def test_what_a_local_step_does_not_find_yet_is_waited_for_and_refused_after_the_grace_period() -> None:
    class Patient(Saga, key="wallet_id"):
        wallet_id: WalletId
        other: WalletId

        @classmethod
        def steps(cls) -> Steps:
            return (local(cls.one, undo=cls.undo_one), local(cls.two))

        async def one(self, uow: WalletUnitOfWork) -> None:
            (await uow.wallets.get(self.wallet_id)).note("one")

        async def undo_one(self, uow: WalletUnitOfWork) -> None:
            (await uow.wallets.get(self.wallet_id)).note(f"undone: {self.reason}")

        async def two(self, uow: WalletUnitOfWork) -> None:
            (await uow.wallets.get(self.other)).note("two")

    async def comes(uow: WalletUnitOfWork) -> None:
        (await uow.wallets.add(Wallet(id=OTHER))).open("Bob")

    try:
        told = story().start(Patient(wallet_id=MINE, other=OTHER)).expect_pause().until_due().expect_pause()
        told.given(comes).until_due().expect_completed().then(has(100, "one"))

        told = story().start(Patient(wallet_id=MINE, other=OTHER))
        begun = told.now
        while told.now - begun < POLICY.grace:
            told.expect_pause().then(has(100, "one")).until_due()
        told.expect_undone().then(has(100, "one", "undone: wallet not found"))
    finally:
        del declared._sagas[Patient.type_name]


def test_sagas_have_names_keys_and_steps() -> None:
    assert TransferSaga.type_name == "tests.TransferSaga"
    assert (TransferSaga.service(), transfer().key) == ("tests", "mine")
    with pytest.raises(TypeError, match=r"two sagas are called tests\.TransferSaga"):

        class Again(Saga, key="wallet_id", name="tests.TransferSaga"):
            wallet_id: WalletId

    with pytest.raises(TypeError, match="has no steps"):

        class Stepless(Saga, key="wallet_id"):
            wallet_id: WalletId

    declared._sagas.pop("tests.Stepless", None)


def test_the_story_itself_fails_when_it_goes_another_way() -> None:
    told = story().start(transfer())
    with pytest.raises(AssertionError):
        told.expect(LOOK)
    told = story().start(transfer()).expect(ASK)
    with pytest.raises(AssertionError):
        told.reply(Balance(amount=1))  # not what that command answers
    for another_end in (told.expect_completed, told.expect_undone, told.expect_stuck, told.expect_pause):
        with pytest.raises(AssertionError):
            another_end()
    told.reply()
    with pytest.raises(AssertionError):
        told.expect_nothing()


def test_phases_and_steps_are_stored() -> None:
    told = story().start(transfer()).expect(ASK)
    assert (told.instance.step, told.instance.phase) == (1, Phase.FORWARD)
    told.refuse()
    assert (told.instance.step, told.instance.phase) == (0, Phase.UNDONE)
    assert step(TransferSaga.ask).shape.undoes is False
