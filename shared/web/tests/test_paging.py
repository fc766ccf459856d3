"""Cursors and the limits of pages."""

from datetime import UTC, datetime
from typing import Annotated

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient

from shared.web import error_handlers
from shared.web.paging import (
    DEFAULT_LIMIT,
    ID_PATTERN,
    TIME_PATTERN,
    Cursors,
    Limit,
    id_of_text,
    id_to_text,
    time_of_text,
    time_to_text,
)

AN_ID = "0197f3a0-0000-7000-8000-000000000001"
A_TIME = datetime(2026, 2, 3, 4, 5, 6, 789012, UTC)

ids = Cursors[str](ID_PATTERN, id_to_text, id_of_text)
places = Cursors[tuple[datetime, str]](
    TIME_PATTERN + ID_PATTERN,
    lambda place: time_to_text(place[0]) + id_to_text(place[1]),
    lambda text: (time_of_text(text[:14]), id_of_text(text[14:])),
)


def test_a_cursor_is_the_place_again() -> None:
    assert ids.decode(ids.encode(AN_ID)) == AN_ID
    assert places.decode(places.encode((A_TIME, AN_ID))) == (A_TIME, AN_ID)


def test_the_end_of_a_list_is_empty_text() -> None:
    assert places.encode(None) == ""
    assert places.decode("") is None


@pytest.mark.parametrize("text", ["0" * 46, "f" * 46])
def test_whatever_fits_the_pattern_is_a_place(text: str) -> None:
    assert places.encode(places.decode(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "!",
        "42",
        "\x00",
        "é",
        "0" * 32,
        AN_ID,
        places.encode((A_TIME, AN_ID)).upper(),
        places.encode((A_TIME, AN_ID))[:-1],
        places.encode((A_TIME, AN_ID)) + "0",
        places.encode((A_TIME, AN_ID)) + "\n",
    ],
)
def test_what_was_never_given_out_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="cursor"):
        places.decode(text)


async def answer_to(asked: dict[str, str]) -> tuple[int, dict[str, object]]:
    app = FastAPI()
    error_handlers.install(app)

    @app.get("/list")
    async def a_page(after: Annotated[str | None, ids.parameter], limit: Limit = DEFAULT_LIMIT) -> dict[str, object]:
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
        ({"next": "nonsense"}, "query.next: String should match pattern '^([0-9a-f]{32})?$'"),
        ({"next": "A" * 1001}, "query.next: String should match pattern '^([0-9a-f]{32})?$'"),
        ({"limit": "0"}, "query.limit: Input should be greater than or equal to 1"),
        ({"limit": "51"}, "query.limit: Input should be less than or equal to 50"),
        ({"limit": "many"}, "query.limit: Input should be a valid integer, unable to parse string as an integer"),
    ],
)
async def test_what_asks_for_no_page_is_answered_422(asked: dict[str, str], message: str) -> None:
    status, problem = await answer_to(asked)
    assert (status, problem["message"]) == (422, message)
