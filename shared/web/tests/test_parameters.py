"""The types that the services' parameters share."""

from datetime import UTC, datetime
from typing import Annotated

import pytest
from pydantic import Field, TypeAdapter, ValidationError

from shared.web.parameters import MAX_ENTRIES, Body, Few, Moment, UuidText

moment: TypeAdapter[datetime] = TypeAdapter(Moment)
uuid: TypeAdapter[str] = TypeAdapter(UuidText)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-02-03T04:05:06Z", datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)),
        ("2026-02-03t04:05:06.5z", datetime(2026, 2, 3, 4, 5, 6, 500000, UTC)),
        ("2026-02-03T04:05:06.123456789Z", datetime(2026, 2, 3, 4, 5, 6, 123456, UTC)),
        ("2026-02-03T04:05:06+05:30", datetime(2026, 2, 2, 22, 35, 6, tzinfo=UTC)),
        ("9999-12-31T23:59:59.999999Z", datetime(9999, 12, 31, 23, 59, 59, 999998, UTC)),
    ],
)
def test_a_moment_is_in_utc(text: str, expected: datetime) -> None:
    assert moment.validate_python(text) == expected
    assert moment.validate_python(text).utcoffset() == expected.utcoffset()


@pytest.mark.parametrize(
    "value",
    [
        1770091506,
        "",
        "yesterday",
        "2026-02-03",
        "2026-02-03T04:05:06",
        "2026-02-30T04:05:06Z",
        "1770091506",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "2026-02-03T04:05:06Z\n",
    ],
)
def test_what_is_no_moment_is_refused(value: object) -> None:
    with pytest.raises(ValidationError):
        moment.validate_python(value)


def test_an_id_is_in_lower_case() -> None:
    assert uuid.validate_python("0197F3A0-0000-7000-8000-00000000000C") == "0197f3a0-0000-7000-8000-00000000000c"


@pytest.mark.parametrize(
    "value",
    [
        "",
        "42",
        "0197f3a0000070008000000000000001",
        "{0197f3a0-0000-7000-8000-00000000001}",
        "urn:uuid:0197f3a0-0000-7000-8000-000000000001",
        "0197f3a0-0000-7000-8000-000000000001\n",
        "0197f3a0-0000-7000-80000-00000000001",
        42,
    ],
)
def test_what_is_no_id_is_refused(value: object) -> None:
    with pytest.raises(ValidationError):
        uuid.validate_python(value)


class Part(Body):
    """A body."""

    name: str


class Whole(Body):
    """A body with a map, and a body in it."""

    quantities: Annotated[dict[str, int], Few] = Field({})
    part: Part | None = None


@pytest.mark.parametrize("place", ["itself", "quantities", "part"])
def test_an_object_with_too_many_entries_is_refused_with_one_error(place: str) -> None:
    entries = {f"entry {number}": "odd" for number in range(MAX_ENTRIES + 1)}
    with pytest.raises(ValidationError, match="has more than 100 entries") as refused:
        Whole.model_validate(entries if place == "itself" else {place: entries})
    assert refused.value.error_count() == 1
