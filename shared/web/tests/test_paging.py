"""Cursors and the limits of pages."""

import base64
from datetime import UTC, datetime
from typing import Annotated

import pytest
from fastapi import Depends, FastAPI
from httpx import ASGITransport, AsyncClient

from shared.web import problems
from shared.web.paging import DEFAULT_LIMIT, Cursors, Limit
from shared.web.parameters import Moment, UuidText

AN_ID = "0197f3a0-0000-7000-8000-000000000001"
A_TIME = datetime(2026, 2, 3, 4, 5, 6, 789012, UTC)

ids = Cursors[str](UuidText)
places = Cursors[tuple[datetime, str]](tuple[Moment, UuidText])


def text_of(json: str) -> str:
    return base64.urlsafe_b64encode(json.encode()).rstrip(b"=").decode()


def test_a_cursor_is_the_place_again() -> None:
    assert ids.decode(ids.encode(AN_ID)) == AN_ID
    assert places.decode(places.encode((A_TIME, AN_ID))) == (A_TIME, AN_ID)


def test_the_end_of_a_list_is_empty_text() -> None:
    assert places.encode(None) == ""
    assert places.decode("") is None


@pytest.mark.parametrize(
    "text",
    [
        "!",
        "42",
        "\x00",
        "é",
        text_of("no JSON"),
        text_of("null"),
        text_of(f'"{AN_ID}"'),
        text_of(f'["2026-02-03T04:05:06.789012","{AN_ID}"]'),  # no offset
        text_of(f'["9999-12-31T23:59:59-01:00","{AN_ID}"]'),  # no time in UTC
        text_of(f'[1770091506,"{AN_ID}"]'),
        text_of('["2026-02-03T04:05:06.789012Z","42"]'),
        text_of("[" * 700),
        places.encode((A_TIME, AN_ID))[:-1],
        places.encode((A_TIME, AN_ID)) + "A",
        places.encode((A_TIME, AN_ID)) + "==",
        places.encode((A_TIME, AN_ID)) + "\n",
    ],
)
def test_what_was_never_given_out_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of any kind: they become the same answer
        places.decode(text)


async def answer_to(asked: dict[str, str]) -> tuple[int, dict[str, object]]:
    app = FastAPI()
    problems.install(app)

    @app.get("/list")
    async def a_page(after: Annotated[str | None, Depends(ids)], limit: Limit = DEFAULT_LIMIT) -> dict[str, object]:
        return {"after": after, "limit": limit}

    async with AsyncClient(transport=ASGITransport(app), base_url="http://test") as client:
        answer = await client.get("/list", params=asked)
    return answer.status_code, answer.json()


async def test_a_page_as_it_is_asked_for() -> None:
    assert await answer_to({}) == (200, {"after": None, "limit": 20})
    assert await answer_to({"next": ""}) == (200, {"after": None, "limit": 20})
    assert await answer_to({"next": ids.encode(AN_ID), "limit": "50"}) == (200, {"after": AN_ID, "limit": 50})


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"next": "nonsense"}, "query.next: is not a cursor of this list"),
        ({"next": "A" * 1001}, "query.next: String should have at most 1000 characters"),
        ({"limit": "0"}, "query.limit: Input should be greater than or equal to 1"),
        ({"limit": "51"}, "query.limit: Input should be less than or equal to 50"),
        ({"limit": "many"}, "query.limit: Input should be a valid integer, unable to parse string as an integer"),
    ],
)
async def test_what_asks_for_no_page_is_answered_422(asked: dict[str, str], message: str) -> None:
    status, problem = await answer_to(asked)
    assert (status, problem["message"]) == (422, message)
