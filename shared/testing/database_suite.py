"""What every implementation of the database port does. Subclass it in a test module and define the fixture
`databases`: a function that opens a fresh, empty database which has a table for `Parcel`."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol

import pytest

from shared.core.errors import Conflict, LeaseLost
from shared.eventsourcing.aggregate import Entity
from shared.eventsourcing.store import Metadata, Snapshot, StoredEvent
from shared.idempotency import KeptAnswer
from shared.messaging.broker import Mark
from shared.messaging.envelope import Envelope, Received
from shared.messaging.inbox import Claim, KeptReply
from shared.messaging.repairs import Action, Repair
from shared.messaging.set_aside import Line, ParkedFilter, PutAside, PutBack, SetAside, TakenUp
from shared.messaging.subscription import Sessions
from shared.saga.instance import SagaFilter, SagaInstance
from shared.saga.machine import Phase
from shared.serialization import Json
from shared.unit_of_work import Database

NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)


class Size(StrEnum):
    """An enum to be kept in a column."""

    SMALL = "small"
    LARGE = "large"


@dataclass(frozen=True, kw_only=True)
class Content:
    """A value to be kept as JSON."""

    name: str
    count: int


@dataclass(kw_only=True)
class Parcel(Entity):
    """A row with every kind of column: text, number, enum, time, JSON, and those that may be null."""

    size: Size
    weight: int
    fragile: bool = False
    contents: tuple[Content, ...] = ()
    labels: dict[str, str | None]
    note: str | None = None
    sent_at: datetime | None = None
    insured: Content | None = None


class OpenDatabase(Database, Sessions, Protocol):
    """Both ports: PostgreSQL's pool and memory have them."""


Databases = Callable[[], AbstractAsyncContextManager[OpenDatabase]]


class Unexpected(Exception):
    """Ends a transaction."""


def event(id_: str, version: int, aggregate: str = "Order", data: str = '{"n":1}') -> StoredEvent:
    """A stored event."""
    return StoredEvent(
        aggregate=aggregate,
        id=id_,
        version=version,
        type="order.OrderCreated",
        data=data,
        metadata=Metadata(id=f"{id_}-{version}", schema=2, correlation_id="c", causation_id="k"),
        occurred_at=NOON,
    )


def snapshot(id_: str, version: int, tag: str = "t1", state: str = '{"a":"b"}') -> Snapshot:
    """A snapshot."""
    return Snapshot(aggregate="Order", id=id_, version=version, tag=tag, state=state)


def parcel(id_: str, version: int = 1, **fields: Any) -> Parcel:
    """A row."""
    return Parcel(**{"id": id_, "version": version, "size": Size.SMALL, "weight": 7, "labels": {}, **fields})


def envelope(id_: str, key: str = "k") -> Envelope:
    """A reply with every optional field set."""
    return Envelope(
        id=id_,
        type="kitchen.CreateTicketReply",
        kind="reply",
        source="kitchen",
        key=key,
        data='{"ticket_id":"Zoë"}',
        time=NOON,
        correlation_id="c",
        causation_id="k",
        subject="s",
        sequence=3,
        saga_id="saga",
        reply_to="order",
        reply_key="rk",
        outcome="success",
        traceparent="00-1-2-01",
    )


def line(key: str, source: str = "tests") -> Line:
    """What a sender says of a key."""
    return Line(key, source)


def waiting(id_: str, key: str = "a", retry_at: datetime = NOON, partition: int = 0) -> SetAside:
    """A message to be set aside."""
    headers = {"ce-id": id_, "ce-type": "order.OrderCreated"}
    received = Received(position=9, row_id=f"row-{id_}", received_at=NOON, headers=headers, data='{"x":1}')
    return SetAside(
        partition=partition, line=line(key), message_id=id_, received=received, set_aside_at=NOON, retry_at=retry_at
    )


def saga(id_: str, due_at: datetime | None = None, **fields: Any) -> SagaInstance:
    """A saga's row."""
    defaults: dict[str, Any] = {
        "id": id_,
        "version": 1,
        "type": "order.CreateOrderSaga",
        "key": "k",
        "data": Json('{"order_id": "o"}'),
        "step": 2,
        "phase": Phase.FORWARD,
        "due_at": due_at,
        "correlation_id": f"c-{id_}",
        "started_at": NOON,
        "updated_at": NOON,
    }
    return SagaInstance(**{**defaults, **fields})


def ids(messages: Any) -> list[str]:
    """The ids of messages that wait."""
    return [message.message_id for message in messages]


