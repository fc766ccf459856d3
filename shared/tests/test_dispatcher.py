"""What becomes of messages that arrive, one by one and in batches."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from shared.core.errors import Conflict, DomainError, FailedPrecondition, TechnicalFault
from shared.core.messages import Done, Refused
from shared.core.policy import Policy
from shared.core.serialization import decode_message
from shared.messaging.envelope import Received
from shared.messaging.set_aside import Line
from shared.tests.contracts import Balance, Deposit, Deposited, Heard, Nudge, WalletId, WalletOpened, Withdraw
from shared.tests.wallets import (
    NotEnough,
    Owner,
    WalletNotFound,
    WalletService,
    WalletUnitOfWork,
    received,
)

SECOND = timedelta(seconds=1)
GRACE = Policy().grace


def deposit(id_: str, wallet: str = "w", amount: int = 1, **how: Any) -> Received:
    return received(Deposit(wallet_id=WalletId(wallet), amount=amount), id_, **how)


def withdraw(id_: str, wallet: str = "w", amount: int = 1, **how: Any) -> Received:
    return received(Withdraw(wallet_id=WalletId(wallet), amount=amount), id_, **how)


def nudge(id_: str, wallet: str = "w", text: str = "", **how: Any) -> Received:
    return received(Nudge(wallet_id=WalletId(wallet), text=text), id_, **how)


def heard(id_: str, wallet: str = "w", text: str = "", **how: Any) -> Received:
    return received(Heard(wallet_id=WalletId(wallet), text=text), id_, **how)


def raising(error: BaseException) -> Callable[[Any, Any], Awaitable[None]]:
    async def behaviour(_message: Any, _uow: Any) -> None:
        raise error

    return behaviour


def broken(id_: str, key: str = "w", **headers: str) -> Received:
    """A message of ours whose data is no JSON."""
    message = deposit(id_, key)
    return Received(
        position=0, row_id=message.row_id, received_at=message.received_at,
        headers={**message.headers, **headers}, data="not json",
    )  # fmt: skip


async def note(message: Nudge | Heard, uow: WalletUnitOfWork) -> None:
    """Writes down that it was handled."""
    wallet = await uow.wallets.get(message.wallet_id)
    wallet.note(message.text)


# --- handled


async def test_a_command_is_carried_out_and_answered() -> None:
    service = WalletService()
    await service.open("w", balance=10)
    await service.handle(withdraw("c1", amount=3, saga_id="s", reply_key="order-7"))
    assert await service.balance("w") == 7
    (reply,) = (message for message in service.sent() if message.kind == "reply")
    assert (reply.kind, reply.route, reply.outcome, reply.saga_id) == ("reply", "reply.order", "success", "s")
    assert (reply.key, reply.causation_id, reply.correlation_id) == ("order-7", "c1", "correlation-c1")
    assert decode_message(reply.type, reply.data) == Balance(amount=7)


async def test_a_command_without_more_to_say_is_answered_with_done() -> None:
    service = WalletService()
    await service.open("w")
    await service.handle(deposit("c1"))
    assert service.replies() == [("c1", Done.type_name)]
    (reply,) = (message for message in service.sent() if message.kind == "reply")
    assert reply.key == "w", "the command's own key, as it names no other"


async def test_nobody_is_answered_who_does_not_ask() -> None:
    service = WalletService(heard=note)
    await service.open("w")
    await service.handle(deposit("c1", reply_to=None), heard("e1"))
    assert service.replies() == []
    assert set(service.database.inbox) == {"c1", "e1"}


async def test_what_follows_from_a_message_carries_its_ids() -> None:
    service = WalletService()
    await service.open("w")
    await service.handle(deposit("c1"))
    sent = service.sent()
    assert sorted(message.kind for message in sent) == ["event", "reply"]
    assert {(message.causation_id, message.correlation_id) for message in sent} == {("c1", "correlation-c1")}


async def test_the_position_moves_with_the_effects() -> None:
    service = WalletService()
    await service.open("w")
    await service.handle(deposit("c1"), deposit("c2"))
    assert service.database.positions[0].position == 2
    assert service.database.positions[0].row_id == "row-c2"


# --- handled before


async def test_a_message_that_comes_twice_is_handled_once() -> None:
    service = WalletService()
    await service.open("w")
    await service.handle(deposit("c1"))
    await service.handle(deposit("c1"), deposit("c2"), deposit("c2"))
    await service.handle(deposit("c2"))
    assert await service.balance("w") == 2
    assert service.replies() == [("c1", Done.type_name), ("c2", Done.type_name)], "a relay's repeat gets no reply"


async def test_a_command_that_is_sent_again_gets_the_same_reply_again() -> None:
    service = WalletService()
    await service.open("w", balance=1)
    await service.handle(withdraw("c1", row="row-1"))
    await service.handle(withdraw("c1", row="row-2"))
    await service.handle(withdraw("c1", row="row-1"))
    first, second = (message for message in service.sent() if message.kind == "reply")
    assert first == second
    assert first.type == Balance.type_name
    assert await service.balance("w") == 0


async def test_a_refused_command_that_is_sent_again_is_refused_again_though_it_could_succeed_now() -> None:
    service = WalletService()
    await service.open("w")
    await service.handle(withdraw("c1", row="row-1"))
    await service.handle(deposit("c2", amount=5))
    await service.handle(withdraw("c1", row="row-2"))
    assert [type_ for id_, type_ in service.replies() if id_ == "c1"] == [Refused.type_name] * 2
    assert await service.balance("w") == 5


async def test_a_command_sent_again_in_the_same_batch_is_answered_twice_and_done_once() -> None:
    service = WalletService()
    await service.open("w")
    await service.handle(deposit("c1", row="row-1"), deposit("c1", row="row-2"))
    assert service.replies() == [("c1", Done.type_name)] * 2
    assert await service.balance("w") == 1


async def test_a_command_that_had_been_set_aside_gets_its_reply_when_it_is_sent_again() -> None:
    service = WalletService()
    await service.handle(deposit("c1", row="row-1"))
    await service.handle(deposit("c1", row="row-2"))
    assert service.replies() == [], "it waits, and is not handled a second time"
    assert service.waiting() == ["c1"]
    await service.open("w")
    await service.work_due(SECOND)
    assert service.replies() == [("c1", Done.type_name)]
    await service.handle(deposit("c1", row="row-3"))
    assert service.replies() == [("c1", Done.type_name)] * 2
    assert await service.balance("w") == 1


# --- refused


async def test_a_refusal_leaves_only_the_refusal() -> None:
    async def do_much_and_refuse(command: Nudge, uow: WalletUnitOfWork) -> None:
        (await uow.wallets.get(command.wallet_id)).deposit(100)
        await uow.owners.add(Owner(id="o", name="Ada"))
        raise NotEnough

    service = WalletService(nudge=do_much_and_refuse)
    await service.open("w")
    await service.handle(deposit("c1"), nudge("c2"), deposit("c3"))
    assert await service.balance("w") == 2
    assert service.database.tables[Owner] == {}
    done, refused = Done.type_name, Refused.type_name
    assert service.replies() == [("c1", done), ("c2", refused), ("c3", done)]
    refusal = next(message for message in service.sent() if message.type == refused)
    assert refusal.outcome == "refusal"
    assert decode_message(refused, refusal.data) == Refused(
        kind="failed_precondition", code="not_enough_money", message="not enough money"
    )
    assert service.waiting() == []


async def test_a_refusal_after_a_flush_is_a_refusal_too() -> None:
    async def flush_and_refuse(command: Nudge, uow: WalletUnitOfWork) -> None:
        (await uow.wallets.get(command.wallet_id)).deposit(100)
        await uow.flush()
        raise NotEnough

    service = WalletService(nudge=flush_and_refuse)
    await service.open("w")
    await service.handle(deposit("c1"), nudge("c2"), deposit("c3"))
    assert await service.balance("w") == 2
    assert [type_ for _, type_ in service.replies()] == [Done.type_name, Refused.type_name, Done.type_name]
    await service.handle(nudge("c2", row="again"))
    assert service.replies()[-1] == ("c2", Refused.type_name)


async def test_an_event_cannot_be_refused() -> None:
    service = WalletService(heard=raising(FailedPrecondition("no")))
    await service.open("w")
    await service.handle(deposit("c1"), heard("e1"), deposit("c2"))
    assert service.waiting() == ["e1", "c2"]
    assert service.database.waiting[1].attempts == 1
    assert await service.balance("w") == 1


# --- not yet


async def test_what_names_something_unknown_waits_for_it_and_its_key_behind_it() -> None:
    service = WalletService()
    await service.open("other")
    await service.handle(deposit("c1"), deposit("c2"), deposit("c3", "other"))
    assert service.waiting() == ["c1", "c2"]
    assert await service.balance("other") == 1
    await service.handle(withdraw("c4", amount=2), deposit("c5", "other"))
    assert service.waiting() == ["c1", "c2", "c4"], "later batches queue up behind"
    await service.open("w")
    await service.work_due(SECOND)
    assert service.waiting() == []
    assert await service.balance("w") == 0
    assert [id_ for id_, _ in service.replies()] == ["c1", "c2", "c4"]


async def test_it_waits_until_the_grace_period_ends_and_is_refused_then() -> None:
    service = WalletService()
    await service.handle(deposit("c1"))
    waited = 0
    while service.waiting():
        assert service.partition.next_due is not None
        assert service.partition.next_due <= service.clock.now + GRACE
        service.clock.now = max(service.partition.next_due, service.clock.now)
        await service.work_due()
        waited += 1
        assert waited < 50
    assert waited > 3, "it is tried again and again"
    assert service.replies() == [("c1", Refused.type_name)]
    assert service.clock.now == service.sent()[-1].time
    await service.handle(deposit("c1", row="again"))
    assert service.replies() == [("c1", Refused.type_name)] * 2


@pytest.mark.parametrize("hours", [-6, 6])
async def test_the_grace_period_is_as_long_as_it_is_when_the_clock_is_set(hours: int) -> None:
    service = WalletService()
    begun = service.steady()
    await service.handle(deposit("c1"))
    for by in (hours, -hours, -hours, hours):
        service.set_clock(by=by * timedelta(hours=1))
        await service.work_due(SECOND)
        assert service.waiting() == ["c1"]
        assert service.partition.next_due is not None
        assert service.partition.next_due <= begun + GRACE
    while service.waiting():
        assert service.partition.next_due is not None
        await service.work_due(max(service.partition.next_due - service.steady(), timedelta(0)))
        assert service.steady() - begun < GRACE + 5 * SECOND
    assert service.replies() == [("c1", Refused.type_name)]


async def test_time_in_which_nobody_could_try_it_is_no_grace() -> None:
    service = WalletService()
    await service.handle(deposit("c1"))
    await service.work_due(timedelta(days=1))  # the service was away
    assert service.waiting() == ["c1"]
    await service.open("w")
    await service.work_due(SECOND)
    assert service.waiting() == []


async def test_an_event_that_waited_in_vain_is_parked() -> None:
    service = WalletService(heard=note)
    await service.handle(heard("e1"), heard("e2"))
    await service.work_due(GRACE)
    assert service.parked() == ["e1"]
    assert service.waiting() == ["e1", "e2"]
    assert service.database.waiting[1].error == "wallet not found"


async def test_not_yet_after_a_flush_waits_too() -> None:
    async def flush_and_wait(message: Nudge | Heard, uow: WalletUnitOfWork) -> None:
        await uow.owners.add(Owner(id=message.text, name="Ada"))
        await uow.flush()
        (await uow.wallets.get(message.wallet_id)).note(message.text)

    service = WalletService(nudge=flush_and_wait, heard=flush_and_wait)
    await service.handle(nudge("c1", "a", "x"), heard("e1", "b", "y"))
    assert service.waiting() == ["c1", "e1"]
    assert (service.parked(), service.replies()) == ([], [])
    await service.work_due(GRACE / 2)
    assert service.waiting() == ["c1", "e1"]
    assert [message.attempts for message in service.database.waiting.values()] == [0, 0]
    await service.open("a")
    await service.work_due(GRACE)
    assert service.replies() == [("c1", Done.type_name)]
    assert service.parked() == ["e1"]


async def test_a_set_aside_command_that_is_refused_after_a_flush_is_answered() -> None:
    async def flush_and_refuse(command: Nudge, uow: WalletUnitOfWork) -> None:
        (await uow.wallets.get(command.wallet_id)).deposit(100)
        await uow.flush()
        raise NotEnough

    service = WalletService(nudge=flush_and_refuse)
    await service.handle(nudge("c1"))
    assert service.waiting() == ["c1"]
    await service.open("w")
    await service.work_due(SECOND)
    assert service.waiting() == []
    assert service.replies() == [("c1", Refused.type_name)]
    assert await service.balance("w") == 0
    await service.handle(nudge("c1", row="again"))
    assert service.replies() == [("c1", Refused.type_name)] * 2


async def test_a_reply_to_a_saga_that_is_not_known_waits_for_it() -> None:
    service = WalletService()
    reply = received(Done(), "r1", saga_id="nobody", reply_to="tests", outcome="success", key="w")
    await service.handle(reply)
    assert service.waiting() == ["r1"]
    assert service.database.waiting[1].error == "saga not found"
    await service.work_due(GRACE)
    assert service.parked() == ["r1"]


# --- what can't be handled


@pytest.mark.parametrize(
    "message",
    [
        broken("x1"),
        broken("x1", **{"ce-type": "tests.Nobody"}),
        broken("x1", **{"ce-kind": "rumour"}),
        received(Balance(amount=1), "x1", kind="command", key="w"),
        nudge("x1"),
        heard("x1"),
    ],
    ids=["data", "type", "kind", "a reply sent as a command", "a command nobody handles", "an event nobody handles"],
)
async def test_what_cannot_be_handled_is_parked_at_once_with_its_key_behind_it(message: Received) -> None:
    service = WalletService()
    await service.open("w", "other")
    await service.handle(deposit("c1", "other"), message, deposit("c2"), deposit("c3", "other"))
    assert service.waiting() == ["x1", "c2"]
    if message.headers["ce-type"] != Balance.type_name:  # that one waits for its saga first
        assert service.parked() == ["x1"]
    assert (await service.balance("other"), await service.balance("w")) == (2, 0)


async def test_what_says_that_it_is_another_message_than_its_subject_does_is_parked() -> None:
    """Or who may publish to one subject could say what only others may."""
    service = WalletService()
    await service.open("w")
    told = replace(deposit("told"), subject=f"0.command.{Deposit.type_name}")
    forged = replace(deposit("forged"), subject=f"0.event.{Heard.type_name}")
    await service.handle(told, forged)
    assert service.parked() == ["forged"]
    (waiting,) = service.database.waiting.values()
    assert f"it says that it is command.{Deposit.type_name}, and was sent to 0.event" in waiting.error


async def test_a_message_without_any_of_our_headers_is_parked() -> None:
    service = WalletService()
    foreign = Received(position=0, row_id="row", received_at=service.clock.now, headers={"a": "b"}, data="\x00\ufffd")
    await service.handle(foreign)
    assert service.parked() == ["row"]
    assert service.database.positions[0].position == 1


async def test_text_that_postgres_cannot_hold_does_not_get_that_far() -> None:
    service = WalletService(nudge=raising(ValueError("no \x00 here")))
    await service.open("w")
    foreign = Received(
        position=0, row_id="r\x00w", received_at=service.clock.now,
        headers={"ce-id": "i\x00d", "ce-partitionkey": "k\x00y"}, data="\x00",
    )  # fmt: skip
    await service.handle(foreign, nudge("c1"))
    for waiting in service.database.waiting.values():
        texts = [
            waiting.line.key,
            waiting.line.source,
            waiting.message_id,
            waiting.error,
            waiting.received.row_id,
            waiting.received.data,
        ]
        assert not any("\x00" in text for text in texts)
    assert len(service.waiting()) == 2


# --- failed


async def test_what_fails_is_set_aside_alone_and_the_others_go_on() -> None:
    service = WalletService(nudge=raising(ValueError("boom")))
    await service.open("a", "b")
    await service.handle(deposit("c1", "a"), nudge("c2", "a"), deposit("c3", "b"), deposit("c4", "a"))
    assert service.waiting() == ["c2", "c4"]
    assert (await service.balance("a"), await service.balance("b")) == (1, 1)
    assert service.database.waiting[1].error == "boom"
    assert service.database.positions[0].position == 4
    assert sorted(service.database.inbox) == ["c1", "c2", "c3", "c4"]
    assert service.replies() == [("c1", Done.type_name), ("c3", Done.type_name)]


async def test_the_position_moves_past_what_was_set_aside() -> None:
    service = WalletService(nudge=raising(ValueError("boom")))
    await service.open("w")
    await service.handle(deposit("c1"), nudge("c2"))
    assert (service.waiting(), service.database.positions[0].row_id) == (["c2"], "row-c2")


async def test_what_fails_is_tried_again_with_growing_pauses_and_parked_in_the_end() -> None:
    policy = Policy()
    service = WalletService(nudge=raising(ValueError("boom")))
    await service.open("w")
    await service.handle(nudge("c1"), deposit("c2"))
    await service.work_due()  # until it has been looked, anything may be due
    pauses = []
    while not service.parked():
        due = service.partition.next_due
        assert due is not None
        pauses.append(due - service.clock.now)
        service.clock.now = due
        await service.work_due()
    assert pauses == [policy.retry * factor for factor in (1, 2, 4, 8)]
    assert service.database.waiting[1].attempts == policy.attempts
    assert service.waiting() == ["c1", "c2"], "its key waits with it"
    assert service.partition.next_due is None


async def test_a_parked_message_is_handled_when_it_is_redriven_and_its_key_after_it() -> None:
    works = False

    async def sometimes(command: Nudge, uow: WalletUnitOfWork) -> None:
        if not works:
            raise ValueError("boom")
        await note(command, uow)

    service = WalletService(Policy(attempts=1), nudge=sometimes)
    await service.open("w")
    await service.handle(nudge("c1", text="first"), nudge("c2", text="second"))
    assert service.parked() == ["c1"]
    await service.handle(nudge("c3", text="third"))
    works = True
    async with service.database.transaction() as tx:
        assert await tx.waiting_room.redrive(Line("w", "test"), service.clock.now) == 3
    await service.work_due(timedelta(days=1))
    assert (await service.wallet("w")).notes == ["first", "second", "third"]
    assert (service.waiting(), service.parked()) == ([], [])
    assert [id_ for id_, _ in service.replies()] == ["c1", "c2", "c3"]


async def test_a_fault_of_the_surroundings_is_nobodys_failure() -> None:
    failing = True

    async def sometimes(command: Nudge, uow: WalletUnitOfWork) -> None:
        (await uow.wallets.get(command.wallet_id)).deposit(100)
        await uow.flush()
        if failing:
            raise TechnicalFault("the disk is full")

    service = WalletService(nudge=sometimes)
    await service.open("w")
    batch = service.placed(deposit("c1"), nudge("c2"))
    with pytest.raises(TechnicalFault, match="disk"):
        await service.partition.handle(batch)
    assert (service.waiting(), service.replies(), await service.balance("w")) == ([], [], 0)
    assert 0 not in service.database.positions
    failing = False
    await service.partition.handle(batch)
    assert await service.balance("w") == 101


async def test_a_set_aside_message_meets_a_fault_of_the_surroundings_without_being_counted() -> None:
    async def unlucky(command: Nudge, uow: WalletUnitOfWork) -> None:
        (await uow.wallets.get(command.wallet_id)).deposit(100)
        raise TechnicalFault("the disk is full")

    service = WalletService(nudge=unlucky)
    await service.handle(nudge("c1"))
    await service.open("w")
    with pytest.raises(TechnicalFault, match="disk"):
        await service.work_due(SECOND)
    assert service.database.waiting[1].attempts == 0
    assert await service.balance("w") == 0


async def test_a_conflict_is_tried_again_at_once() -> None:
    conflicts = 3

    async def contended(command: Nudge, uow: WalletUnitOfWork) -> None:
        nonlocal conflicts
        if conflicts:
            conflicts -= 1
            raise Conflict("busy")
        await note(command, uow)

    service = WalletService(nudge=contended)
    await service.open("w")
    await service.handle(deposit("c1"), nudge("c2"))
    assert await service.balance("w") == 1
    assert service.waiting() == []


async def test_what_meets_conflicts_only_is_set_aside_alone() -> None:
    service = WalletService(nudge=raising(Conflict("busy")))
    await service.open("w", "other")
    await service.handle(deposit("c1", "other"), nudge("c2"), deposit("c3", "other"))
    assert await service.balance("other") == 2
    assert service.waiting() == ["c2"]


async def test_another_senders_messages_of_the_key_do_not_wait() -> None:
    """They may bring just what the first one waits for."""
    service = WalletService()
    opened = received(WalletOpened(wallet_id=WalletId("w"), owner="Ada"), "e1", source="another")
    await service.handle(deposit("c1"), opened, deposit("c2"))
    assert service.waiting() == ["c1", "c2"]
    await service.work_due(SECOND)
    assert service.waiting() == []
    assert await service.balance("w") == 2


async def test_messages_of_a_key_are_handled_in_their_order_whatever_happens_between() -> None:
    """One is set aside, some come later, one fails for a while: no later one is seen before an earlier one."""
    failures = 2

    async def sometimes(command: Nudge, uow: WalletUnitOfWork) -> None:
        nonlocal failures
        if command.text == "3" and failures:
            failures -= 1
            raise ValueError("not now")
        await note(command, uow)

    service = WalletService(nudge=sometimes)
    numbers = iter(range(1, 100))
    await service.handle(*(nudge(f"n{n}", text=str(n)) for n in (next(numbers), next(numbers))))
    await service.open("w")
    for _ in range(6):
        n = next(numbers)
        await service.handle(nudge(f"n{n}", text=str(n)))
        await service.work_due(SECOND / 4)
    await service.work_due(10 * SECOND)
    assert (await service.wallet("w")).notes == [str(n) for n in range(1, 9)]
    assert service.waiting() == []


async def test_a_batch_loads_what_it_needs_before_its_handlers_run() -> None:
    asked: list[bool] = []

    async def look(command: Nudge, uow: WalletUnitOfWork) -> None:
        asked.append(command.wallet_id in uow.wallets._histories)

    service = WalletService(nudge=look)
    await service.open("a", "b")
    await service.handle(nudge("c1", "a"), nudge("c2", "b"))
    assert asked == [True, True]


async def test_a_handler_for_a_command_may_be_an_upsert_for_an_event() -> None:
    service = WalletService()
    opened = WalletOpened(wallet_id=WalletId("w"), owner="Ada")
    deposited = Deposited(wallet_id=WalletId("w"), amount=3)
    await service.handle(received(opened, "e1"), received(deposited, "e2"))
    assert (await service.wallet("w")).notes == ["opened by Ada", "deposited 3"]


def test_refusals_have_stable_codes() -> None:
    assert (WalletNotFound().code, WalletNotFound().kind) == ("wallet_not_found", "not_found")
    assert DomainError("Anything Else").code == "anything_else"
