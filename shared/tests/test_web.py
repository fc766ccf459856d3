"""What every service's API has in common: problem documents, limits, the ids of a request, and the operations."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from shared.adapters.postgres.errors import DatabaseUnavailable
from shared.core.context import Cause, current_cause
from shared.core.errors import (
    AlreadyExists,
    Conflict,
    FailedPrecondition,
    IdempotencyKeyReused,
    InvalidArgument,
    NotFound,
    NotYet,
    OutOfRange,
)
from shared.processing.command_queue import Overloaded, Stopped
from shared.unit_of_work.idempotency import IdempotencyKey, current_key
from shared.web.app import MAX_BODY, create_app
from shared.web.parameters import Body, IdInPath
from shared.web.problems import BODY_NOT_JSON, also, documented, kind_of, problems
from shared.web.routes import Routes

ID = "0197f2b0-0000-7000-8000-000000000001"
JSON = {"content-type": "application/json"}


class Named(Body):
    """A body."""

    name: str


class Api:
    """An API whose only operation does what the test says."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.cause: Cause | None = None
        self.key: IdempotencyKey | None = None
        self.problems: list[str] = []
        self.measured = 0
        router = Routes(tags=["repair"])

        @router.get("/labels/{label:text}")
        async def see(label: str) -> None:
            """Changes nothing."""

        @router.put("/labels/{label:text}")
        async def change(label: str) -> None:
            self.key = current_key()

        @router.post("/things/{id}")
        async def do(id_: IdInPath, body: Named) -> dict[str, str]:
            self.cause, self.key = current_cause(), current_key()
            if self.error is not None:
                raise self.error
            return {"id": id_, "name": body.name}

        app = create_app(title="things", description="", router=router, readiness=self, lifespan=_nothing)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self.http = httpx.AsyncClient(transport=transport, base_url="http://things")

    async def reasons(self) -> list[str]:
        return self.problems

    async def measure(self) -> None:
        self.measured += 1

    async def post(self, path: str = f"/things/{ID}", **arguments: Any) -> httpx.Response:
        if "content" not in arguments:
            arguments.setdefault("json", {"name": "x"})
        return await self.http.post(path, **arguments)


@asynccontextmanager
async def _nothing(_app: FastAPI) -> AsyncIterator[None]:
    yield


def check_problem(answer: httpx.Response, status: int, code: str, detail: str | None = None) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert set(problem) == {"type", "title", "status", "code", "detail", "message"}
    assert (problem["status"], problem["type"], problem["code"]) == (status, "about:blank", code)
    assert problem["message"] == problem["detail"] != ""
    assert problem["title"] not in ("", "Error")
    if detail is not None:
        assert problem["detail"] == detail


class ThingNotFound(NotFound):
    text = "thing not found"


class ThingNotYet(NotYet):
    text = "thing not found"


class ThingExists(AlreadyExists):
    text = "thing already exists"


class ThingIsOdd(InvalidArgument):
    code = "odd_thing"
    text = "thing is odd, or: it isn't"


class ThingIsLate(OutOfRange):
    text = "thing is late"


class ThingIsBusy(FailedPrecondition):
    text = "thing is busy"