class DatabaseSuite(ABC):
    """Each test gets an empty database. Transactions follow each other: memory runs one at a time."""

    async def test_events_come_back_as_they_were_stored_by_aggregate_and_in_order(self, databases: Databases) -> None:
        stored = [event("b", 1), event("a", 1), event("a", 2), event("b", 2, data='{"name": "Zoë 🍕", "n": null}')]
        async with databases() as database:
            async with database.transaction() as tx:
                await tx.events.append([*stored, event("a", 1, aggregate="Ticket")], [])
            async with database.transaction() as tx:
                found = await tx.events.load("Order", "t1", ["a", "b", "nobody"])
        assert set(found) == {"a", "b"}
        assert [(e.id, e.version, e.aggregate) for e in found["a"].events] == [("a", 1, "Order"), ("a", 2, "Order")]
        assert found["a"].events[0] == event("a", 1, data=found["a"].events[0].data)
        assert json.loads(found["b"].events[1].data) == {"name": "Zoë 🍕", "n": None}
        assert found["a"].snapshot is None

    async def test_a_version_that_is_taken_is_a_conflict_and_nothing_is_written(self, databases: Databases) -> None:
        async with databases() as database:
            async with database.transaction() as tx:
                await tx.events.append([event("a", 1)], [])
            with pytest.raises(Conflict):
                async with database.transaction() as tx:
                    await tx.events.append([event("b", 1), event("a", 1)], [])
            async with database.transaction() as tx:
                assert set(await tx.events.load("Order", "t1", ["a", "b"])) == {"a"}

    @pytest.mark.parametrize("versions", [{"a": 1}, {"a": 3}, {"a": 2, "b": 2}, {"a": 2, "nobody": 1}])
    async def test_an_aggregate_that_is_not_at_the_version_that_was_seen_is_a_conflict(
        self, databases: Databases, versions: dict[str, int]
    ) -> None:
        async with databases() as database:
            async with database.transaction() as tx:
                await tx.events.append([event("a", 1), event("a", 2), event("b", 1)], [])
                await tx.events.append([event("a", 1, aggregate="Other")], [])
            with pytest.raises(Conflict):
                async with database.transaction() as tx:
                    await tx.events.confirm("Order", versions)
                    await tx.events.append([event("c", 1)], [])
            async with database.transaction() as tx:
                await tx.events.confirm("Order", {"a": 2, "b": 1})
                await tx.events.append([event("a", 3)], [])
            async with database.transaction() as tx:
                found = await tx.events.load("Order", "t1", ["a", "b", "c"])
        assert {id_: len(history.events) for id_, history in found.items()} == {"a": 3, "b": 1}

    async def test_a_snapshot_comes_with_the_events_behind_it(self, databases: Databases) -> None:
        async with databases() as database:
            async with database.transaction() as tx:
                await tx.events.append([event("a", n) for n in (1, 2, 3)], [snapshot("a", 2)])
                await tx.events.append([event("other", 1)], [])
            async with database.transaction() as tx:
                found = await tx.events.load("Order", "t1", ["a", "other"])
        history = found["a"]
        assert history.snapshot is not None
        assert (history.snapshot.id, history.snapshot.version, history.snapshot.tag) == ("a", 2, "t1")
        assert json.loads(history.snapshot.state) == {"a": "b"}
        assert [e.version for e in history.events] == [3]
        assert found["other"].snapshot is None

    async def test_a_snapshot_of_the_last_event_comes_alone(self, databases: Databases) -> None:
        async with databases() as database:
            async with database.transaction() as tx:
                await tx.events.append([event("a", 1), event("a", 2)], [snapshot("a", 2)])
            async with database.transaction() as tx:
                history = (await tx.events.load("Order", "t1", ["a"]))["a"]
        assert history.snapshot is not None
        assert history.snapshot.version == 2
        assert list(history.events) == []

    async def test_a_snapshot_of_another_shape_is_passed_over(self, databases: Databases) -> None:
        async with databases() as database:
            async with database.transaction() as tx:
                await tx.events.append([event("a", 1), event("a", 2)], [snapshot("a", 1, tag="old")])
            async with database.transaction() as tx:
                history = (await tx.events.load("Order", "t1", ["a"]))["a"]
        assert history.snapshot is None
        assert [e.version for e in history.events] == [1, 2]

    async def test_a_later_snapshot_takes_the_place_of_the_earlier(self, databases: Databases) -> None:
        async with databases() as database:
            async with database.transaction() as tx:
                await tx.events.append([event("a", 1)], [snapshot("a", 1, tag="old")])
            async with database.transaction() as tx:
                await tx.events.append([event("a", 2)], [snapshot("a", 2, tag="t1")])
            async with database.transaction() as tx:
                history = (await tx.events.load("Order", "t1", ["a"]))["a"]
        assert history.snapshot is not None
        assert (history.snapshot.version, list(history.events)) == (2, [])

    async def test_rows_come_back_as_they_were_written(self, databases: Databases) -> None:
        full = parcel(
            "full",
            size=Size.LARGE,
            weight=-3,
            fragile=True,
            contents=(Content(name="Zoë's", count=2), Content(name="{}", count=0)),
            labels={"to": "x", "from": None},
            note='a "note"',
            sent_at=NOON,
            insured=Content(name="ring", count=1),
        )
        bare = parcel("bare")
        async with databases() as database:
            async with database.transaction() as tx:
                await tx.rows(Parcel).insert([full, bare])
            async with database.transaction() as tx:
                found = {row.id: row for row in await tx.rows(Parcel).load(["bare", "full", "nobody"])}
        assert found == {"full": full, "bare": bare}
        assert isinstance(found["full"].size, Size)

    async def test_rows_are_updated_where_their_version_is_the_expected_one(self, databases: Databases) -> None:
        async with databases() as database:
            async with database.transaction() as tx:
                await tx.rows(Parcel).insert([parcel("a"), parcel("b"), parcel("c")])
            changed = parcel("a", 2, weight=8, size=Size.LARGE, note="n", insured=Content(name="i", count=1))
            async with database.transaction() as tx:
                await tx.rows(Parcel).update([(changed, 1), (parcel("b", 5, labels={"x": "y"}), 1)])
            async with database.transaction() as tx:
                found = {row.id: row for row in await tx.rows(Parcel).load(["a", "b", "c"])}
        assert found == {"a": changed, "b": parcel("b", 5, labels={"x": "y"}), "c": parcel("c")}

    async def test_a_row_that_is_not_at_the_expected_version_is_a_conflict(self, databases: Databases) -> None:
        async with databases() as database:
            async with database.transaction() as tx:
                await tx.rows(Parcel).insert([parcel("a"), parcel("b")])
            for id_, replaces in (("b", 2), ("nobody", 1)):
                with pytest.raises(Conflict):
                    async with database.transaction() as tx:
                        await tx.rows(Parcel).update([(parcel("a", 2), 1), (parcel(id_, 3), replaces)])
            async with database.transaction() as tx:
                assert [row.version for row in await tx.rows(Parcel).load(["a", "b"])] == [1, 1]

    @pytest.mark.parametrize("versions", [{"a": 1}, {"a": 3}, {"a": 2, "b": 2}, {"a": 2, "nobody": 1}])
    async def test_a_row_that_is_not_at_the_version_that_was_seen_is_a_conflict(
        self, databases: Databases, versions: dict[str, int]
    ) -> None:
        async with databases() as database:
            async with database.transaction() as tx:
                await tx.rows(Parcel).insert([parcel("a", 2), parcel("b", 1)])
            with pytest.raises(Conflict):
                async with database.transaction() as tx:
                    await tx.rows(Parcel).confirm(versions)
                    await tx.rows(Parcel).insert([parcel("c")])
            async with database.transaction() as tx:
                await tx.rows(Parcel).confirm({"a": 2, "b": 1})
                await tx.rows(Parcel).insert([parcel("d")])
            async with database.transaction() as tx:
                assert {row.id for row in await tx.rows(Parcel).load(["a", "b", "c", "d"])} == {"a", "b", "d"}

    async def test_rows_are_inserted_updated_and_updated_again_in_one_transaction(self, databases: Databases) -> None:
        async with databases() as database:
            async with database.transaction() as tx:
                await tx.rows(Parcel).insert([parcel("a")])
            async with database.transaction() as tx:
                rows = tx.rows(Parcel)
                await rows.insert([parcel("b")])
                await rows.update([(parcel("a", 2, weight=8), 1)])
                await rows.update([(parcel("b", 2, weight=9), 1)])
            async with database.transaction() as tx:
                found = {row.id: row for row in await tx.rows(Parcel).load(["a", "b"])}
        assert found == {"a": parcel("a", 2, weight=8), "b": parcel("b", 2, weight=9)}

    async def test_a_row_whose_id_is_taken_is_a_conflict(self, databases: Databases) -> None:
        async with databases() as database:
            async with database.transaction() as tx:
                await tx.rows(Parcel).insert([parcel("a")])
            with pytest.raises(Conflict):
                async with database.transaction() as tx:
                    await tx.rows(Parcel).insert([parcel("b"), parcel("a", weight=9)])
            async with database.transaction() as tx:
                assert await tx.rows(Parcel).load(["a", "b"]) == [parcel("a")]

    async def test_a_row_that_was_loaded_is_a_copy(self, databases: Databases) -> None:
        async with databases() as database, database.transaction() as tx:
            await tx.rows(Parcel).insert([parcel("a")])
            (loaded,) = await tx.rows(Parcel).load(["a"])
            loaded.weight = 1000
            assert await tx.rows(Parcel).load(["a"]) == [parcel("a")]

    async def test_json_is_kept_as_it_is(self, databases: Databases) -> None:
        answer = KeptAnswer(id="a", version=1, body_hash="h", answer=Json('{"id": "1"}'), created_at=NOON)
        async with databases() as database:
            async with database.transaction() as tx:
                await tx.rows(KeptAnswer).insert([answer])
            async with database.transaction() as tx:
                assert await tx.rows(KeptAnswer).load(["a"]) == [answer]

    async def test_the_inbox_knows_what_was_claimed(self, databases: Databases) -> None:
        claims = [Claim(message_id="a", row_id="r1"), Claim(message_id="b", row_id="r2", reply=envelope("reply"))]
        async with databases() as database:
            async with database.transaction() as tx:
                assert await tx.inbox.find(["a"]) == {}
                await tx.inbox.add(claims)
            async with database.transaction() as tx:
                assert await tx.inbox.find(["a", "b", "c"]) == {"a": claims[0], "b": claims[1]}

    async def test_a_message_is_claimed_once(self, databases: Databases) -> None:
        async with databases() as database:
            async with database.transaction() as tx:
                await tx.inbox.add([Claim(message_id="a", row_id="r1")])
            with pytest.raises(Conflict):
                async with database.transaction() as tx:
                    await tx.inbox.add([Claim(message_id="b", row_id="r2"), Claim(message_id="a", row_id="r3")])
            async with database.transaction() as tx:
                assert set(await tx.inbox.find(["a", "b"])) == {"a"}

    async def test_a_claim_gets_its_reply_later(self, databases: Databases) -> None:
        async with databases() as database:
            async with database.transaction() as tx:
                await tx.inbox.add([Claim(message_id="a", row_id="r1"), Claim(message_id="b", row_id="r2")])
            async with database.transaction() as tx:
                await tx.inbox.keep_replies([KeptReply(message_id="b", reply=envelope("reply"))])
            async with database.transaction() as tx:
                found = await tx.inbox.find(["a", "b"])
        assert (found["a"].reply, found["b"].reply) == (None, envelope("reply"))

    async def test_a_key_is_blocked_while_a_message_of_it_waits(self, databases: Databases) -> None:
        async with databases() as database:
            async with database.transaction() as tx:
                await tx.waiting_room.write([PutAside(waiting("1", "a")), PutAside(waiting("2", "b"))])
            async with database.transaction() as tx:
                assert await tx.waiting_room.blocked([line("a"), line("b"), line("c")]) == {line("a"), line("b")}
                (first, _) = await tx.waiting_room.heads(0, NOON, 10)
                await tx.waiting_room.write([TakenUp(first)])
            async with database.transaction() as tx:
                assert await tx.waiting_room.blocked([line("a"), line("b"), line("c")]) == {line("b")}

    async def test_a_message_waits_as_it_arrived(self, databases: Databases) -> None:
        message = replace(waiting("1"), attempts=3, error="Zoë's", retry_at=NOON + SECOND)
        async with databases() as database:
            async with database.transaction() as tx:
                await tx.waiting_room.write([PutAside(message)])
            async with database.transaction() as tx:
                (found,) = await tx.waiting_room.heads(0, NOON + SECOND, 10)
        assert replace(found, seq=0, received=message.received) == message
        assert (found.received.row_id, found.received.data) == ("row-1", '{"x":1}')
        assert found.received.headers == message.received.headers

    async def test_only_the_first_message_of_a_key_is_due(self, databases: Databases) -> None:
        async with databases() as database:
            async with database.transaction() as tx:
                room = tx.waiting_room
                later = [waiting("a1", "a", NOON + 2 * SECOND), waiting("b1", "b", NOON + SECOND)]
                await room.write([PutAside(message) for message in later])
                await room.write([PutAside(waiting("a2", "a")), PutAside(waiting("c1", "c", partition=1))])
            async with database.transaction() as tx:
                room = tx.waiting_room
                assert ids(await room.heads(0, NOON, 10)) == []
                assert ids(await room.heads(0, NOON + SECOND, 10)) == ["b1"]
                assert ids(await room.heads(0, NOON + 2 * SECOND, 10)) == ["b1", "a1"]
                assert ids(await room.heads(0, NOON + 2 * SECOND, 1)) == ["b1"]
                assert ids(await room.heads(1, NOON, 10)) == ["c1"]
                assert await room.next_due(0) == NOON + SECOND
                assert await room.next_due(1) == NOON
                assert await room.next_due(2) is None

    async def test_the_next_message_of_a_key_follows_when_the_first_is_taken_up(self, databases: Databases) -> None:
        async with databases() as database:
            async with database.transaction() as tx:
                await tx.waiting_room.write([PutAside(waiting(id_)) for id_ in ("1", "2", "3")])
            for expected in ("1", "2", "3"):
                async with database.transaction() as tx:
                    (head,) = await tx.waiting_room.heads(0, NOON, 10)
                    assert head.message_id == expected
                    await tx.waiting_room.write([TakenUp(head)])
            async with database.transaction() as tx:
                assert await tx.waiting_room.heads(0, NOON, 10) == []

    async def test_a_message_that_is_put_back_keeps_its_place(self, databases: Databases) -> None:
        async with databases() as database:
            async with database.transaction() as tx:
                await tx.waiting_room.write([PutAside(waiting("1")), PutAside(waiting("2"))])
            async with database.transaction() as tx:
                (head,) = await tx.waiting_room.heads(0, NOON, 10)
                again = replace(head, attempts=2, retry_at=NOON + SECOND, error="no")
                await tx.waiting_room.write([PutBack(again)])
            async with database.transaction() as tx:
                assert await tx.waiting_room.heads(0, NOON, 10) == []
                (head,) = await tx.waiting_room.heads(0, NOON + SECOND, 10)
        assert (head.message_id, head.attempts, head.error) == ("1", 2, "no")

    async def test_a_parked_message_holds_its_key_until_it_is_redriven(self, databases: Databases) -> None:
        async with databases() as database:
            async with database.transaction() as tx:
                parked = replace(waiting("a1"), parked_at=NOON, attempts=5, error="broken")
                others = [PutAside(waiting("b1", "b", NOON + HOUR)), PutAside(waiting("a2"))]
                await tx.waiting_room.write([PutAside(parked), *others])
            async with database.transaction() as tx:
                assert await tx.waiting_room.heads(0, NOON, 10) == []
                assert await tx.waiting_room.next_due(0) == NOON + HOUR
                assert await tx.waiting_room.blocked([line("a"), line("a", "another")]) == {line("a")}
                (found,) = await tx.waiting_room.parked(ParkedFilter(), 10)
                assert (found.message.message_id, found.behind) == ("a1", 1)
                assert [await tx.waiting_room.is_crowded(number) for number in (1, 2, 3)] == [True, True, False]
                assert ids(await tx.waiting_room.line(line("a"), 10)) == ["a1", "a2"]
                assert ids(await tx.waiting_room.line(line("a"), 1)) == ["a1"]
                assert await tx.waiting_room.redrive(line("a"), NOON + SECOND) == 2
                assert await tx.waiting_room.redrive(line("a", "another"), NOON) == 0
            async with database.transaction() as tx:
                assert await tx.waiting_room.parked(ParkedFilter(), 10) == []
                assert await tx.waiting_room.hold_parked("a1") is None
                assert await tx.waiting_room.heads(0, NOON, 10) == []
                (head,) = await tx.waiting_room.heads(0, NOON + SECOND, 10)
        assert (head.message_id, head.attempts, head.set_aside_at) == ("a1", 0, NOON + SECOND)

    async def test_parked_messages_are_found_by_what_is_known_of_them(self, databases: Databases) -> None:
        first = replace(waiting("a1", "a"), parked_at=NOON, error="Division by zero")
        second = replace(waiting("b1", "b"), parked_at=NOON, error="no such column: 100%")
        async with databases() as database:
            async with database.transaction() as tx:
                assert await tx.waiting_room.is_empty()
                await tx.waiting_room.write([PutAside(first), PutAside(second), PutAside(waiting("c1", "c"))])
                assert not await tx.waiting_room.is_empty()

            async def found(limit: int = 10, **wanted: str) -> list[str]:
                async with database.transaction() as tx:
                    parked = await tx.waiting_room.parked(ParkedFilter(**wanted), limit)
                return [each.message.message_id for each in parked]

            type_ = first.received.headers["ce-type"]
            assert await found() == ["a1", "b1"]
            assert await found(limit=1) == ["a1"]
            assert await found(message_id="b1") == ["b1"]
            assert await found(message_id="c1") == []
            assert await found(key="a") == ["a1"]
            assert await found(type=type_) == ["a1", "b1"]
            assert await found(type="another") == []
            assert await found(error="by ZERO") == ["a1"]
            assert await found(error="100%") == ["b1"]
            assert await found(error="1%") == []
            async with database.transaction() as tx:
                held = await tx.waiting_room.hold_parked("b1")
                assert held is not None
                assert held.error == second.error

    async def test_repairs_are_kept_and_the_newest_come_first(self, databases: Databases) -> None:
        def repair(action: Action, subject: str) -> Repair:
            details = Json('{"error": "broken"}')
            return Repair(
                at=NOON, operator="ada", action=action, subject=subject, type="t", key="k", reason="", details=details
            )

        first, second, third = repair(Action.REDRIVE, "1"), repair(Action.RESUME, "2"), repair(Action.DROP, "1")
        async with databases() as database:
            async with database.transaction() as tx:
                await tx.repairs.add([first, second])
            async with database.transaction() as tx:
                await tx.repairs.add([third])
            with pytest.raises(Unexpected):
                async with database.transaction() as tx:
                    await tx.repairs.add([first])
                    raise Unexpected
            async with database.transaction() as tx:
                assert list(await tx.repairs.latest(list(Action), None, 10)) == [third, second, first]
                assert list(await tx.repairs.latest(list(Action), None, 2)) == [third, second]
                assert list(await tx.repairs.latest({Action.RESUME, Action.RETRY}, None, 10)) == [second]
                assert list(await tx.repairs.latest(list(Action), "1", 10)) == [third, first]

    async def test_a_partition_that_nobody_holds_can_be_taken(self, databases: Databases) -> None:
        async with databases() as database, database.session(1) as one, one.transaction() as tx:
            assert await tx.positions.take(0, 1, HOUR)
            assert await tx.positions.take(0, 1, HOUR), "its holder may take it again"
            assert await tx.positions.take(1, 1, HOUR)
            assert await tx.positions.get(0) is None

    async def test_a_partition_is_not_taken_from_a_holder_that_lives(self, databases: Databases) -> None:
        async with databases() as database, database.session(1) as one, database.session(2) as two:
            async with one.transaction() as tx:
                assert await tx.positions.take(0, 1, HOUR)
            async with two.transaction() as tx:
                assert not await tx.positions.take(0, 2, HOUR)
            async with one.transaction() as tx:
                await tx.positions.advance(0, 1, None, HOUR)

    async def test_a_stopped_holder_is_replaced_when_its_lease_has_ended(self, databases: Databases) -> None:
        async with databases() as database, database.session(1) as one, database.session(2) as two:
            async with one.transaction() as tx:
                assert await tx.positions.take(0, 1, timedelta(0))
            async with two.transaction() as tx:
                assert await tx.positions.take(0, 2, HOUR)
            with pytest.raises(LeaseLost):
                async with one.transaction() as tx:
                    await tx.positions.advance(0, 1, Mark(7, "r7", NOON), HOUR)
            async with two.transaction() as tx:
                assert await tx.positions.get(0) is None

    async def test_each_advance_renews_the_lease(self, databases: Databases) -> None:
        async with databases() as database, database.session(1) as one, database.session(2) as two:
            async with one.transaction() as tx:
                assert await tx.positions.take(0, 1, timedelta(0))
                await tx.positions.advance(0, 1, None, HOUR)
            async with two.transaction() as tx:
                assert not await tx.positions.take(0, 2, HOUR)

    async def test_a_partition_that_was_let_go_can_be_taken_at_once(self, databases: Databases) -> None:
        async with databases() as database, database.session(1) as one, database.session(2) as two:
            async with one.transaction() as tx:
                assert await tx.positions.take(0, 1, HOUR)
            async with two.transaction() as tx:
                await tx.positions.release(0, 2)
                assert not await tx.positions.take(0, 2, HOUR), "only the holder lets go"
            async with one.transaction() as tx:
                await tx.positions.release(0, 1)
            async with two.transaction() as tx:
                assert await tx.positions.take(0, 2, HOUR)

    async def test_who_is_patient_leaves_a_free_partition_to_others_until_the_lease_has_ended(
        self, databases: Databases
    ) -> None:
        async with databases() as database, database.session(1) as one, database.session(2) as two:
            for lease in (HOUR, timedelta(0)):
                async with one.transaction() as tx:
                    assert await tx.positions.take(0, 1, lease)
                async with two.transaction() as tx:
                    assert not await tx.positions.is_free(0)
                async with one.transaction() as tx:
                    await tx.positions.release(0, 1)
                async with two.transaction() as tx:
                    assert await tx.positions.is_free(0)
                    assert await tx.positions.take(0, 2, HOUR, patient=True) is (lease != HOUR)
            async with one.transaction() as tx:
                assert not await tx.positions.take(1, 1, HOUR, patient=True), "nobody has had it"

    async def test_those_present_are_seen_with_what_they_hold(self, databases: Databases) -> None:
        async with databases() as database, database.session(1) as one:
            async with database.session(2):
                async with one.transaction() as tx:
                    assert await tx.positions.take(5, 1, HOUR)
                async with one.transaction() as tx:
                    assert await tx.positions.present(HOUR) == {1: 5, 2: None}
            async with one.transaction() as tx:
                assert await tx.positions.present(HOUR) == {1: 5}

    async def test_the_position_stays_when_only_the_lease_is_renewed(self, databases: Databases) -> None:
        mark = Mark(7, "r7", NOON)
        async with databases() as database, database.session(1) as one:
            async with one.transaction() as tx:
                assert await tx.positions.take(0, 1, HOUR)
                await tx.positions.advance(0, 1, mark, HOUR)
            async with one.transaction() as tx:
                await tx.positions.advance(0, 1, None, HOUR)
                assert await tx.positions.get(0) == mark
                assert await tx.positions.get(1) is None

    async def test_checkpoints_come_newest_first_and_once_a_position(self, databases: Databases) -> None:
        first, second, again = Mark(3, "r3", NOON), Mark(9, "r9", NOON + SECOND), Mark(3, "other", NOON + HOUR)
        async with databases() as database:
            for partition, mark in ((0, first), (1, Mark(1, "r1", NOON)), (0, second), (0, again)):
                async with database.transaction() as tx:
                    await tx.positions.add_checkpoint(partition, mark)
            async with database.transaction() as tx:
                assert list(await tx.positions.checkpoints(0)) == [again, second]
                assert list(await tx.positions.checkpoints(2)) == []

    async def test_sagas_are_found_when_they_are_due(self, databases: Databases) -> None:
        rows = [
            saga("late", NOON + SECOND),
            saga("soon", NOON),
            saga("stuck", stuck=True, started_at=NOON + SECOND),
            saga("done", phase=Phase.COMPLETED),
        ]
        async with databases() as database:
            async with database.transaction() as tx:
                assert await tx.saga_timers.next_due() is None
                await tx.rows(SagaInstance).insert(rows)
            async with database.transaction() as tx:
                timers = tx.saga_timers
                assert list(await timers.due(NOON - SECOND, 10)) == []
                assert list(await timers.due(NOON, 10)) == [("soon", "c-soon")]
                assert list(await timers.due(NOON + SECOND, 10)) == [("soon", "c-soon"), ("late", "c-late")]
                assert list(await timers.due(NOON + SECOND, 1)) == [("soon", "c-soon")]
                assert await timers.next_due() == NOON
                unfinished = await timers.unfinished(SagaFilter(), 10)
                assert {instance.id for instance in unfinished} == {"late", "soon", "stuck"}
                assert unfinished[-1] == rows[2]
                assert len(await timers.unfinished(SagaFilter(), 2)) == 2

    async def test_unfinished_sagas_are_found_by_what_is_known_of_them(self, databases: Databases) -> None:
        rows = [
            saga("a", NOON),
            saga("b", stuck=True, error="Not found", started_at=NOON + SECOND),
            saga("done", phase=Phase.COMPLETED, error="Not found"),
        ]
        async with databases() as database:
            async with database.transaction() as tx:
                await tx.rows(SagaInstance).insert(rows)

            async def found(wanted: SagaFilter) -> list[str]:
                async with database.transaction() as tx:
                    return [instance.id for instance in await tx.saga_timers.unfinished(wanted, 10)]

            assert await found(SagaFilter(stuck=True)) == ["b"]
            assert await found(SagaFilter(stuck=False)) == ["a"]
            assert await found(SagaFilter(id="a")) == ["a"]
            assert await found(SagaFilter(id="done")) == []
            assert await found(SagaFilter(type=rows[0].type)) == ["a", "b"]
            assert await found(SagaFilter(type="another")) == []
            assert await found(SagaFilter(error="not FOUND")) == ["b"]

    async def test_what_is_written_is_there_for_what_follows_in_the_transaction(self, databases: Databases) -> None:
        async with databases() as database, database.session(1) as one, one.transaction() as tx:
            await tx.rows(Parcel).insert([parcel("a")])
            await tx.rows(Parcel).update([(parcel("a", 2, weight=9), 1)])
            await tx.inbox.add([Claim(message_id="m", row_id="r")])
            await tx.inbox.keep_replies([KeptReply(message_id="m", reply=envelope("reply"))])
            await tx.events.append([event("a", 1)], [])
            await tx.events.append([event("a", 2)], [snapshot("a", 2)])
            assert await tx.rows(Parcel).load(["a"]) == [parcel("a", 2, weight=9)]
            assert await tx.inbox.find(["m"]) == {"m": Claim(message_id="m", row_id="r", reply=envelope("reply"))}
            history = (await tx.events.load("Order", "t1", ["a"]))["a"]
            assert history.snapshot is not None
            assert history.snapshot.version == 2

    async def test_everything_is_undone_when_a_transaction_fails(self, databases: Databases) -> None:
        async with databases() as database, database.session(1) as one:
            async with one.transaction() as tx:
                await tx.events.append([event("a", 1)], [snapshot("a", 1)])
                await tx.rows(Parcel).insert([parcel("a")])
                await tx.inbox.add([Claim(message_id="a", row_id="r")])
                await tx.waiting_room.write([PutAside(waiting("1"))])
                assert await tx.positions.take(0, 1, HOUR)
                await tx.positions.advance(0, 1, Mark(1, "r1", NOON), HOUR)
                await tx.positions.add_checkpoint(0, Mark(1, "r1", NOON))
            with pytest.raises(Unexpected):
                async with one.transaction() as tx:
                    await tx.events.append([event("a", 2), event("b", 1)], [snapshot("a", 2, state="{}")])
                    await tx.rows(Parcel).update([(parcel("a", 2, weight=9), 1)])
                    await tx.rows(Parcel).insert([parcel("b")])
                    await tx.inbox.add([Claim(message_id="b", row_id="r")])
                    await tx.inbox.keep_replies([KeptReply(message_id="a", reply=envelope("reply"))])
                    await tx.outbox.add([envelope("sent")])
                    (head,) = await tx.waiting_room.heads(0, NOON, 10)
                    await tx.waiting_room.write([TakenUp(head), PutAside(waiting("2"))])
                    await tx.positions.advance(0, 1, Mark(2, "r2", NOON), HOUR)
                    await tx.positions.add_checkpoint(0, Mark(2, "r2", NOON))
                    await tx.positions.release(0, 1)
                    await tx.flush()
                    raise Unexpected
            async with one.transaction() as tx:
                histories = await tx.events.load("Order", "t1", ["a", "b"])
                assert [(e.id, e.version) for h in histories.values() for e in h.events] == []
                assert [h.snapshot and h.snapshot.version for h in histories.values()] == [1]
                assert await tx.rows(Parcel).load(["a", "b"]) == [parcel("a")]
                assert await tx.inbox.find(["a", "b"]) == {"a": Claim(message_id="a", row_id="r")}
                assert ids(await tx.waiting_room.heads(0, NOON, 10)) == ["1"]
                assert await tx.positions.get(0) == Mark(1, "r1", NOON)
                assert list(await tx.positions.checkpoints(0)) == [Mark(1, "r1", NOON)]
                await tx.positions.advance(0, 1, None, HOUR)
            assert await self.outbox(database) == []

    async def test_the_outbox_keeps_the_order_of_its_messages(self, databases: Databases) -> None:
        async with databases() as database:
            async with database.transaction() as tx:
                await tx.outbox.add([envelope("m3", "x"), envelope("m1", "y"), envelope("m2", "z")])
                await tx.outbox.add([envelope("m0", "x")])
            async with database.transaction() as tx:
                await tx.outbox.add([envelope("m4")])
            assert await self.outbox(database) == ["m3", "m1", "m2", "m0", "m4"]

    @abstractmethod
    async def outbox(self, database: OpenDatabase) -> list[str]:
        """The ids of the messages in the outbox, in the order they are to be published in."""
