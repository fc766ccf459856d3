"""What operators can do by hand, and what comes of it."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from shared.core.messages import Done, Refused
from shared.core.policy import Policy
from shared.core.serialization import decode_message, from_json
from shared.host.admin.repairs import By, MessageNotParked, Repairs
from shared.messaging.repair_log import Action
from shared.messaging.set_aside import ParkedFilter
from shared.processing.dispatcher import StillAwaited
from shared.saga.instance import SagaFilter
from shared.saga.orchestrator import SagaNotFound
from shared.tests.contracts import Heard, Nudge, WalletId
from shared.tests.sagas import TransferSaga
from shared.tests.wallets import WalletService, WalletUnitOfWork, received

ADA = By(operator="ada", reason="sent by a test")
ONCE = Policy(attempts=1)
A_DAY = timedelta(days=1)


class Broken:
    """A handler that fails until it is mended."""

    def __init__(self) -> None:
        self.mended = False

    async def __call__(self, message: Nudge | Heard, uow: WalletUnitOfWork) -> None:
        if not self.mended:
            raise ValueError(f"{message.text} is broken")
        (await uow.wallets.get(message.wallet_id)).note(message.text)


async def parking_service(broken: Broken | None = None) -> tuple[WalletService, Repairs[WalletUnitOfWork]]:
    """One whose handlers of `Nudge` and `Heard` fail."""
    handler = broken or Broken()
    service = WalletService(ONCE, nudge=handler, heard=handler)
    await service.open("w", "other")
    return service, Repairs(service.units, service.dispatcher, service.clock)


def nudge(id_: str, wallet: str = "w", **how: Any) -> Any:
    return received(Nudge(wallet_id=WalletId(wallet), text=id_), id_, **how)


def heard(id_: str, wallet: str = "w", **how: Any) -> Any:
    return received(Heard(wallet_id=WalletId(wallet), text=id_), id_, **how)


def refusals(service: WalletService) -> list[tuple[str, str]]:
    """Which commands were refused, and why."""
    replies = [(sent.causation_id, decode_message(sent.type, sent.data)) for sent in service.sent() if sent.reply_to]
    return [(command, reply.message) for command, reply in replies if isinstance(reply, Refused)]


async def test_what_is_parked_is_shown_with_what_waits_behind_it() -> None:
    service, repairs = await parking_service()
    await service.handle(nudge("c1"), nudge("c2"), nudge("c3"), nudge("d1", "other"))
    found = await repairs.parked(ParkedFilter(), 10)
    assert [(parked.message.message_id, parked.behind) for parked in found] == [("c1", 2), ("d1", 0)]
    shown = await repairs.parked_message("c1", 1)
    assert shown.message.error == "c1 is broken"
    assert [message.message_id for message in shown.behind] == ["c2"]
    for not_parked in ("c2", "nobody"):
        with pytest.raises(MessageNotParked):
            await repairs.parked_message(not_parked, 1)


async def test_what_is_redriven_is_handled_in_order() -> None:
    broken = Broken()
    service, repairs = await parking_service(broken)
    await service.handle(nudge("c1"), nudge("c2"), nudge("d1", "other"), heard("e1"))
    broken.mended = True
    assert await repairs.redrive(ParkedFilter(type=Nudge.type_name, key="w"), ADA) == 3, "the event is of their line"
    await service.work_due(A_DAY)
    assert (await service.wallet("w")).notes == ["c1", "c2", "e1"]
    assert service.parked() == ["d1"]
    assert await repairs.redrive(ParkedFilter(message_id="c1"), ADA) == 0, "it waits no longer"


async def test_more_lines_than_fit_into_one_transaction_are_redriven() -> None:
    broken = Broken()
    service, repairs = await parking_service(broken)
    wallets = [f"w{number}" for number in range(250)]
    await service.open(*wallets)
    await service.handle(*(nudge(f"c-{wallet}", wallet) for wallet in wallets))
    broken.mended = True
    assert await repairs.redrive(ParkedFilter(), ADA) == 250
    for _ in range(3):  # a hundred at a time, so that what comes meanwhile is not held up
        await service.work_due(A_DAY)
    assert service.waiting() == []


async def test_a_dropped_command_is_refused_now_and_when_it_is_sent_again() -> None:
    service, repairs = await parking_service()
    await service.handle(nudge("c1"))
    await repairs.drop(ParkedFilter(message_id="c1"), ADA)
    assert service.waiting() == []
    assert refusals(service) == [("c1", "dropped by an operator: sent by a test")]
    await service.handle(nudge("c1", row="sent again"))
    assert [command for command, _ in refusals(service)] == ["c1", "c1"]
    await service.handle(nudge("c1", row="sent again"), nudge("c1"))
    assert service.waiting() == []


async def test_a_dropped_event_does_not_come_back() -> None:
    service, repairs = await parking_service()
    await service.handle(heard("e1"))
    await repairs.drop(ParkedFilter(message_id="e1"), ADA)
    await service.handle(heard("e1", row="published again"))
    assert (service.waiting(), service.replies()) == ([], [])


async def test_what_waits_behind_a_dropped_message_is_handled_with_a_new_time_of_grace() -> None:
    service, repairs = await parking_service()
    await service.handle(heard("e1", "late"), received(Heard(wallet_id=WalletId("late")), "e2"))
    await service.work_due(A_DAY)
    assert service.waiting() == ["e1", "e2"]
    await repairs.drop(ParkedFilter(message_id="e1"), ADA)
    assert [message.set_aside_at for message in service.database.waiting.values()] == [service.clock.now]


async def test_a_message_that_is_none_of_ours_can_be_dropped() -> None:
    service, repairs = await parking_service()
    message = replace(nudge("c1"), headers={"a": "b"}, row_id="row")
    await service.handle(message)
    await repairs.drop(ParkedFilter(message_id="row"), ADA)
    assert (service.waiting(), service.sent()) == ([], [])


async def test_only_what_is_parked_is_dropped() -> None:
    service, repairs = await parking_service()
    await service.handle(nudge("c1"), nudge("c2"))
    for id_ in ("c2", "nobody"):
        assert await repairs.drop(ParkedFilter(message_id=id_), ADA) == 0
    assert service.waiting() == ["c1", "c2"]
    assert service.database.repairs == []


async def test_all_that_fails_alike_can_be_dropped() -> None:
    service, repairs = await parking_service()
    await service.handle(nudge("c1"), nudge("c2"), heard("e1", "other"))
    assert await repairs.drop(ParkedFilter(error="IS BROKEN"), ADA) == 2
    assert service.waiting() == ["c2"], "it will be handled, now that it is the first"
    assert [done.subject for done in service.database.repairs] == ["c1", "e1"]


async def test_a_reply_that_a_saga_waits_for_is_not_dropped() -> None:
    service, repairs = await parking_service()
    async with service.units.begin() as uow:
        (await uow.wallets.get(WalletId("w"))).deposit(10)
        await uow.sagas.start(TransferSaga(wallet_id=WalletId("w"), other=WalletId("o"), amount=1))
    (command,) = (sent for sent in service.sent() if sent.kind == "command")
    how: Any = {"saga_id": command.saga_id, "reply_to": "tests", "outcome": "success", "key": "w"}
    broken = replace(received(Done(), "r1", causation_id=command.id, **how), data="not json")
    stale = replace(received(Done(), "r2", causation_id="another", **{**how, "key": "x"}), data="not json")
    await service.handle(broken, stale)
    assert service.parked() == ["r1", "r2"]
    with pytest.raises(StillAwaited):
        await repairs.drop(ParkedFilter(message_id="r1"), ADA)
    assert service.parked() == ["r1", "r2"]
    await repairs.drop(ParkedFilter(message_id="r2"), ADA)
    assert service.parked() == ["r1"]


async def test_what_is_done_is_recorded_with_what_was_lost_by_it() -> None:
    service, repairs = await parking_service()
    await service.handle(nudge("c1"), nudge("d1", "other"))
    await repairs.redrive(ParkedFilter(message_id="d1"), By(operator="grace"))
    await repairs.drop(ParkedFilter(message_id="c1"), ADA)
    dropped, redriven = await repairs.history(list(Action), 10)
    assert (dropped.action, dropped.subject, dropped.operator, dropped.reason) == ("drop", "c1", "ada", ADA.reason)
    assert (dropped.at, dropped.type, dropped.key) == (service.clock.now, Nudge.type_name, "w")
    details = from_json(dict[str, Any], dropped.details)
    assert details["data"] == nudge("c1").data
    assert details["headers"]["ce-id"] == "c1"
    assert details["error"] == "c1 is broken"
    assert (redriven.action, redriven.subject, redriven.operator) == ("redrive", "d1", "grace")
    assert await repairs.history({Action.RESUME}, 10) == []


async def started(service: WalletService) -> str:
    """A saga that waits for its first reply; its id."""
    async with service.units.begin() as uow:
        (await uow.wallets.get(WalletId("w"))).deposit(10)
        await uow.sagas.start(TransferSaga(wallet_id=WalletId("w"), other=WalletId("o"), amount=1))
    (command,) = (sent for sent in service.sent() if sent.kind == "command")
    assert command.saga_id is not None
    return command.saga_id


async def test_a_saga_on_its_way_is_shown_and_retried() -> None:
    service, repairs = await parking_service()
    id_ = await started(service)
    shown = await repairs.saga(id_, 10)
    assert [(step.name, step.state) for step in shown.steps[:3]] == [
        ("take", "done"),
        ("ask", "now"),
        ("look", "to do"),
    ]
    assert await repairs.resume(SagaFilter(), ADA) == 0, "it is not stuck"
    assert await repairs.retry(SagaFilter(id=id_), ADA) == 1
    commands = [sent.id for sent in service.sent() if sent.kind == "command"]
    assert len(commands) == 2
    assert len(set(commands)) == 1
    (record,) = (await repairs.saga(id_, 10)).repairs
    assert (record.action, record.subject, record.operator, record.key) == ("retry", id_, "ada", "w")
    with pytest.raises(SagaNotFound):
        await repairs.saga("nobody", 10)


async def test_a_stuck_saga_is_resumed_and_not_retried() -> None:
    service, repairs = await parking_service()
    id_ = await started(service)
    async with service.units.begin() as uow:
        for _ in range(service.policy.saga_attempts):
            await uow.sagas.put_off(id_, ValueError("broken"))
    assert [saga.id for saga in await repairs.sagas(SagaFilter(stuck=True), 10)] == [id_]
    assert await repairs.retry(SagaFilter(), ADA) == 0
    assert await repairs.resume(SagaFilter(error="BROKEN"), ADA) == 1
    assert await repairs.sagas(SagaFilter(stuck=True), 10) == []
    (record,) = await repairs.history({Action.RESUME}, 10)
    assert from_json(dict[str, Any], record.details)["step"] == "ask"
