"""Tests of inbox, waiting room and repair log that every database must pass."""

from dataclasses import replace

import pytest

from shared.core.errors import Conflict
from shared.core.serialization import Json
from shared.eventsourcing.store import MAX_READ_TOGETHER
from shared.messaging.inbox import Claim, KeptReply
from shared.messaging.repair_log import Action, Repair
from shared.messaging.set_aside import ParkedFilter, PutAside, PutBack, TakenUp
from shared.testing.database.given import HOUR, NOON, SECOND, Databases, Unexpected, due, envelope, ids, line, waiting


class MessageSuite:
    """Tests of inbox, waiting room and repair log."""

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
                (first, _) = await tx.waiting_room.heads(0, due(NOON), 10)
                await tx.waiting_room.write([TakenUp(first)])
            async with database.transaction() as tx:
                assert await tx.waiting_room.blocked([line("a"), line("b"), line("c")]) == {line("b")}

    async def test_a_message_waits_as_it_arrived(self, databases: Databases) -> None:
        message = replace(waiting("1"), attempts=3, error="Zoë's", retry_at=NOON + SECOND)
        async with databases() as database:
            async with database.transaction() as tx:
                await tx.waiting_room.write([PutAside(message)])
            async with database.transaction() as tx:
                (found,) = await tx.waiting_room.heads(0, due(NOON + SECOND), 10)
        assert replace(found, seq=0, received=message.received) == message
        assert (found.received.row_id, found.received.data) == ("row-1", '{"x":1}')
        assert found.received.headers == message.received.headers

    async def test_of_large_messages_that_are_due_no_more_are_read_than_fit_into_memory(
        self, databases: Databases
    ) -> None:
        large = MAX_READ_TOGETHER // 2
        heads = [waiting(f"m{n}", f"key {n}", NOON + n * SECOND) for n in range(4)]
        heads = [replace(it, received=replace(it.received, data='"' + large * "x" + '"')) for it in heads]
        async with databases() as database:
            async with database.transaction() as tx:
                await tx.waiting_room.write([PutAside(message) for message in heads])
            async with database.transaction() as tx:
                assert ids(await tx.waiting_room.heads(0, due(NOON + 9 * SECOND), 10)) == ["m0", "m1"]

    async def test_only_the_first_message_of_a_key_is_due(self, databases: Databases) -> None:
        async with databases() as database:
            async with database.transaction() as tx:
                room = tx.waiting_room
                later = [waiting("a1", "a", NOON + 2 * SECOND), waiting("b1", "b", NOON + SECOND)]
                await room.write([PutAside(message) for message in later])
                await room.write([PutAside(waiting("a2", "a")), PutAside(waiting("c1", "c", partition=1))])
            async with database.transaction() as tx:
                room = tx.waiting_room
                assert ids(await room.heads(0, due(NOON), 10)) == []
                assert ids(await room.heads(0, due(NOON + SECOND), 10)) == ["b1"]
                assert ids(await room.heads(0, due(NOON + 2 * SECOND), 10)) == ["b1", "a1"]
                assert ids(await room.heads(0, due(NOON + 2 * SECOND), 1)) == ["b1"]
                assert ids(await room.heads(1, due(NOON), 10)) == ["c1"]
                assert await room.next_due(0, due(NOON)) == NOON + SECOND
                assert await room.next_due(1, due(NOON)) == NOON
                assert await room.next_due(2, due(NOON)) is None
                # The clock was set back since: no pause is that long.
                assert ids(await room.heads(0, due(NOON - 2 * HOUR), 10)) == ["b1", "a1"]
                assert await room.next_due(0, due(NOON - 2 * HOUR)) == NOON - 2 * HOUR

    async def test_the_next_message_of_a_key_follows_when_the_first_is_taken_up(self, databases: Databases) -> None:
        async with databases() as database:
            async with database.transaction() as tx:
                await tx.waiting_room.write([PutAside(waiting(id_)) for id_ in ("1", "2", "3")])
            for expected in ("1", "2", "3"):
                async with database.transaction() as tx:
                    (head,) = await tx.waiting_room.heads(0, due(NOON), 10)
                    assert head.message_id == expected
                    await tx.waiting_room.write([TakenUp(head)])
            async with database.transaction() as tx:
                assert await tx.waiting_room.heads(0, due(NOON), 10) == []

    async def test_a_message_that_is_put_back_keeps_its_place(self, databases: Databases) -> None:
        async with databases() as database:
            async with database.transaction() as tx:
                await tx.waiting_room.write([PutAside(waiting("1")), PutAside(waiting("2"))])
            async with database.transaction() as tx:
                (head,) = await tx.waiting_room.heads(0, due(NOON), 10)
                again = replace(head, attempts=2, retry_at=NOON + SECOND, error="no")
                await tx.waiting_room.write([PutBack(again)])
            async with database.transaction() as tx:
                assert await tx.waiting_room.heads(0, due(NOON), 10) == []
                (head,) = await tx.waiting_room.heads(0, due(NOON + SECOND), 10)
        assert (head.message_id, head.attempts, head.error) == ("1", 2, "no")

    async def test_a_parked_message_holds_its_key_until_it_is_redriven(self, databases: Databases) -> None:
        async with databases() as database:
            async with database.transaction() as tx:
                parked = replace(waiting("a1"), parked_at=NOON, attempts=5, error="broken")
                others = [PutAside(waiting("b1", "b", NOON + HOUR)), PutAside(waiting("a2"))]
                await tx.waiting_room.write([PutAside(parked), *others])
            async with database.transaction() as tx:
                assert await tx.waiting_room.heads(0, due(NOON), 10) == []
                assert await tx.waiting_room.next_due(0, due(NOON)) == NOON + HOUR
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
                assert await tx.waiting_room.heads(0, due(NOON), 10) == []
                (head,) = await tx.waiting_room.heads(0, due(NOON + SECOND), 10)
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
