"""The composition root, and the process: `python -m shared.examples.books.main`."""

from shared import Handlers
from shared.examples.books import commands, http
from shared.examples.books.saga import LendBookSaga
from shared.examples.books.unit_of_work import BooksUnitOfWork
from shared.examples.lending import BOOKS
from shared.host.container import ServiceContainer, run


def container() -> ServiceContainer:
    """Return what the service is made of."""
    return ServiceContainer(
        info=BOOKS,
        description="Knows the books of the lending library, and lends them.",
        handlers=Handlers.of(commands),
        sagas=(LendBookSaga,),
        unit_of_work=BooksUnitOfWork,
        api=http.routes,
        tags={"books": "What can be borrowed."},
    )


if __name__ == "__main__":
    run(container())
