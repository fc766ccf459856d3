"""The types of the API's parameters and bodies, with the limits that every service has."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import Path
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)
from starlette.convertors import Convertor, register_url_convertor

from shared.web.documents import AN_ID

_STORABLE = r"^[^\x00]*$"  # PostgreSQL's text holds every character but this one

Text = Annotated[str, StringConstraints(max_length=1000, pattern=_STORABLE)]
"""Free text."""

Name = Annotated[str, StringConstraints(min_length=1, max_length=1000, pattern=_STORABLE)]
"""Text that may not be empty."""


def _whole(value: Any) -> Any:
    # In JSON Schema, and for clients with only one type of number, 2.0 is an integer.
    return int(value) if isinstance(value, float) and value.is_integer() else value


Cents = Annotated[int, Field(ge=0, le=100_000_000, strict=True), BeforeValidator(_whole)]
"""A price in cents."""

Quantity = Annotated[int, Field(ge=1, le=10_000, strict=True), BeforeValidator(_whole)]
"""A number of one dish, at least 1."""

QuantityOrNone = Annotated[int, Field(ge=0, le=10_000, strict=True), BeforeValidator(_whole)]
"""A number of one dish; 0 means none."""


def _canonical_uuid(value: str) -> str:
    try:
        canonical = str(UUID(value))
    except ValueError:
        raise ValueError("is not a UUID") from None
    if canonical != value.lower():  # Python's UUID also takes braces, and hyphens anywhere
        raise ValueError("is not a UUID")
    return canonical


UuidText = Annotated[
    str,
    AfterValidator(_canonical_uuid),
    WithJsonSchema({"type": "string", "format": "uuid", "examples": [AN_ID]}),
]
"""An id, as a UUID in canonical form."""

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def _rfc_3339(value: Any) -> Any:
    # pydantic alone would also take dates and numbers of seconds.
    if not isinstance(value, str) or not _RFC_3339.fullmatch(value):
        raise ValueError("is not a time as in RFC 3339, with its offset from UTC")
    return value


# asyncpg reads the last possible moment as infinity: it would come back from PostgreSQL without its time zone.
_LAST = datetime.max.replace(tzinfo=UTC) - timedelta(microseconds=1)


def _in_utc(value: datetime) -> datetime:
    try:
        return min(value.astimezone(UTC), _LAST)
    except OverflowError:
        raise ValueError("is not a time between the years 1 and 9999 in UTC") from None


Moment = Annotated[AwareDatetime, BeforeValidator(_rfc_3339), AfterValidator(_in_utc)]
"""A point in time, converted to UTC."""

IdInPath = Annotated[UuidText, Path(alias="id", description="The id.")]
"""The id in `/api/…/{id}`."""


class _AnyText(Convertor[str]):
    """`{name:text}` in a path: all the rest of it. Starlette's own `path` loses what follows a line break."""

    regex = "(?s:.+)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("text", _AnyText())


MAX_ENTRIES = 100
"""The most entries of an object in a body."""


def _few(value: Any) -> Any:
    if isinstance(value, dict) and len(value) > MAX_ENTRIES:
        raise ValueError(f"has more than {MAX_ENTRIES} entries")
    return value


Few = BeforeValidator(_few)
"""Refuses an object with too many entries before they are validated.

pydantic would record an error for each of them: for a body of 1 MiB that takes seconds, and more memory than a service
has.
"""


class Body(BaseModel):
    """Base of request bodies: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=False)

    @model_validator(mode="before")
    @classmethod
    def _has_few_fields(cls, value: Any) -> Any:
        return _few(value)


class IdAnswer(BaseModel):
    """The id of what was created or changed."""

    id: str = Field(examples=[AN_ID])
