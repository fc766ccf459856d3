"""Lists in pages. A page begins behind a place in the list, not at a number of items: so pages neither repeat nor skip
anything while items are added. Clients get the place as an opaque cursor.

Markus Winand, SQL Performance Explained, chapter 7: paging through results, the seek method.
"""

import base64
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Query
from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter

P = TypeVar("P")

DEFAULT_LIMIT = 20

Limit = Annotated[int, Query(ge=1, le=50, description="How many at most.")]
"""The size of a page: `limit: Limit = DEFAULT_LIMIT`."""

_Next = Annotated[str, Query(alias="next", max_length=1000, description="Where it begins: `next` of the page before.")]


class Cursors(Generic[P]):
    """Cursors of one list: places in it as text.

    `place` is what such a text must hold to be taken, as pydantic sees it: `Cursors[TicketId](UuidText)`. As a FastAPI
    dependency it is the parameter `next`, and answers 422 to what is no cursor of this list:
    `after: Annotated[TicketId | None, Depends(cursors)]`.
    """

    def __init__(self, place: Any) -> None:
        self._type: TypeAdapter[P] = TypeAdapter(place)

    def encode(self, place: P | None) -> str:
        """The cursor of a place; "" for None, the end of the list."""
        if place is None:
            return ""
        return base64.urlsafe_b64encode(self._type.dump_json(place)).rstrip(b"=").decode()

    def decode(self, text: str) -> P | None:
        """The inverse of `encode`; raises ValueError for what it never gives."""
        if not text:
            return None
        padded = text.encode() + b"=" * (-len(text) % 4)
        place = self._type.validate_json(base64.b64decode(padded, altchars=b"-_", validate=True))
        if self.encode(place) != text:
            raise ValueError("not a cursor as it was given out")
        return place

    def __call__(self, next_: _Next = "") -> P | None:
        try:
            return self.decode(next_)
        except ValueError:
            found = {"type": "value_error", "loc": ("query", "next"), "msg": "is not a cursor of this list"}
            raise RequestValidationError([{**found, "input": next_}]) from None
