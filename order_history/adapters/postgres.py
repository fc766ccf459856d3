"""Where the order history keeps its rows in PostgreSQL, and how it searches them."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    Table,
    Text,
    func,
    literal_column,
    select,
    tuple_,
)
from sqlalchemy.dialects.postgresql import ARRAY

from kernel.values import OrderId
from order_history.history import Criteria, OrderHistoryUnitOfWork, OrderRecord, Place
from shared.adapters.postgres.database import PostgresTransaction
from shared.adapters.postgres.tables import table_of
from shared.core.clock import Clock
from shared.core.policy import Policy
from shared.eventsourcing.aggregate import Entity

_orders = table_of(OrderRecord, "orders")
# Exactly what the migration indexes.
_terms = literal_column("string_to_array(consumer_id || ' ' || status || ' ' || words, ' ')", ARRAY(Text))

TABLES: dict[type[Entity], Table] = {OrderRecord: _orders}

LOOKED_THROUGH = 40
"""How many orders are looked through for each that is wanted, before the index of words is asked."""


class PostgresOrderSearch:
    """Finds orders by SQL in the transaction.

    No one plan suits common and rare words, and how often words come together the planner can't know. So common ones
    are found by looking through the newest orders, and what is not found there is so rare that the index of words gives
    few orders to sort. The shapes of the statements leave the planner no choice.
    """

    def __init__(self, transaction: PostgresTransaction) -> None:
        self._transaction = transaction

    async def find(self, criteria: Criteria, *, before: Place | None, limit: int) -> Sequence[OrderId]:
        """Returns their ids, newest first, only those older than `before`."""
        if criteria.words:
            return await self._with_words(criteria, before, limit)
        return await self._any(criteria, before, limit)

    async def _any(self, criteria: Criteria, before: Place | None, limit: int) -> Sequence[OrderId]:
        ids = await self._transaction.connection.scalars(_newest(_orders, criteria, before, limit))
        return [OrderId(id_) for id_ in ids]

    async def _with_words(self, criteria: Criteria, before: Place | None, limit: int) -> Sequence[OrderId]:
        connection = self._transaction.connection
        looked_through = limit * LOOKED_THROUGH
        rows = (await connection.execute(_among_the_newest(criteria, before, limit, looked_through))).all()
        ids = [OrderId(row.id) for row in rows if row.fits]
        if len(ids) == limit or not rows or rows[-1].number < looked_through:
            return ids
        return [OrderId(id_) for id_ in await connection.scalars(_by_their_words(criteria, before, limit))]


def unit_of_work(transaction: PostgresTransaction, clock: Clock, policy: Policy) -> OrderHistoryUnitOfWork:
    """Returns the order history's unit of work on PostgreSQL."""
    return OrderHistoryUnitOfWork(transaction, clock, policy, PostgresOrderSearch(transaction))


def _newest(orders: FromClause, criteria: Criteria, before: Place | None, limit: int) -> Select[Any]:
    columns = orders.c
    newest = select(columns.id).where(columns.consumer_id == criteria.consumer_id)
    if criteria.since is not None:
        newest = newest.where(columns.created_at >= criteria.since)
    if criteria.status is not None:
        newest = newest.where(columns.status == criteria.status)
    if before is not None:
        newest = newest.where(tuple_(columns.created_at, columns.id) < before)
    return newest.order_by(*_newest_first(orders)).limit(limit)


def _newest_first(orders: FromClause) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    return orders.c.created_at.desc(), orders.c.id.desc()


def _among_the_newest(criteria: Criteria, before: Place | None, limit: int, looked_through: int) -> Select[Any]:
    # The last order examined is in the answer, whether it fits or not: it tells whether there may be more after it.
    number = func.row_number().over(order_by=_newest_first(_orders))
    newest = (
        _newest(_orders, criteria, before, looked_through)
        .add_columns(_orders.c.created_at, _fits(criteria).label("fits"), number.label("number"))
        .subquery()
    )
    wanted = newest.c.fits | (newest.c.number == looked_through)
    return select(newest).where(wanted).order_by(*_newest_first(newest)).limit(limit)


def _by_their_words(criteria: Criteria, before: Place | None, limit: int) -> Select[Any]:
    columns = (_orders.c.id, _orders.c.consumer_id, _orders.c.status, _orders.c.created_at)
    fitting = select(*columns).where(_fits(criteria)).cte("fitting").prefix_with("materialized")
    return _newest(fitting, criteria, before, limit)


def _fits(criteria: Criteria) -> ColumnElement[bool]:
    status = [] if criteria.status is None else [criteria.status]
    return _terms.contains([criteria.consumer_id, *status, *sorted(criteria.words)])
