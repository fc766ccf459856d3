"""What clients can ask of the service."""

from shared import Command, Reply, handles, new_id
from shared.examples.books.contracts import BookId
from shared.examples.books.domain import Book
from shared.examples.books.saga import LendBookSaga
from shared.examples.books.unit_of_work import BooksUnitOfWork
from shared.examples.members.contracts import MemberId


class AddBook(Command["Added"]):
    title: str


class Added(Reply):
    book_id: BookId


class LendBook(Command):
    book_id: BookId
    member_id: MemberId


@handles
async def add_book(command: AddBook, uow: BooksUnitOfWork) -> Added:
    book = await uow.books.add(Book.add(BookId(new_id()), command.title))
    return Added(book_id=BookId(book.id))


@handles
async def lend_book(command: LendBook, uow: BooksUnitOfWork) -> None:
    """Start the saga. Its first step refuses at once where the book is not on the shelf."""
    await uow.sagas.start(LendBookSaga(book_id=command.book_id, member_id=command.member_id))
