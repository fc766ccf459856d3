"""The HTTP API of the service."""

from pydantic import BaseModel

from shared import Units
from shared.examples.books.commands import AddBook, LendBook
from shared.examples.books.contracts import BookId
from shared.examples.books.domain import BookNotFound, BookNotOnShelf
from shared.examples.books.unit_of_work import BooksUnitOfWork
from shared.examples.members.contracts import MemberId
from shared.processing.command_queue import CommandQueue
from shared.web.parameters import Body, IdAnswer, IdInPath, Name, UuidText
from shared.web.problems import problems
from shared.web.routes import Routes


class NewBook(Body):
    """A book that is bought."""

    title: Name


class Borrower(Body):
    """Who wants to have a book."""

    member_id: UuidText


class BookView(BaseModel):
    """A book, and where it is."""

    title: str
    status: str
    last_refusal: str


def routes(commands: CommandQueue[BooksUnitOfWork], units: Units[BooksUnitOfWork]) -> Routes:
    """Return the routes of the API."""
    router = Routes(prefix="/api", tags=["books"])

    @router.post("/books", status_code=201, responses=problems(body=True))
    async def add_book(body: NewBook) -> IdAnswer:
        """Put a book on the shelf."""
        return IdAnswer(id=(await commands.execute(AddBook(title=body.title))).book_id)

    @router.post("/books/{id}/loan", status_code=202, responses=problems(BookNotFound, BookNotOnShelf, body=True))
    async def lend_book(id_: IdInPath, body: Borrower) -> IdAnswer:
        """Ask for a book. It is lent soon, if the member may have it."""
        await commands.execute(LendBook(book_id=BookId(id_), member_id=MemberId(body.member_id)))
        return IdAnswer(id=id_)

    @router.get("/books/{id}", responses=problems(BookNotFound))
    async def get_book(id_: IdInPath) -> BookView:
        """Return a book."""
        async with units.begin() as uow:
            book = await uow.books.get(id_)
            return BookView(title=book.title, status=book.status, last_refusal=book.last_refusal)

    return router
