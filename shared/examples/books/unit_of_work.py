"""What handlers and sagas of the service work with."""

from shared import UnitOfWork
from shared.core.clock import Clock
from shared.core.policy import Policy
from shared.examples.books.contracts import BookId
from shared.examples.books.domain import Book, BookNotFound
from shared.unit_of_work.unit_of_work import Transaction


class BooksUnitOfWork(UnitOfWork):
    """A transaction, and the books in it."""

    def __init__(self, transaction: Transaction, clock: Clock, policy: Policy) -> None:
        super().__init__(transaction, clock, policy)
        self.books = self.aggregates(Book, BookId, BookNotFound)
