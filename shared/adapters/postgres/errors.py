"""Which errors of PostgreSQL are faults of the surroundings, and which are ours."""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from shared.adapters.postgres.lost_connections import LOST_CONNECTION
from shared.core.errors import Conflict, TechnicalFault, TookTooLong


class DatabaseUnavailable(TechnicalFault):
    """PostgreSQL can't be reached, refuses for lack of something, or ended the transaction."""


class TransactionTookTooLong(DatabaseUnavailable, TookTooLong):
    """PostgreSQL ended the transaction for its duration."""


_CONFLICTS = (
    asyncpg.UniqueViolationError,
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.LockNotAvailableError,
)
_SURROUNDINGS = (
    *LOST_CONNECTION,
    PoolTimeout,
    asyncpg.PostgresConnectionError,  # class 08
    asyncpg.InsufficientResourcesError,  # 53: disk full, out of memory, too many connections
    asyncpg.OperatorInterventionError,  # 57: shut down, or starting up
    asyncpg.PostgresSystemError,  # 58: input or output failed
    asyncpg.InvalidTransactionStateError,  # 25: ended by a time-out
    asyncpg.InvalidAuthorizationSpecificationError,  # 28: the role is not there yet
    asyncpg.InvalidCatalogNameError,  # 3D000: the database is not there yet
    asyncpg.ObjectNotInPrerequisiteStateError,  # 55: it takes no connections at present
)
_OVERTIME = frozenset({"25P04", "57014"})
"""What PostgreSQL says of a transaction, or a statement, that it has ended for its duration."""
_STORAGE = "md.c"
"""The source of PostgreSQL that writes and extends tables' files."""


@contextmanager
def translated_errors() -> Iterator[None]:
    """Raises Conflict and DatabaseUnavailable for what they stand for; lets the rest pass.

    The block is to hold what asks PostgreSQL, and nothing else: an OSError there is a connection that is lost, one of a
    handler is something else.
    """
    try:
        yield
    except (asyncpg.PostgresError, *_SURROUNDINGS) as error:
        raise translated(error) from error
    except DBAPIError as error:
        cause = getattr(error.orig, "__cause__", None) or error
        raise translated(cause) from error


def translated(error: BaseException) -> BaseException:
    """The Conflict or DatabaseUnavailable that what asking PostgreSQL has raised stands for; else the same error."""
    if isinstance(error, _CONFLICTS):
        return Conflict(str(error))
    if isinstance(error, _SURROUNDINGS) or _is_of_a_file(error):
        reason = _reason(error)
        fault = TransactionTookTooLong if _is_for_its_duration(reason) else DatabaseUnavailable
        return fault(f"PostgreSQL: {reason}" if str(reason) else f"PostgreSQL: {type(reason).__name__}")
    return error


def _is_for_its_duration(error: BaseException) -> bool:
    """Whether the transaction was ended for that; the connection with it, and the cause is what was said last."""
    return any(getattr(each, "sqlstate", None) in _OVERTIME for each in (error, error.__cause__))


def _is_of_a_file(error: BaseException) -> bool:
    """Whether a table's file could not become larger: for a quota or a limit there is no SQLSTATE of its own."""
    return isinstance(error, asyncpg.InternalServerError) and error.server_source_filename == _STORAGE


def _reason(error: BaseException) -> BaseException:
    """Why a connection was lost: the end of its transaction says no more than that it was."""
    before = error.__context__
    is_its_end = isinstance(error, asyncpg.InterfaceError) and isinstance(before, asyncpg.PostgresError | OSError)
    return before if is_its_end and before is not None else error
