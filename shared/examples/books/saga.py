"""A loan: the book is reserved here, the members' service decides, and then the book is lent or put back."""

from shared import Saga, Steps, local, pivot
from shared.examples.books.contracts import BookId
from shared.examples.books.unit_of_work import BooksUnitOfWork
from shared.examples.members.contracts import CountLoan, MemberId


class LendBookSaga(Saga, key="book_id"):
    book_id: BookId
    member_id: MemberId

    @classmethod
    def steps(cls) -> Steps:
        return (
            local(cls.reserve, undo=cls.put_back),
            pivot(cls.count_loan),
            local(cls.lend),
        )

    async def reserve(self, uow: BooksUnitOfWork) -> None:
        book = await uow.books.get(self.book_id)
        book.reserve(self.member_id)

    async def put_back(self, uow: BooksUnitOfWork) -> None:
        book = await uow.books.get(self.book_id)
        book.end_reservation(self.reason)

    def count_loan(self) -> CountLoan:
        return CountLoan(member_id=self.member_id, book_id=self.book_id)

    async def lend(self, uow: BooksUnitOfWork) -> None:
        book = await uow.books.get(self.book_id)
        book.lend(self.member_id)
