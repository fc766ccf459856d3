"""The saga alone: which commands it sends, and what it does with the answers."""

from shared.adapters.memory.database import MemoryDatabase
from shared.core.clock import utc_now
from shared.examples.books.contracts import BookId
from shared.examples.books.domain import Book
from shared.examples.books.saga import LendBookSaga
from shared.examples.books.unit_of_work import BooksUnitOfWork
from shared.examples.members.contracts import CountLoan, MemberId
from shared.testing.sagas import SagaTest

DUNE, ADA = BookId("b1"), MemberId("m1")
LOAN = LendBookSaga(book_id=DUNE, member_id=ADA)
COUNT = CountLoan(member_id=ADA, book_id=DUNE)


def started() -> SagaTest[BooksUnitOfWork]:
    async def on_the_shelf(uow: BooksUnitOfWork) -> None:
        await uow.books.add(Book.add(DUNE, "Dune"))

    return SagaTest(BooksUnitOfWork, MemoryDatabase("books", utc_now)).given(on_the_shelf).start(LOAN).expect(COUNT)


def test_a_loan_that_is_counted_lends_the_book() -> None:
    async def lent(uow: BooksUnitOfWork) -> None:
        assert (await uow.books.get(DUNE)).status == "lent"

    started().reply().expect_completed().then(lent)


def test_a_loan_that_is_refused_puts_the_book_back() -> None:
    async def on_the_shelf(uow: BooksUnitOfWork) -> None:
        book = await uow.books.get(DUNE)
        assert (book.status, book.last_refusal) == ("on the shelf", "too many")

    started().refuse("too many").expect_undone().then(on_the_shelf)
