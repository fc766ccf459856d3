"""The accounting service's HTTP API on a memory database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from consumer.contracts import ConsumerRegistered
from kernel.values import ConsumerId
from shared.testing.system import MemorySystem

ADA = ConsumerId("0197f2b0-0000-7000-8000-000000000001")
PATH = f"/api/accounts/{ADA}"
NOBODY = "/api/accounts/0197f2b0-0000-7000-8000-00000000ffff"


@asynccontextmanager
async def api() -> AsyncIterator[httpx.AsyncClient]:
    """A client; Ada has an account."""
    async with MemorySystem(["accounting"]) as system:
        await system.tell(ConsumerRegistered(consumer_id=ADA, name="Ada"))
        yield system.client("accounting")


def check_problem(answer: httpx.Response, status: int, message: str | None = None) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    if message is not None:
        assert answer.json()["message"] == message


async def test_an_account_is_seen_disabled_and_enabled() -> None:
    async with api() as http:
        account = {"id": ADA, "name": "Ada", "enabled": True, "authorized_total": 0}
        answer = await http.get(PATH)
        assert (answer.status_code, answer.json()) == (200, account)
        for action, enabled in (("disable", False), ("enable", True)):
            answer = await http.put(f"{PATH}/{action}")
            assert (answer.status_code, answer.json()) == (200, {"id": ADA})
            assert (await http.get(PATH)).json() == {**account, "enabled": enabled}


async def test_an_account_is_not_disabled_or_enabled_twice() -> None:
    async with api() as http:
        check_problem(await http.put(f"{PATH}/enable"), 409, "account is enabled")
        await http.put(f"{PATH}/disable")
        check_problem(await http.put(f"{PATH}/disable"), 409, "account is disabled")


async def test_accounts_that_are_not_there() -> None:
    async with api() as http:
        for request in (http.get(NOBODY), http.put(f"{NOBODY}/disable"), http.put(f"{NOBODY}/enable")):
            check_problem(await request, 404, "account not found")
        for request in (http.get("/api/accounts/ada"), http.put("/api/accounts/ada/disable")):
            check_problem(await request, 422)
