"""Lists in pages.

A page begins behind a place in the list, not at a number of items: so pages neither repeat nor skip items while items
are added. Clients get the place as an opaque cursor.

Markus Winand, SQL Performance Explained, chapter 7: paging through results, the seek method.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

from fastapi import Depends, Query

P = TypeVar("P")

DEFAULT_LIMIT = 20

Limit = Annotated[int, Query(ge=1, le=50, description="The most items to return.")]
"""The size of a page: `limit: Limit = DEFAULT_LIMIT`."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Cursors(Generic[P]):
    """The cursors of one list: its places as text.

    Every text that matches the pattern is a valid cursor: so the pattern alone decides what is refused, and documents
    it.
    """

    def __init__(self, pattern: str, encode: Callable[[P], str], decode: Callable[[str], P]) -> None:
        """Set how a place is written and read. The empty text is reserved for the end of the list."""
        self._pattern = rf"^({pattern})?$"
        self._encode = encode
        self._decode = decode

    def encode(self, place: P | None) -> str:
        """Return the cursor of a place; "" for None, the end of the list."""
        return "" if place is None else self._encode(place)

    def decode(self, text: str) -> P | None:
        """Return the place of a cursor, the inverse of `encode`; raise ValueError for a text that is not a cursor."""
        if not re.fullmatch(self._pattern.removesuffix("$"), text):
            raise ValueError("not a cursor of this list")
        return self._decode(text) if text else None

    @property
    def parameter(self) -> Any:
        """The parameter `next` as a FastAPI dependency: `after: Annotated[TicketId | None, cursors.parameter]`."""
        description = "Where the page begins: `next` of the page before."

        def decoded(
            next_: Annotated[str, Query(alias="next", pattern=self._pattern, description=description)] = "",
        ) -> P | None:
            return self.decode(next_)

        return Depends(decoded)


ID_PATTERN = "[0-9a-f]{32}"
TIME_PATTERN = "[0-9a-f]{14}"


def id_to_text(id_: str) -> str:
    """Return a UUID as a part of a cursor."""
    return id_.replace("-", "")


def id_of_text(text: str) -> str:
    """Return the id, the inverse of `id_to_text`."""
    return str(UUID(hex=text))


def time_to_text(time: datetime) -> str:
    """Return a time after 1970 as a part of a cursor: microseconds in 14 hex digits, enough until the year 4253."""
    return f"{(time - _EPOCH) // _MICROSECOND:014x}"


def time_of_text(text: str) -> datetime:
    """Return the time, the inverse of `time_to_text`."""
    return _EPOCH + int(text, 16) * _MICROSECOND
