"""The consumer service's HTTP API on a memory database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from consumer.domain.consumer import MAX_ADDRESSES
from shared.testing.system import MemorySystem

ADDRESS = {"street1": "1 Main Street", "street2": None, "city": "Oakland", "state": "CA", "zip": "94611"}
OTHER = {**ADDRESS, "street1": "2 Side Street"}
NOBODY = "/api/consumers/0197f2b0-0000-7000-8000-00000000ffff"
NAMELESS = "cannot register a consumer without a name"


@asynccontextmanager
async def api() -> AsyncIterator[tuple[httpx.AsyncClient, str]]:
    """A client, and the path of a consumer called Ada."""
    async with MemorySystem(["consumer"]) as system:
        http = system.client("consumer")
        answer = await http.post("/api/consumers", json={"name": "Ada"})
        assert answer.status_code == 201
        yield http, f"/api/consumers/{answer.json()['id']}"


def check_problem(answer: httpx.Response, status: int, message: str | None = None) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    if message is not None:
        assert answer.json()["message"] == message


async def test_a_consumer_is_registered_renamed_and_seen() -> None:
    async with api() as (http, ada):
        id_ = ada.rpartition("/")[2]
        answer = await http.get(ada)
        assert (answer.status_code, answer.json()) == (200, {"consumer_id": id_, "name": "Ada", "addresses": {}})
        for path, name in ((f"{ada}/rename", "Grace"), (ada, "Grace Hopper")):
            answer = await http.put(path, json={"name": name})
            assert (answer.status_code, answer.json()) == (200, {"id": id_})
            assert (await http.get(ada)).json()["name"] == name


async def test_two_may_have_the_same_name() -> None:
    async with api() as (http, ada):
        answer = await http.post("/api/consumers", json={"name": "Ada"})
        assert answer.status_code == 201
        assert not ada.endswith(answer.json()["id"])


async def test_addresses_are_added_changed_and_removed() -> None:
    async with api() as (http, ada):
        answer = await http.post(f"{ada}/addresses", json={"address_id": "my home", "address": ADDRESS})
        assert (answer.status_code, answer.json()) == (201, {"address_id": "my home"})
        answer = await http.get(f"{ada}/addresses/my home")
        assert (answer.status_code, answer.json()) == (200, ADDRESS)
        answer = await http.put(f"{ada}/addresses/my home", json={"address": OTHER})
        assert (answer.status_code, answer.json()) == (200, {"address_id": "my home"})
        assert (await http.get(ada)).json()["addresses"] == {"my home": OTHER}
        answer = await http.delete(f"{ada}/addresses/my home")
        assert (answer.status_code, answer.content) == (204, b"")
        assert (await http.get(ada)).json()["addresses"] == {}


async def test_a_consumer_without_a_name() -> None:
    async with api() as (http, ada):
        for body in ({"name": ""}, {"name": "  "}, {}):
            check_problem(await http.post("/api/consumers", json=body), 400, NAMELESS)
            check_problem(await http.put(f"{ada}/rename", json=body), 400, NAMELESS)
            check_problem(await http.put(ada, json=body), 400, NAMELESS)
        assert (await http.get(ada)).json()["name"] == "Ada"


async def test_consumers_that_are_not_there() -> None:
    async with api() as (http, _):
        name, new, changed = {"name": "Eve"}, {"address_id": "home", "address": ADDRESS}, {"address": ADDRESS}
        for request in (
            http.get(NOBODY),
            http.put(NOBODY, json=name),
            http.put(f"{NOBODY}/rename", json=name),
            http.post(f"{NOBODY}/addresses", json=new),
            http.get(f"{NOBODY}/addresses/home"),
            http.put(f"{NOBODY}/addresses/home", json=changed),
            http.delete(f"{NOBODY}/addresses/home"),
            http.delete(NOBODY),
        ):
            check_problem(await request, 404, "consumer not found")


async def test_addresses_that_are_not_there_and_one_that_is() -> None:
    async with api() as (http, ada):
        message = "address with that identifier does not exist"
        check_problem(await http.get(f"{ada}/addresses/home"), 404, message)
        check_problem(await http.put(f"{ada}/addresses/home", json={"address": ADDRESS}), 404, message)
        check_problem(await http.delete(f"{ada}/addresses/home"), 404, message)
        new = {"address_id": "home", "address": ADDRESS}
        assert (await http.post(f"{ada}/addresses", json=new)).status_code == 201
        message = "address with that identifier already exists"
        check_problem(await http.post(f"{ada}/addresses", json={**new, "address": OTHER}), 409, message)
        assert (await http.get(f"{ada}/addresses/home")).json() == ADDRESS


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/consumers", {"name": 1}),
        ("POST", "/api/consumers", {"name": None}),
        ("POST", "/api/consumers", {"name": "x" * 1001}),
        ("POST", "/api/consumers", {"name": "Ada", "age": 36}),
        ("POST", "/api/consumers", ["Ada"]),
        ("GET", "/api/consumers/ada", None),
        ("PUT", "/api/consumers/ada", {"name": "Ada"}),
        ("POST", "{ada}/addresses", {"address_id": "", "address": ADDRESS}),
        ("POST", "{ada}/addresses", {"address_id": "home"}),
        ("POST", "{ada}/addresses", {"address": ADDRESS}),
        ("POST", "{ada}/addresses", {"address_id": "home", "address": {**ADDRESS, "city": None}}),
        ("POST", "{ada}/addresses", {"address_id": "home", "address": {**ADDRESS, "street1": ""}}),
        ("PUT", "{ada}/addresses/home", {"address": "1 Main Street"}),
        ("PUT", "{ada}/addresses/home", {"address_id": "home", "address": ADDRESS}),
    ],
    ids=str,
)
async def test_what_is_against_the_schema(method: str, path: str, body: Any) -> None:
    async with api() as (http, ada):
        before = (await http.get(ada)).json()
        check_problem(await http.request(method, path.format(ada=ada), json=body), 422)
        assert (await http.get(ada)).json() == before


async def test_malformed_json() -> None:
    async with api() as (http, _):
        headers = {"content-type": "application/json"}
        check_problem(await http.post("/api/consumers", content=b'{"name": "Ada', headers=headers), 400)


async def test_too_many_addresses() -> None:
    async with api() as (http, ada):
        for number in range(MAX_ADDRESSES):
            answer = await http.post(f"{ada}/addresses", json={"address_id": f"{number}", "address": ADDRESS})
            assert answer.status_code == 201
        answer = await http.post(f"{ada}/addresses", json={"address_id": "one more", "address": ADDRESS})
        check_problem(answer, 422, "consumer has too many addresses")
        assert len((await http.get(ada)).json()["addresses"]) == MAX_ADDRESSES


async def test_an_erased_consumer_is_nobody() -> None:
    async with api() as (http, ada):
        new = {"address_id": "home", "address": ADDRESS}
        assert (await http.post(f"{ada}/addresses", json=new)).status_code == 201
        key = {"Idempotency-Key": "erase Ada"}
        for headers in (key, key, {}):
            answer = await http.delete(ada, headers=headers)
            assert (answer.status_code, answer.content) == (204, b"")
        for request in (http.get(ada), http.put(ada, json={"name": "Ada"}), http.get(f"{ada}/addresses/home")):
            check_problem(await request, 404, "consumer not found")
