"""A whole service, and a saga between two, in memory: without servers, and with a clock that the test moves."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from shared.testing.system import MemorySystem


@asynccontextmanager
async def lending() -> AsyncIterator[tuple[MemorySystem, httpx.AsyncClient, httpx.AsyncClient]]:
    async with MemorySystem(["shared.examples.members", "shared.examples.books"]) as system:
        yield system, system.client("members"), system.client("books")


async def id_of(request: httpx.Response) -> str:
    assert request.status_code == 201, request.text
    return str(request.json()["id"])


async def test_a_member_joins() -> None:
    async with lending() as (_, members, _books):
        ada = await id_of(await members.post("/api/members", json={"name": "Ada"}))
        assert (await members.get(f"/api/members/{ada}")).json() == {"name": "Ada", "loans": 0}


async def test_a_member_without_a_name_is_refused() -> None:
    async with lending() as (_, members, _books):
        refused = await members.post("/api/members", json={"name": " "})
        assert (refused.status_code, refused.json()["detail"]) == (400, "a member needs a name")


async def test_a_book_is_lent_to_a_member_who_may_have_it() -> None:
    async with lending() as (system, members, books):
        ada = await id_of(await members.post("/api/members", json={"name": "Ada"}))
        dune = await id_of(await books.post("/api/books", json={"title": "Dune"}))
        asked = await books.post(f"/api/books/{dune}/loan", json={"member_id": ada})
        assert asked.status_code == 202
        assert (await books.get(f"/api/books/{dune}")).json()["status"] == "reserved"
        await system.settle()
        assert (await books.get(f"/api/books/{dune}")).json() == {
            "title": "Dune",
            "status": "lent",
            "last_refusal": "",
        }
        assert (await members.get(f"/api/members/{ada}")).json()["loans"] == 1
        again = await books.post(f"/api/books/{dune}/loan", json={"member_id": ada})
        assert (again.status_code, again.json()["detail"]) == (409, "the book is not on the shelf")


async def test_a_book_goes_back_to_the_shelf_when_the_member_has_too_many() -> None:
    async with lending() as (system, members, books):
        ada = await id_of(await members.post("/api/members", json={"name": "Ada"}))
        for title in ("Dune", "Emma", "Ulysses"):
            book = await id_of(await books.post("/api/books", json={"title": title}))
            await books.post(f"/api/books/{book}/loan", json={"member_id": ada})
        await system.settle()
        fourth = await id_of(await books.post("/api/books", json={"title": "Persuasion"}))
        await books.post(f"/api/books/{fourth}/loan", json={"member_id": ada})
        await system.settle()
        assert (await books.get(f"/api/books/{fourth}")).json() == {
            "title": "Persuasion",
            "status": "on the shelf",
            "last_refusal": "the member has three books already",
        }
        assert (await members.get(f"/api/members/{ada}")).json()["loans"] == 3
