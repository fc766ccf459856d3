"""What the web application does for every service."""

import asyncio
import base64
import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import quote

import pytest
from fastapi import APIRouter, FastAPI
from httpx import ASGITransport, AsyncClient

from shared.telemetry.logs import Sparingly
from shared.web import app as web
from shared.web import gate as gate_module
from shared.web.app import MAX_BODY, create_app
from shared.web.gate import SMALL_BODY, Gate
from shared.web.parameters import Body, Cents, Text

A_MEBIBYTE_AND_MORE = b'{"name": "' + b"x" * MAX_BODY + b'"}'
JSON = {"Content-Type": "application/json"}


class Thing(Body):
    name: Text = ""
    price: Cents = 0


class Ready:
    async def reasons(self) -> list[str]:
        return []

    async def measure(self) -> None:
        pass


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    yield


def client() -> AsyncClient:
    router = APIRouter(prefix="/api", tags=["orders"])

    @router.get("/things/{label:text}")
    async def get_thing(label: str) -> str:
        return label

    @router.delete("/things/{label:text}")
    async def remove_thing(label: str) -> str:
        return label

    @router.post("/things")
    async def add_thing(body: Thing) -> int:
        return body.price

    app = create_app("things", "Has things.", router, Ready(), lifespan)
    return AsyncClient(transport=ASGITransport(app), base_url="http://things")


@pytest.mark.parametrize("size", [1, 1000, MAX_BODY, 2 * MAX_BODY])
async def test_a_body_over_a_mebibyte_is_refused_in_whatever_pieces_it_comes(size: int) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield A_MEBIBYTE_AND_MORE[:-size]
        yield A_MEBIBYTE_AND_MORE[-size:]

    async with client() as http:
        whole = await http.post("/api/things", content=A_MEBIBYTE_AND_MORE, headers=JSON)
        in_pieces = await http.post("/api/things", content=pieces(), headers=JSON)
    assert (whole.status_code, in_pieces.status_code) == (413, 413)
    assert whole.json()["message"] == in_pieces.json()["message"] == "the body is larger than 1 MiB"


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b'{"name": "\xff"}',
        b"[" * 100_000,
        b'{"price": ' + b"9" * 5000 + b"}",
    ],
    ids=["unfinished", "no UTF-8", "too deep", "too many digits"],
)
async def test_what_is_no_json_is_answered_400(body: bytes) -> None:
    async with client() as http:
        answer = await http.post("/api/things", content=body, headers=JSON)
    assert (answer.status_code, answer.json()["message"]) == (400, "the body is not JSON")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (rb'{"name": "\u0000"}', "body.name: String should match pattern '^[^\\x00]*$'"),
        (rb'{"name": "\ud800"}', "body.name: Input should be a valid string, unable to parse raw data as a"),
        (rb'{"\ud800": 1}', "body: Input should be a valid string"),
        (b'{"price": true}', "body.price: Input should be a valid integer"),
        (b'{"price": "1"}', "body.price: Input should be a valid integer"),
        (b'{"price": 1.5}', "body.price: Input should be a valid integer"),
        (b'{"price": NaN}', "body.price: Input should be a"),
        (b'{"price": 1e400}', "body.price: Input should be a"),
        (b'{"price": 1e300}', "body.price: Input should be less than or equal to 100000000"),
        (b'{"' + b"x" * 10_000 + b'": 1}', f"body.{'x' * 100}: Extra inputs are not permitted"),
        (
            b"{" + b", ".join(b'"x%d": 1' % number for number in range(5000)) + b"}",
            "body: has more than 100 entries",
        ),
        (
            b"{" + b", ".join(b'"x%d": 1' % number for number in range(100)) + b"}",
            "body.x0: Extra inputs are not permitted",
        ),
    ],
)
async def test_what_is_against_the_schema_is_answered_422_in_so_many_words(body: bytes, message: str) -> None:
    async with client() as http:
        answer = await http.post("/api/things", content=body, headers=JSON)
    assert answer.status_code == 422
    assert answer.json()["message"].startswith(message)
    assert len(answer.json()["message"]) < 1000


async def test_a_number_without_a_fraction_is_an_integer() -> None:
    async with client() as http:
        assert (await http.post("/api/things", json={"price": 2.0})).json() == 2


async def test_a_method_that_is_not_allowed_is_told_which_are() -> None:
    async with client() as http:
        answer = await http.put("/api/things/home")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, DELETE")
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/", "/api", "/api/things/", "/ping/", "/docs/nothing"])
async def test_what_does_not_exist_is_a_problem_and_nobody_is_sent_elsewhere(path: str) -> None:
    async with client() as http:
        answer = await http.post(path, json={})
    assert answer.status_code in {404, 405}
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("label", ["a/b/", "/", "\n", "a\n", "\n/\na", "%2F", "?", " "])
async def test_a_label_in_a_path_may_hold_anything(label: str) -> None:
    async with client() as http:
        assert (await http.get(f"/api/things/{quote(label, safe='')}")).json() == label


