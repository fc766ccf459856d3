"""The book: on the shelf, reserved while a loan is being decided, or lent."""

from dataclasses import dataclass
from typing import assert_never

from shared import Aggregate, FailedPrecondition, NotFound
from shared.examples.books.contracts import BookAdded, BookId, BookLent, BookReserved, ReservationEnded
from shared.examples.members.contracts import MemberId

BookEvent = BookAdded | BookReserved | ReservationEnded | BookLent


class BookNotFound(NotFound):
    text = "book not found"


class BookNotOnShelf(FailedPrecondition):
    text = "the book is not on the shelf"


@dataclass(eq=False)
class Book(Aggregate[BookEvent]):
    """One copy. `last_refusal` is why the last reservation did not become a loan."""

    title: str = ""
    status: str = "on the shelf"
    last_refusal: str = ""

    @classmethod
    def add(cls, book_id: BookId, title: str) -> "Book":
        """Return a new book."""
        book = cls(id=book_id)
        book.record(BookAdded(book_id=book_id, title=title))
        return book

    def reserve(self, member_id: MemberId) -> None:
        """Keep the book for a member. Raises BookNotOnShelf."""
        if self.status != "on the shelf":
            raise BookNotOnShelf
        self.record(BookReserved(book_id=BookId(self.id), member_id=member_id))

    def end_reservation(self, reason: str) -> None:
        """Put the book back: the member may not have it."""
        self.record(ReservationEnded(book_id=BookId(self.id), reason=reason))

    def lend(self, member_id: MemberId) -> None:
        """Hand the reserved book out."""
        self.record(BookLent(book_id=BookId(self.id), member_id=member_id))

    def apply(self, event: BookEvent) -> None:
        """Change the fields as the event says."""
        match event:
            case BookAdded():
                self.title = event.title
            case BookReserved():
                self.status = "reserved"
            case ReservationEnded():
                self.status, self.last_refusal = "on the shelf", event.reason
            case BookLent():
                self.status = "lent"
            case _:
                assert_never(event)
