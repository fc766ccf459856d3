"""The types that the services' parameters share."""

from datetime import UTC, datetime

import pytest
from pydantic import TypeAdapter, ValidationError

from shared.web.parameters import Moment, UuidText

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
