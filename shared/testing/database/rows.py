"""Tests of row stores that every database must pass."""

import pytest

from shared.core.errors import Conflict, TooMuchAtOnce
from shared.core.serialization import Json
from shared.testing.database.given import NOON, Content, Databases, Parcel, Size, parcel
from shared.unit_of_work.idempotency import KeptAnswer


class RowStoreSuite:
    """Tests of the row store port."""

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

    async def test_rows_that_are_too_much_together_are_not_read(self, databases: Databases) -> None:
        contents = tuple(Content(name=100 * "x", count=1) for _ in range(10))
        large = [parcel(id_, contents=contents, note=1000 * "y") for id_ in "ab"]
        async with databases() as database:
            async with database.transaction() as tx:
                await tx.rows(Parcel).insert([*large, parcel("c")])
            async with database.transaction() as tx:
                for few in (["a", "b"], ["a", "c", "b"]):
                    with pytest.raises(TooMuchAtOnce):
                        await tx.rows(Parcel).load(few, 3500)
                assert await tx.rows(Parcel).load(["a"], 3500) == large[:1]
                assert len(await tx.rows(Parcel).load(["a", "b", "c"], 8000)) == 3
                assert len(await tx.rows(Parcel).load(["a", "b", "c"])) == 3
