"""The unit of work and its repositories: what is kept, what is dropped, and what is written."""

import asyncio
import gc
import weakref
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest

from shared.adapters.memory.database import MemoryDatabase
from shared.core.context import Cause
from shared.core.errors import Conflict
from shared.core.messages import Done
from shared.core.policy import Policy
from shared.core.serialization import Json, to_json
from shared.eventsourcing.snapshots import EVERY, SnapshotFormat
from shared.eventsourcing.store import Snapshot
from shared.messaging.envelope import MAX_DATA, Envelope, MessageTooLarge
from shared.messaging.inbox import Claim
from shared.saga.instance import SagaInstance
from shared.saga.machine import Phase
from shared.testing.system import VirtualClock
from shared.tests.contracts import Deposit, Deposited, WalletId
from shared.tests.sagas import TransferSaga
from shared.tests.wallets import (
    NOON,
    NotEnough,
    Owner,
    OwnerNotFound,
    Tally,
    Wallet,
    WalletNotFound,
    WalletService,
    wallet_units,
)
from shared.unit_of_work.unit_of_work import AlreadyWritten

CAUSE = Cause("correlation", "message", "before")


async def stored_events(service: WalletService, id_: str = "w") -> list[tuple[int, str]]:
    return [(event.version, event.type) for event in service.database.events.get(("Wallet", id_), [])]


async def test_what_handlers_change_is_written_when_the_block_ends() -> None:
    service = WalletService()
    async with service.units.begin() as uow:
        with uow.attempt(CAUSE):
            wallet = await uow.wallets.add(Wallet(id="w"))
            wallet.open("Ada")
            wallet.note("private")
            await uow.owners.add(Owner(id="o", name="Ada"))
            uow.claim(Claim(message_id="m", row_id="r"))
    (opened, noted) = service.database.events["Wallet", "w"]
    assert (opened.type, opened.version, noted.type, noted.version) == ("tests.WalletOpened", 1, "tests.Noted", 2)
    assert (opened.metadata.correlation_id, opened.metadata.causation_id) == ("correlation", "message")
    assert opened.occurred_at == NOON
    (sent,) = service.sent()
    assert (sent.type, sent.key, sent.sequence, sent.id) == ("tests.WalletOpened", "w", 1, opened.metadata.id)
    assert (sent.correlation_id, sent.causation_id, sent.subject) == ("correlation", "message", "w")
    assert service.database.tables[Owner]["o"] == Owner(id="o", version=1, name="Ada")
    assert set(service.database.inbox) == {"m"}


async def test_nothing_is_written_when_the_block_fails() -> None:
    service = WalletService()
    with pytest.raises(ZeroDivisionError):
        async with service.units.begin() as uow:
            with uow.attempt(CAUSE):
                (await uow.wallets.add(Wallet(id="w"))).open("Ada")
            await uow.flush()
            raise ZeroDivisionError
    assert await stored_events(service) == []
    assert service.sent() == []


async def test_what_is_committed_is_told_afterwards_and_only_then() -> None:
    told: list[Any] = []
    database = MemoryDatabase()
    units = wallet_units(database, VirtualClock(NOON), Policy())
    units._on_commit = told.append
    with pytest.raises(ZeroDivisionError):
        async with units.begin() as uow:
            (await uow.wallets.add(Wallet(id="w"))).deposit(1)
            await uow.flush()
            raise ZeroDivisionError
    assert told == []
    async with units.on(database).begin() as uow:
        (await uow.wallets.add(Wallet(id="w"))).deposit(1)
    assert told == [[Deposited(wallet_id=WalletId("w"), amount=1)]]


