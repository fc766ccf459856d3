"""Where the order history keeps its rows in PostgreSQL, and how it searches them."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    FromClause,
    Integer,
    MetaData,
    Select,
    Table,
    Text,
    literal_column,
    select,
    tuple_,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from order_history.history import Criteria, OrderHistoryUnitOfWork, OrderRecord, Place
from shared.adapters.postgres.database import PostgresTransaction
from shared.adapters.postgres.tables import Timestamp
from shared.core.clock import Clock
from shared.core.policy import Policy
from shared.eventsourcing.aggregate import Entity

_orders = Table(
    "orders",
    MetaData(),
    Column("id", Text, primary_key=True),
    Column("version", Integer),
    Column("order_version", Integer),
    Column("status", Text),
    Column("delivery_version", Integer),
    Column("delivery_status", Text),
    Column("consumer_id", Text),
    Column("restaurant_id", Text),
    Column("restaurant_name", Text),
    Column("ordered_items", JSONB),
    Column("ordered_total", BigInteger),
    Column("revisions", JSONB),
    Column("words", Text),
    Column("created_at", Timestamp),
    Column("updated_at", Timestamp),
)
# Exactly what the migration indexes. The consumer is one of the terms, so that the index alone finds the few orders
# that a consumer has among the many with a common word.
_terms = literal_column("string_to_array(consumer_id || ' ' || words, ' ')", ARRAY(Text))

TABLES: dict[type[Entity], Table] = {OrderRecord: _orders}

LOOKED_THROUGH = 100
"""How many orders are looked through for each that is wanted, before the index of words is asked."""


class PostgresOrderSearch:
    """See `history.OrderSearch`.

    No one plan suits common and rare words, and how often words come together the planner can't know. So common ones
    are found by looking through the newest orders, and what is not found there is so rare that the index of words gives
    few orders to sort. The shapes of the statements leave the planner no choice.
    """

    def __init__(self, transaction: PostgresTransaction) -> None:
        self._transaction = transaction

    async def find(self, criteria: Criteria, *, before: Place | None, limit: int) -> Sequence[OrderRecord]:
        """See `history.OrderSearch`."""
        if criteria.words:
            ids = await self._ids(_among_the_newest(criteria, before, limit))
            if len(ids) < limit:
                ids = await self._ids(_by_their_words(criteria, before, limit))
        else:
            ids = await self._ids(_newest(_orders, criteria, before, limit))
        found = {order.id: order for order in await self._transaction.rows(OrderRecord).load(ids)}
        return [found[id_] for id_ in ids]

    async def _ids(self, statement: Select[Any]) -> Sequence[str]:
        return list(await self._transaction.connection.scalars(statement))


def unit_of_work(transaction: PostgresTransaction, clock: Clock, policy: Policy) -> OrderHistoryUnitOfWork:
    """The order history's unit of work on PostgreSQL."""
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
    return newest.order_by(columns.created_at.desc(), columns.id.desc()).limit(limit)


def _among_the_newest(criteria: Criteria, before: Place | None, limit: int) -> Select[Any]:
    looked_through = (
        _newest(_orders, criteria, before, limit * LOOKED_THROUGH)
        .add_columns(_orders.c.created_at, _fits(criteria).label("fits"))
        .subquery()
    )
    newest_first = (looked_through.c.created_at.desc(), looked_through.c.id.desc())
    return select(looked_through.c.id).where(looked_through.c.fits).order_by(*newest_first).limit(limit)


def _by_their_words(criteria: Criteria, before: Place | None, limit: int) -> Select[Any]:
    columns = (_orders.c.id, _orders.c.consumer_id, _orders.c.status, _orders.c.created_at)
    fitting = select(*columns).where(_fits(criteria)).cte("fitting").prefix_with("materialized")
    return _newest(fitting, criteria, before, limit)


def _fits(criteria: Criteria) -> ColumnElement[bool]:
    return _terms.contains([criteria.consumer_id, *sorted(criteria.words)])