@pytest.mark.parametrize(
    ("sent", "kept"), [("an-id_1.2:3", True), ("x" * 128, True), ("x" * 129, False), ("a b", False), ("²", False)]
)
async def test_a_correlation_id_is_taken_if_it_is_one(sent: str, kept: bool) -> None:
    async with client() as http:
        answer = await http.get("/api/things/x", headers={b"X-Correlation-Id": sent.encode("latin-1")})
    assert (answer.headers["X-Correlation-Id"] == sent) is kept


@pytest.mark.parametrize("path", ["/api/things/x", "/api/nothing", "/ping", "/metrics", "/openapi.json"])
async def test_browsers_are_to_run_nothing_of_an_answer(path: str) -> None:
    async with client() as http:
        headers = (await http.get(path)).headers
    assert headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert not {"server", "x-powered-by"} & set(headers)


async def test_the_page_of_the_api_may_run_its_own_scripts_only() -> None:
    async with client() as http:
        page = await http.get("/docs")
    (inline,) = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    allowed = dict(each.strip().split(" ", 1) for each in page.headers["Content-Security-Policy"].split(";"))
    digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
    assert allowed["script-src"] == f"'self' 'sha256-{digest}'"
    assert (allowed["default-src"], allowed["connect-src"]) == ("'none'", "'self'")


async def test_the_page_of_the_api_comes_without_a_network() -> None:
    async with client() as http:
        page = await http.get("/docs")
        found = re.findall(r'(?:src|href)="([^"]*)"', page.text)
        assert [name.rpartition("/")[2] for name in found] == ["swagger-ui.css", "favicon.png", "swagger-ui-bundle.js"]
        assert "//" not in re.sub(r"<!--.*?-->", "", page.text)
        assert [(await http.get(f"/{name}")).status_code for name in found] == [200, 200, 200]
        assert (await http.get("/openapi.json")).json()["info"]["title"] == "things"


async def test_more_requests_at_once_than_the_limit_are_told_to_come_again() -> None:
    inside, leave = asyncio.Event(), asyncio.Event()
    router = APIRouter()

    @router.get("/slow")
    async def slow() -> str:
        inside.set()
        await leave.wait()
        return "done"

    gate = Gate(1)
    app = create_app("things", "Has things.", router, Ready(), lifespan, gate)
    async with AsyncClient(transport=ASGITransport(app), base_url="http://things") as http:
        first = asyncio.create_task(http.get("/slow"))
        await inside.wait()
        second = await http.get("/slow")
        assert (second.status_code, second.headers["Retry-After"]) == (503, "1")
        assert second.json()["detail"] == "the service is overloaded: try again"
        assert (await http.get("/readyz")).status_code == 200

        gate.leaving = True
        closing = asyncio.create_task(gate.close())
        leave.set()
        answer = await first
        await closing
        assert (answer.json(), answer.headers["Connection"]) == ("done", "close")
        late = await http.get("/slow")
        assert (late.status_code, late.json()["detail"]) == (503, "the service is stopping: try again")


async def test_large_bodies_wait_outside_when_there_is_no_room_and_small_ones_never(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gate_module, "MAX_LARGE_BODIES", 100_000)
    begun, finish = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b'{"name": "' + b"x" * 90_000
        begun.set()
        await finish.wait()
        yield b'"}'

    async with client() as http:
        first = asyncio.create_task(http.post("/api/things", content=slow(), headers=JSON))
        await begun.wait()
        for size, status in ((20_000, 503), (SMALL_BODY - 100, 422)):
            answer = await http.post("/api/things", json={"name": "x" * size})
            assert answer.status_code == status, answer.text
            if status == 503:
                assert answer.headers["Retry-After"] == "1"
                assert answer.json()["detail"] == "the service is overloaded: try again"
        finish.set()
        assert (await first).status_code == 422
        assert (await http.post("/api/things", json={"name": "x" * 20_000})).status_code == 422


async def test_who_goes_on_sending_what_was_refused_is_not_listened_to_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(web, "BODY_SECONDS", 0.05)

    async def endless() -> AsyncIterator[bytes]:
        yield b"x" * (MAX_BODY + 1)
        await asyncio.Event().wait()

    async with client() as http:
        assert (await http.post("/api/things", content=endless(), headers=JSON)).status_code == 413


async def test_a_body_that_does_not_come_to_its_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "BODY_SECONDS", 0.01)

    async def endless() -> AsyncIterator[bytes]:
        yield b'{"name": "'
        await asyncio.Event().wait()

    async with client() as http:
        answer = await http.post("/api/things", content=endless(), headers=JSON)
    assert (answer.status_code, answer.json()["detail"]) == (408, "the body took too long")


async def test_failures_of_the_surroundings_are_counted_in_few_lines() -> None:
    now = 0.0
    sparingly = Sparingly(10, lambda: now)
    assert [sparingly.now() for _ in range(4)] == [1, 0, 0, 0]
    now = 10.0
    assert [sparingly.now() for _ in range(2)] == [4, 0]