async def test_what_is_too_large_to_be_sent_is_refused_before_it_is_written() -> None:
    service = WalletService()
    async with service.units.begin() as uow:
        with uow.attempt(CAUSE):
            (await uow.wallets.add(Wallet(id="small"))).open("x" * (MAX_DATA - 1000))
        with pytest.raises(MessageTooLarge, match="too large to be sent to other services"), uow.attempt(CAUSE):
            (await uow.wallets.add(Wallet(id="w"))).open("\u20ac" * (MAX_DATA // 3))
    assert [sent.key for sent in service.sent()] == ["small"]
    assert await stored_events(service) == []


async def test_an_attempt_that_fails_leaves_nothing_and_the_others_all() -> None:
    service = WalletService()
    await service.open("w", balance=10)
    async with service.units.begin() as uow:
        with uow.attempt(CAUSE):
            (await uow.wallets.get("w")).deposit(1)
        with pytest.raises(NotEnough), uow.attempt(CAUSE):
            owner = await uow.owners.add(Owner(id="o", name="Ada"))
            owner.name = "Grace"
            (await uow.tallies.add(Tally(id="t"))).add(3)
            (await uow.wallets.add(Wallet(id="new"))).open("Grace")
            wallet = await uow.wallets.get("w")
            wallet.withdraw(5)
            wallet.withdraw(50)
        with uow.attempt(CAUSE):
            wallet = await uow.wallets.get("w")
            assert (wallet.balance, wallet.version) == (11, 3)
            wallet.deposit(100)
            assert await uow.owners.find("o") is None
            assert await uow.wallets.find("new") is None
            assert await uow.tallies.find("t") is None
    assert await service.balance("w") == 111
    assert set(service.database.events) == {("Wallet", "w")}
    assert service.database.tables[Owner] == {}
    assert [message.type for message in service.sent()] == ["tests.Deposited"] * 2


async def test_each_message_keeps_its_own_cause() -> None:
    service = WalletService()
    await service.open("w")
    async with service.units.begin() as uow:
        for name in ("first", "second"):
            with uow.attempt(Cause(f"correlation-{name}", name, "", traceparent=f"trace-{name}")):
                (await uow.wallets.get("w")).deposit(1)
    sent = service.sent()
    assert [(m.causation_id, m.correlation_id, m.traceparent) for m in sent] == [
        ("first", "correlation-first", "trace-first"),
        ("second", "correlation-second", "trace-second"),
    ]


async def test_an_object_is_the_same_while_a_handler_runs() -> None:
    service = WalletService()
    await service.open("w")
    async with service.units.begin() as uow:
        await uow.owners.add(Owner(id="o", name="Ada"))
        with uow.attempt(CAUSE):
            assert await uow.wallets.get("w") is await uow.wallets.get("w")
            assert await uow.owners.get("o") is await uow.owners.get("o")


async def test_what_was_got_before_a_flush_can_be_changed_after_it() -> None:
    service = WalletService()
    await service.open("w")
    async with service.units.begin() as uow:
        with uow.attempt(CAUSE):
            wallet = await uow.wallets.get("w")
            owner = await uow.owners.add(Owner(id="o", name="Ada"))
            tally = await uow.tallies.add(Tally(id="t"))
            tally.add(1)
            await uow.flush()
            wallet.deposit(5)
            owner.name = "Grace"
            tally.add(2)
    assert await service.balance("w") == 5
    assert service.database.tables[Owner]["o"] == Owner(id="o", version=2, name="Grace")
    assert service.database.tables[Tally]["t"].version == 2
    assert [event.version for event in service.database.events["Tally", "t"]] == [1, 2]


async def test_what_an_outer_attempt_has_in_hand_survives_an_inner_one() -> None:
    service = WalletService()
    await service.open("w")
    async with service.units.begin() as uow:
        await uow.owners.add(Owner(id="o", name="Ada"))
        with uow.attempt(CAUSE):
            wallet, owner = await uow.wallets.get("w"), await uow.owners.get("o")
            with uow.attempt():
                (await uow.wallets.get("w")).deposit(1)
            wallet.deposit(10)
            owner.name = "Grace"
    assert await service.balance("w") == 11
    assert service.database.tables[Owner]["o"].name == "Grace"  # type: ignore[attr-defined]


async def test_an_inner_attempt_that_fails_is_taken_back_in_the_hands_of_the_outer_one() -> None:
    service = WalletService()
    await service.open("w")
    async with service.units.begin() as uow:
        with uow.attempt(CAUSE):
            wallet, owner = await uow.wallets.get("w"), await uow.owners.add(Owner(id="o", name="Ada"))
            fresh = await uow.wallets.add(Wallet(id="fresh"))
            wallet.deposit(1)
            with pytest.raises(NotEnough), uow.attempt():
                (await uow.owners.get("o")).name = "Grace"
                fresh.open("Grace")
                await uow.wallets.get("fresh")
                with uow.attempt():
                    (await uow.wallets.get("w")).deposit(100)
                (await uow.wallets.get("w")).withdraw(1000)
            assert (wallet.balance, wallet.version, owner.name, fresh.owner) == (1, 3 - 1, "Ada", "")
            wallet.deposit(10)
            owner.wallets = ("w",)
            fresh.open("Ada")
    assert await service.balance("w") == 11
    assert (await service.wallet("fresh")).owner == "Ada"
    assert service.database.tables[Owner]["o"] == Owner(id="o", version=1, name="Ada", wallets=("w",))


async def test_an_outer_attempt_that_fails_takes_the_inner_ones_with_it() -> None:
    service = WalletService()
    await service.open("w")
    async with service.units.begin() as uow:
        with pytest.raises(NotEnough), uow.attempt(CAUSE):
            with uow.attempt():
                (await uow.wallets.get("w")).deposit(5)
                await uow.owners.add(Owner(id="o", name="Ada"))
            raise NotEnough
        with uow.attempt(CAUSE):
            assert (await uow.wallets.get("w")).balance == 0
            with pytest.raises(OwnerNotFound):
                await uow.owners.get("o")
            await uow.owners.add(Owner(id="o", name="Grace"))
    assert await stored_events(service) == [(1, "tests.WalletOpened")]
    assert service.database.tables[Owner]["o"] == Owner(id="o", version=1, name="Grace")


async def test_undoing_goes_backwards_through_several_changes_of_the_same() -> None:
    service = WalletService()
    await service.open("w")
    async with service.units.begin() as uow:
        with uow.attempt(CAUSE):
            await uow.owners.add(Owner(id="o", name="one"))
        with pytest.raises(NotEnough), uow.attempt(CAUSE):
            for name in ("two", "three"):
                with uow.attempt():
                    (await uow.owners.get("o")).name = name
                    (await uow.wallets.get("w")).deposit(1)
            raise NotEnough
        with uow.attempt(CAUSE):
            assert (await uow.owners.get("o")).name == "one"
            assert (await uow.wallets.get("w")).balance == 0


async def test_a_refusal_after_a_flush_takes_the_whole_transaction() -> None:
    service = WalletService()
    await service.open("w")
    with pytest.raises(AlreadyWritten) as error:
        async with service.units.begin() as uow:
            with uow.attempt(CAUSE):
                wallet = await uow.wallets.get("w")
                wallet.deposit(1)
                await uow.flush()
                wallet.withdraw(5)
    assert isinstance(error.value.__cause__, NotEnough)
    assert await service.balance("w") == 0


async def test_a_refusal_is_dropped_alone_when_only_what_was_before_it_has_been_written() -> None:
    service = WalletService()
    await service.open("w")
    async with service.units.begin() as uow:
        with uow.attempt(CAUSE):
            (await uow.wallets.get("w")).deposit(1)
            await uow.flush()
        with pytest.raises(NotEnough), uow.attempt(CAUSE):
            (await uow.wallets.get("w")).withdraw(5)
    assert await service.balance("w") == 1


@pytest.mark.parametrize("fault", [OSError("connection reset"), Conflict("busy"), asyncio.CancelledError(), KeyError()])
async def test_a_fault_after_a_flush_stays_what_it_is(fault: BaseException) -> None:
    """The database still has to see that its connection was lost, and a cancelled task that it was cancelled."""
    service = WalletService()
    await service.open("w")
    with pytest.raises(type(fault)) as raised:
        async with service.units.begin() as uow:
            with uow.attempt(CAUSE):
                (await uow.wallets.get("w")).deposit(1)
                await uow.flush()
                raise fault
    assert raised.value is fault
    assert await service.balance("w") == 0


async def test_what_is_flushed_is_not_written_again() -> None:
    service = WalletService()
    async with service.units.begin() as uow:
        with uow.attempt(CAUSE):
            wallet = await uow.wallets.add(Wallet(id="w"))
            wallet.open("Ada")
            await uow.owners.add(Owner(id="o", name="Ada"))
            uow.claim(Claim(message_id="m", row_id="r"))
            await uow.flush()
            await uow.flush()
            wallet.deposit(1)
    assert [version for version, _ in await stored_events(service)] == [1, 2]
    assert [message.sequence for message in service.sent()] == [1, 2]


async def test_a_row_that_did_not_change_is_not_written() -> None:
    service = WalletService()
    async with service.units.begin() as uow:
        await uow.owners.add(Owner(id="o", name="Ada"))
    async with service.units.begin() as uow:
        with uow.attempt(CAUSE):
            owner = await uow.owners.get("o")
            owner.name = "Grace"
            owner.name = "Ada"
    assert service.database.tables[Owner]["o"].version == 1


async def test_a_row_that_changed_since_is_a_conflict() -> None:
    service = WalletService()
    async with service.units.begin() as uow:
        await uow.owners.add(Owner(id="o", name="Ada"))
    with pytest.raises(Conflict):
        async with service.units.begin() as uow:
            owner = await uow.owners.get("o")
            owner.name = "Grace"
            service.database.tables[Owner]["o"] = Owner(id="o", version=2, name="Eve")
    assert service.database.tables[Owner]["o"] == Owner(id="o", version=2, name="Eve")


async def test_an_aggregate_that_changed_since_is_a_conflict() -> None:
    service = WalletService()
    await service.open("w")
    with pytest.raises(Conflict):
        async with service.units.begin() as uow:
            (await uow.wallets.get("w")).deposit(1)
            events = service.database.events["Wallet", "w"]
            events.append(events[0].__class__(**{**_fields(events[0]), "version": 2}))
    assert len(await stored_events(service)) == 2


def _fields(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__slots__}


async def test_adding_what_exists_is_a_conflict_also_when_it_has_been_read() -> None:
    service = WalletService()
    async with service.units.begin() as uow:
        await uow.owners.add(Owner(id="o", name="Ada"))
    for read_before in (False, True):
        with pytest.raises(Conflict):
            async with service.units.begin() as uow:
                if read_before:
                    await uow.owners.load(["o"])
                await uow.owners.add(Owner(id="o", name="Eve"))
    await service.open("w")
    for read_before in (False, True):
        with pytest.raises(Conflict):
            async with service.units.begin() as uow:
                if read_before:
                    await uow.wallets.load(["w"])
                (await uow.wallets.add(Wallet(id="w"))).open("Eve")
    assert service.database.tables[Owner]["o"] == Owner(id="o", version=1, name="Ada")
    assert (await service.wallet("w")).owner == "Ada"


async def test_what_is_not_there() -> None:
    async with WalletService().units.begin() as uow:
        with pytest.raises(WalletNotFound):
            await uow.wallets.get("w")
        with pytest.raises(OwnerNotFound):
            await uow.owners.get("o")
        assert await uow.wallets.find("w") is None
        assert await uow.owners.find("o") is None


async def test_a_derived_row_that_is_undone_can_be_read_afterwards() -> None:
    service = WalletService()
    async with service.units.begin() as uow:
        await uow.owners.add(Owner(id="o", name="Ada"))
    async with service.units.begin() as uow:
        with pytest.raises(NotEnough), uow.attempt(CAUSE):
            with uow.attempt():
                uow.owners.put(Owner(id="o", version=2, name="Eve"), replaces=1)
            raise NotEnough
        assert (await uow.owners.get("o")).name == "Ada"
        uow.owners.put(Owner(id="o", version=2, name="Grace"), replaces=1)
    assert service.database.tables[Owner]["o"] == Owner(id="o", version=2, name="Grace")


async def test_a_long_history_has_a_snapshot_of_all_that_was_written_with_it() -> None:
    service = WalletService()
    await service.open("w")
    assert service.database.snapshots == {}
    async with service.units.begin() as uow:
        with uow.attempt(CAUSE):
            for _ in range(EVERY):
                (await uow.wallets.get("w")).deposit(1)
            (await uow.wallets.get("w")).note("the last")
    snapshot = service.database.snapshots["Wallet", "w"]
    assert snapshot.version == EVERY + 2
    wallet = SnapshotFormat.of(Wallet).restore(snapshot)
    assert (wallet.id, wallet.version, wallet.owner) == ("w", EVERY + 2, "Ada")
    assert (wallet.balance, wallet.notes) == (EVERY, ["the last"])
    service.database.events["Wallet", "w"][0] = None  # type: ignore[call-overload]
    assert await service.balance("w") == EVERY, "only the snapshot is read"


async def test_what_was_refused_is_in_no_snapshot() -> None:
    service = WalletService()
    await service.open("w", balance=5)
    async with service.units.begin() as uow:
        for _ in range(EVERY):
            with uow.attempt(CAUSE):
                (await uow.wallets.get("w")).deposit(1)
        with pytest.raises(NotEnough), uow.attempt(CAUSE):
            (await uow.wallets.get("w")).withdraw(10_000)
    wallet = SnapshotFormat.of(Wallet).restore(service.database.snapshots["Wallet", "w"])
    assert (wallet.balance, wallet.version) == (5 + EVERY, 2 + EVERY)


async def test_events_after_a_snapshot_are_folded_onto_it() -> None:
    service = WalletService()
    await service.open("w", balance=1)
    service.database.snapshots["Wallet", "w"] = SnapshotFormat.of(Wallet).take(
        Wallet(id="w", version=1, owner="from the snapshot", balance=100)
    )
    wallet = await service.wallet("w")
    assert (wallet.owner, wallet.balance, wallet.version) == ("from the snapshot", 101, 2)


async def test_a_snapshot_of_another_shape_is_not_read() -> None:
    service = WalletService()
    await service.open("w", balance=1)
    service.database.snapshots["Wallet", "w"] = Snapshot(aggregate="Wallet", id="w", version=1, tag="old", state="?")
    assert (await service.wallet("w")).owner == "Ada"


def test_a_snapshots_tag_follows_the_shape_and_the_meaning() -> None:
    tag = SnapshotFormat(Wallet).tag
    assert tag == SnapshotFormat(Wallet).tag

    class Deeper(Wallet):
        snapshot_version = 2

    assert SnapshotFormat(Deeper).tag != tag


class Counting(MemoryDatabase):
    """Counts what is asked of its stores."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[tuple[str, list[str]]] = []

    def transaction(self) -> Any:
        return _CountingTransaction(self, super().transaction())


class _CountingTransaction:
    def __init__(self, database: Counting, inner: Any) -> None:
        self._database, self._inner = database, inner

    async def __aenter__(self) -> Any:
        transaction = await self._inner.__aenter__()
        self._count("events", transaction.events)
        rows = transaction.rows

        def counted_rows(cls: Any) -> Any:
            store = rows(cls)
            self._count(cls.__name__, store)
            return store

        transaction.rows = counted_rows
        return transaction

    async def __aexit__(self, *error: Any) -> Any:
        return await self._inner.__aexit__(*error)

    def _count(self, name: str, store: Any) -> None:
        load = store.load

        async def counted(*arguments: Any) -> Any:
            self._database.loads.append((name, list(next(each for each in arguments if isinstance(each, list)))))
            return await load(*arguments)

        store.load = counted


async def test_what_messages_name_is_loaded_with_one_query_a_kind() -> None:
    database = Counting()
    units = wallet_units(database, VirtualClock(NOON), Policy())
    commands: Sequence[Deposit] = [Deposit(wallet_id=WalletId(id_), amount=1) for id_ in ("a", "b", "a", "c")]
    async with units.begin() as uow:
        await uow.wallets.load(["c"])
        database.loads.clear()
        await uow.prefetch(commands)
        assert database.loads == [("events", ["a", "b"])]
        for command in commands:
            assert await uow.wallets.find(command.wallet_id) is None
        await uow.prefetch(commands)
        assert len(database.loads) == 1, "what is known not to exist is not asked for again"


async def test_what_sagas_need_for_their_replies_is_loaded_with_one_query_a_kind() -> None:
    database = Counting()
    units = wallet_units(database, VirtualClock(NOON), Policy())
    last_but_one = len(TransferSaga.table) - 2
    sagas = {"local": last_but_one, "local too": last_but_one, "a command": last_but_one - 1}
    async with units.begin() as uow:
        for id_, step in sagas.items():
            saga = TransferSaga(wallet_id=WalletId(f"wallet of {id_}"), other=WalletId("other"), amount=1)
            await uow.saga_instances.add(
                SagaInstance(
                    id=id_, type=saga.type_name, key=saga.key, data=Json(to_json(saga)), step=step,
                    phase=Phase.FORWARD, correlation_id="c", started_at=NOON, updated_at=NOON,
                )
            )  # fmt: skip
    database.loads.clear()
    async with units.begin() as uow:
        await uow.sagas.prefetch((id_, Done()) for id_ in (*sagas, "unknown"))
    assert database.loads == [
        ("SagaInstance", [*sagas, "unknown"]),
        ("events", ["wallet of local", "other", "wallet of local too"]),
    ]


async def test_everything_sent_leaves_in_the_order_it_came_about() -> None:
    service = WalletService()
    await service.open("w")

    def note(id_: str) -> Envelope:
        return Envelope(
            id=id_, type="t", kind="command", source="s", key="k", data="{}", time=NOON,
            correlation_id="c", causation_id="k",
        )  # fmt: skip

    async with service.units.begin() as uow:
        with uow.attempt(CAUSE):
            uow.send(note("one"))
        with uow.attempt(CAUSE):
            (await uow.wallets.get("w")).deposit(1)
        with uow.attempt(CAUSE):
            uow.send(note("two"))
    assert [message.id if message.kind == "command" else "event" for message in service.sent()] == [
        "one", "event", "two",
    ]  # fmt: skip


async def test_an_empty_unit_of_work_writes_nothing() -> None:
    service = WalletService()
    async with service.units.begin() as uow:
        await uow.flush()
        assert uow.events() == []
        assert uow.next_due() is None
    assert service.sent() == []


async def test_what_was_got_before_an_attempt_can_be_changed_after_it() -> None:
    service = WalletService()
    await service.open("w")
    async with service.units.begin() as uow:
        wallet, owner = await uow.wallets.get("w"), await uow.owners.add(Owner(id="o", name="Ada"))
        with uow.attempt(CAUSE):
            (await uow.wallets.get("w")).deposit(1)
            await uow.tallies.add(Tally(id="t"))
        wallet.deposit(10)
        owner.name = "Grace"
    assert await service.balance("w") == 11
    assert service.database.tables[Owner]["o"] == Owner(id="o", version=1, name="Grace")


async def test_a_handler_keeps_nothing_of_the_one_before() -> None:
    """Or each seal of a batch would look at all that the batch has touched."""
    service = WalletService()
    await service.open("a", "b")
    async with service.units.begin() as uow:
        for id_ in ("a", "b"):
            with uow.attempt(CAUSE):
                (await uow.wallets.get(id_)).deposit(1)
                await uow.owners.add(Owner(id=id_, name="Ada"))
                assert (uow.wallets.in_hand(), uow.owners.in_hand()) == (1, 1)


async def test_what_a_unit_of_work_held_is_free_when_it_is_over() -> None:
    service = WalletService()
    await service.open("w")
    gc.disable()  # it would come in time here, but not where states are large
    try:
        for refuses in (False, True):
            with suppress(NotEnough):
                async with service.units.begin() as uow:
                    wallet = await uow.wallets.get("w")
                    wallet.deposit(1)
                    held = weakref.ref(wallet)
                    del wallet
                    if refuses:
                        raise NotEnough
            assert held() is None
    finally:
        gc.enable()