@pytest.mark.parametrize(
    ("error", "status", "code", "detail"),
    [
        (ThingNotFound(), 404, "thing_not_found", "thing not found"),
        (ThingNotFound("thing 7 not found"), 404, "thing_not_found", "thing 7 not found"),
        (ThingNotYet(), 404, "thing_not_found", "thing not found"),
        (NotYet("not there yet"), 404, "not_found", "not there yet"),
        (ThingExists(), 409, "thing_already_exists", "thing already exists"),
        (ThingIsOdd(), 400, "odd_thing", "thing is odd, or: it isn't"),
        (ThingIsLate(), 422, "thing_is_late", "thing is late"),
        (ThingIsBusy(), 409, "thing_is_busy", "thing is busy"),
        (IdempotencyKeyReused(), 422, "idempotency_key_reused", "the idempotency key was used for another request"),
        (Conflict("version 3 of secret-table"), 503, "unavailable", None),
        (DatabaseUnavailable("PostgreSQL: secret-host"), 503, "unavailable", None),
        (Overloaded("1000 commands wait already"), 503, "overloaded", "the service is overloaded: try again"),
        (Stopped("the service has stopped"), 503, "stopping", "the service is stopping: try again"),
        (ValueError("secret"), 500, "internal", None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_every_error_is_a_problem_document(error: Exception, status: int, code: str, detail: str | None) -> None:
    api = Api()
    api.error = error
    answer = await api.post()
    check_problem(answer, status, code, detail)
    assert ("retry-after" in answer.headers) is (status == 503)
    assert "secret" not in answer.text


async def test_what_the_framework_refuses_is_a_problem_document_too() -> None:
    api = Api()
    check_problem(await api.http.get("/nowhere"), 404, "not_found")
    check_problem(await api.http.put(f"/things/{ID}"), 405, "method_not_allowed")


@pytest.mark.parametrize(
    "content", [b"{", b"not json", b'{"name": "x"', b'{"name": "\xff"}', b'{"name":' + b"[" * 9999]
)
async def test_what_is_no_json_is_400(content: bytes) -> None:
    check_problem(await Api().post(content=content, headers=JSON), 400, "body_not_json")


@pytest.mark.parametrize(
    "arguments",
    [
        {"json": {}},
        {"json": {"name": 1}},
        {"json": {"name": "x", "more": 1}},
        {"json": ["x"]},
        {"json": "x"},
        {"path": "/things/1"},
        {"path": "/things/{" + ID + "}"},
        {"path": f"/things/{ID.replace('-', '')}"},
        {"headers": {"Idempotency-Key": ""}},
        {"headers": {"Idempotency-Key": "x" * 256}},
    ],
    ids=str,
)
async def test_what_is_against_the_schema_is_422(arguments: dict[str, Any]) -> None:
    api = Api()
    check_problem(await api.post(**arguments), 422, "invalid_request")
    assert api.cause is None, "nothing was done"


async def test_an_id_is_taken_in_its_canonical_form() -> None:
    assert (await Api().post(f"/things/{ID.upper()}")).json()["id"] == ID


def body_of(size: int) -> bytes:
    empty = b'{"name":""}'
    return empty.replace(b'""', b'"' + b"x" * (size - len(empty)) + b'"')


async def test_a_body_has_a_limit() -> None:
    api = Api()
    assert (await api.post(content=body_of(MAX_BODY), headers=JSON)).status_code == 200
    api.cause = None
    check_problem(await api.post(content=body_of(MAX_BODY + 1), headers=JSON), 413, "body_too_large")
    assert api.cause is None


async def test_a_body_of_undeclared_length_has_a_limit_too() -> None:
    async def in_parts(body: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(body), 100_000):
            yield body[start : start + 100_000]

    api = Api()
    answer = await api.post(content=in_parts(body_of(MAX_BODY)), headers=JSON)
    assert "content-length" not in answer.request.headers
    assert answer.status_code == 200
    check_problem(await api.post(content=in_parts(body_of(MAX_BODY + 1)), headers=JSON), 413, "body_too_large")


async def test_a_request_has_its_ids_and_says_them() -> None:
    api = Api()
    answer = await api.post(headers={"X-Correlation-Id": "my-order_7", "X-Request-Id": "my-request"})
    assert api.cause is not None
    assert (api.cause.correlation_id, api.cause.causation_id) == ("my-order_7", "my-request")
    assert answer.headers["x-correlation-id"] == "my-order_7"
    assert answer.headers["x-request-id"] == api.cause.id
    assert api.cause.id not in ("my-order_7", "my-request")


async def test_a_request_without_ids_gets_some() -> None:
    api = Api()
    first, second = await api.post(), await api.post()
    assert api.cause is not None
    assert api.cause.correlation_id == api.cause.id == second.headers["x-correlation-id"]
    assert first.headers["x-request-id"] != second.headers["x-request-id"]


@pytest.mark.parametrize("odd", ["", "a b", "x" * 129, "<script>", "é".encode(), "a\tb"], ids=repr)
async def test_ids_that_are_none_are_not_taken_over(odd: str | bytes) -> None:
    api = Api()
    answer = await api.post(headers={"X-Correlation-Id": odd, "X-Request-Id": odd})
    assert api.cause is not None
    assert api.cause.correlation_id == api.cause.causation_id == api.cause.id == answer.headers["x-correlation-id"]


@pytest.mark.parametrize(
    "error", [None, NotFound("no"), Conflict("no"), ValueError("no")], ids=["200", "404", "503", "500"]
)
async def test_every_answer_has_the_ids_whatever_became_of_the_request(error: Exception | None) -> None:
    api = Api()
    api.error = error
    answer = await api.post(headers={"X-Correlation-Id": "mine"})
    assert answer.headers.get("x-correlation-id") == "mine"
    assert answer.headers.get("x-request-id")
    for odd in (await api.post(content=b"{", headers={**JSON, "X-Correlation-Id": "mine"}), await api.post(json=[])):
        assert odd.headers["x-request-id"]


async def test_every_request_is_counted_by_its_route_and_status() -> None:
    api = Api()
    await api.post()
    api.error = ValueError("boom")
    await api.post()
    text = (await api.http.get("/metrics")).text
    assert api.measured == 1, "what waits for an operator is as it is now"
    for status in (200, 500):
        assert re.search(rf'_count{{[^}}]*"/things/{{id}}"[^}}]*"{status}"[^}}]*}} [1-9]', text), status


async def test_an_idempotency_key_tells_requests_apart() -> None:
    api = Api()
    headers = {"Idempotency-Key": "k", **JSON}
    keys = []
    for path, content in ((ID, b'{"name":"x"}'), (ID, b'{"name":"y"}'), (ID[:-1] + "2", b'{"name":"x"}')):
        assert (await api.post(f"/things/{path}", content=content, headers=headers)).status_code == 200
        assert api.key is not None
        keys.append(api.key)
    assert keys[0].id == keys[1].id == f"POST /things/{ID} k"
    assert keys[0].body_hash == keys[2].body_hash != keys[1].body_hash
    assert keys[2].id != keys[0].id
    await api.post()
    assert api.key is None
    assert current_key() is None


async def test_a_key_tells_paths_apart_that_look_like_queries() -> None:
    api = Api()
    ids = set()
    for path in ("/labels/a%3Fb", "/labels/a%3Fc"):
        await api.http.put(path, headers={"Idempotency-Key": "k"})
        assert api.key is not None
        ids.add(api.key.id)
    assert ids == {"PUT /labels/a?b k", "PUT /labels/a?c k"}


async def test_what_changes_something_documents_the_key_and_what_reads_does_not() -> None:
    operations = (await Api().http.get("/openapi.json")).json()["paths"]["/labels/{label}"]
    assert operations.keys() == {"get", "put"}
    for method, operation in operations.items():
        names = {parameter["name"] for parameter in operation.get("parameters", ())}
        assert ("Idempotency-Key" in names) is (method != "get"), method
        assert (IdempotencyKeyReused.text in str(operation["responses"].get("422"))) is (method != "get"), method


async def test_whether_the_process_lives_and_the_service_can_work() -> None:
    api = Api()
    assert (await api.http.get("/ping")).status_code == 200
    assert (await api.http.get("/readyz")).json() == {"status": "ready"}
    api.problems = ["PostgreSQL: away", "NATS: away"]
    check_problem(await api.http.get("/readyz"), 503, "not_ready", "PostgreSQL: away; NATS: away")
    assert (await api.http.get("/ping")).status_code == 200


async def test_an_operation_documents_the_codes_of_its_problems() -> None:
    document = (await Api().http.get("/openapi.json")).json()
    responses = document["paths"]["/labels/{label}"]["put"]["responses"]
    assert "code" in document["components"]["schemas"]["Problem"]["required"]
    assert codes(responses["422"]) == ["idempotency_key_reused"]
    assert codes(documented(kind_of(ThingIsOdd), BODY_NOT_JSON)[400]) == ["odd_thing", "body_not_json"]
    more = also(documented(kind_of(ThingIsLate)), IdempotencyKeyReused)
    assert codes(more[422]) == ["thing_is_late", "idempotency_key_reused"]
    assert [*problems(ThingIsBusy, body=True)] == [400, 408, 409, 413, 422, 503]


def codes(response: dict[str, Any]) -> list[str]:
    """The codes that a response is documented with; the examples have the same."""
    content = response["content"]["application/problem+json"]
    _, own = content["schema"]["allOf"]
    found: list[str] = own["properties"]["code"]["enum"]
    assert [example["value"]["code"] for example in content["examples"].values()] == found
    return found
