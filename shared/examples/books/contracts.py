"""What other services may know of books."""

from typing import NewType

from shared import Event
from shared.examples.members.contracts import MemberId

BookId = NewType("BookId", str)


class BookAdded(Event, key="book_id"):
    book_id: BookId
    title: str


class BookReserved(Event, key="book_id"):
    book_id: BookId
    member_id: MemberId


class ReservationEnded(Event, key="book_id"):
    book_id: BookId
    reason: str


class BookLent(Event, key="book_id"):
    book_id: BookId
    member_id: MemberId
