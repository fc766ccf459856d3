"""Tests of event stores that every database must pass."""

import json
from dataclasses import replace

import pytest

from shared.core.errors import Conflict, TooMuchAtOnce
from shared.testing.database.given import (
    NOWHERE,
    Databases,
    RecipientErased,
    Unexpected,
    event,
    snapshot,
)


class EventStoreSuite:
    """Tests of events and snapshots."""

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

    async def test_what_is_personal_is_overwritten_once_an_event_says_so(self, databases: Databases) -> None:
        told = '{"consumer_id": "c", "deliver_to": {"street1": "1 Main Street", "street2": null}, "n": 1}'
        async with databases() as database:
            async with database.transaction() as tx:
                await tx.events.append([event("a", 1, data=told), event("a", 2)], [snapshot("a", 1)])
                await tx.events.append([event("b", 1, data=told)], [snapshot("b", 1)])
            async with database.transaction() as tx:
                erased = replace(event("a", 3), type=RecipientErased.type_name)
                await tx.events.append([erased], [])
                await tx.events.erase("Order", "a")
            async with database.transaction() as tx:
                found = await tx.events.load("Order", "t1", ["a", "b"])
            with pytest.raises(Unexpected):
                async with database.transaction() as tx:
                    erased = replace(event("b", 2), type=RecipientErased.type_name)
                    await tx.events.append([erased], [])
                    await tx.events.erase("Order", "b")
                    raise Unexpected
            async with database.transaction() as tx:
                assert (await tx.events.load("Order", "t1", ["b"])) == {"b": found["b"]}
                assert json.loads((await tx.events.load("Order", "t2", ["b"]))["b"].events[0].data) == json.loads(told)
        first, second, third = found["a"].events
        assert json.loads(first.data) == {"consumer_id": "c", "deliver_to": NOWHERE, "n": 1}
        assert (json.loads(second.data), json.loads(third.data)) == ({"n": 1}, {"n": 1})
        assert found["a"].snapshot is None
        assert found["b"].snapshot is not None

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

    async def test_histories_that_are_too_much_together_are_not_read(self, databases: Databases) -> None:
        large = '{"name": "' + 900 * "x" + '"}'
        async with databases() as database:
            async with database.transaction() as tx:
                await tx.events.append([event("a", n, data=large) for n in (1, 2, 3)], [])
                await tx.events.append([event("b", 1)], [snapshot("b", 1)])
            async with database.transaction() as tx:
                for few in (["a"], ["a", "b"], ["b", "a"]):
                    with pytest.raises(TooMuchAtOnce):
                        await tx.events.load("Order", "t1", few, 2000)
                assert len((await tx.events.load("Order", "t1", ["a", "b"], 4000))["a"].events) == 3
                assert len((await tx.events.load("Order", "t1", ["a", "b"]))["a"].events) == 3
                assert set(await tx.events.load("Order", "t1", ["b"], 2000)) == {"b"}
