"""The order history: what is kept of each order, and how consumers search their orders."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from itertools import chain, islice
from typing import Protocol

from kernel.values import ConsumerId, LineItem, MenuItemId, Money, OrderId, RestaurantId, with_quantities
from order_history.words import words_of
from shared.core.clock import Clock
from shared.core.errors import NotFound
from shared.core.policy import Policy
from shared.eventsourcing.aggregate import Entity
from shared.unit_of_work.unit_of_work import Transaction, UnitOfWork

MAX_WORDS = 5000
"""An order is found by so many words of its names, the first ones. Unspaced scripts have three words per character."""


class OrderNotFound(NotFound):
    text = "order not found"


class OrderStatus(StrEnum):
    """Where an order is in its life."""

    APPROVAL_PENDING = "ApprovalPending"
    APPROVED = "Approved"
    REJECTED = "Rejected"
    CANCEL_PENDING = "CancelPending"
    CANCELLED = "Cancelled"
    REVISION_PENDING = "RevisionPending"


class DeliveryStatus(StrEnum):
    """Where an order's delivery is; PENDING until something else is heard."""

    PENDING = "PENDING"
    SCHEDULED = "SCHEDULED"
    PICKED_UP = "PICKED_UP"
    DELIVERED = "DELIVERED"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True, kw_only=True)
class Revision:
    """Other quantities, and what the order has cost since. `version` is the order's at that event."""

    version: int
    quantities: dict[MenuItemId, int]
    order_total: Money


@dataclass(kw_only=True)
class OrderRecord(Entity):
    """What has been heard of an order. It is nobody's until OrderCreated is in, and not shown.

    The same events make the same record in whatever order they come, and however often: OrderCreated comes once, the
    revisions are kept by their version, and a status stays until one of a later version comes.
    """

    order_version: int = 0
    status: OrderStatus = OrderStatus.APPROVAL_PENDING
    delivery_version: int = 0
    delivery_status: DeliveryStatus = DeliveryStatus.PENDING
    consumer_id: ConsumerId | None = None
    restaurant_id: RestaurantId = RestaurantId("")
    restaurant_name: str = ""
    ordered_items: tuple[LineItem, ...] = ()
    ordered_total: Money = Money(0)
    revisions: tuple[Revision, ...] = ()
    words: str = ""
    created_at: datetime | None = None
    updated_at: datetime

    @property
    def line_items(self) -> tuple[LineItem, ...]:
        """The line items as they are ordered now."""
        items = self.ordered_items
        for revision in self.revisions:
            items = with_quantities(items, revision.quantities)
        return items

    @property
    def order_total(self) -> Money:
        """The present total price of the order."""
        return self.revisions[-1].order_total if self.revisions else self.ordered_total

    def order_became(self, status: OrderStatus, version: int) -> None:
        """Sets the order's status, unless one of this or a later version is known."""
        if version > self.order_version:
            self.status, self.order_version = status, version

    def delivery_became(self, status: DeliveryStatus, version: int) -> None:
        """Sets the delivery's status, unless one of this or a later version is known."""
        if version > self.delivery_version:
            self.delivery_status, self.delivery_version = status, version

    def revise(self, revision: Revision) -> None:
        """Records a confirmed revision of the quantities.

        Of earlier revisions only what no later one has replaced is kept, and the last total: so there are never more
        of them than line items, however often an order is revised.
        """
        known = {each.version: each for each in (*self.revisions, revision)}
        kept: list[Revision] = []
        replaced: set[MenuItemId] = set()
        for _, each in sorted(known.items(), reverse=True):
            lasting = {item: quantity for item, quantity in each.quantities.items() if item not in replaced}
            if lasting or not kept:
                kept.append(replace(each, quantities=lasting))
            replaced.update(lasting)
        self.revisions = tuple(reversed(kept))

    def index_words(self) -> None:
        """Indexes the order by the words of its present names."""
        names = (self.restaurant_name, *(item.name for item in self.line_items))
        words = dict.fromkeys(chain.from_iterable(sorted(words_of(name)) for name in names))
        self.words = " ".join(sorted(islice(words, MAX_WORDS)))


@dataclass(frozen=True, kw_only=True)
class Criteria:
    """Which of a consumer's orders are wanted; what is None or empty fits all. `words` come from `words_in_search`."""

    consumer_id: ConsumerId
    since: datetime | None = None
    status: OrderStatus | None = None
    words: frozenset[str] = frozenset()


Place = tuple[datetime, OrderId]
"""A place in a consumer's orders: when the order was created, and which one it is."""


class OrderSearch(Protocol):
    """Finds orders."""

    async def find(self, criteria: Criteria, *, before: Place | None, limit: int) -> Sequence[OrderId]:
        """Returns their ids, newest first, only those older than `before`."""


class OrderHistoryUnitOfWork(UnitOfWork):
    """The unit of work of the order history, with its orders and the search for them."""

    def __init__(self, transaction: Transaction, clock: Clock, policy: Policy, search: OrderSearch) -> None:
        super().__init__(transaction, clock, policy)
        self.orders = self.entities(OrderRecord, OrderId, OrderNotFound)
        self.search = search


async def get_order(order_id: OrderId, uow: OrderHistoryUnitOfWork) -> OrderRecord:
    """Raises OrderNotFound, also while OrderCreated has not come."""
    order = await uow.orders.get(order_id)
    if order.created_at is None:
        raise OrderNotFound
    return order


async def find_orders(
    criteria: Criteria, uow: OrderHistoryUnitOfWork, *, before: Place | None, limit: int
) -> tuple[Sequence[OrderRecord], Place | None]:
    """Returns a page of orders, newest first, and where the next page begins (None after the last page).

    If orders are large, the page has fewer of them.
    """
    if len(criteria.words) > MAX_WORDS:
        return [], None
    found = await uow.search.find(criteria, before=before, limit=limit + 1)
    page = await uow.orders.first_of(found[:limit])
    if not page or len(page) == len(found):
        return page, None
    last = page[-1]
    assert last.created_at is not None
    return page, (last.created_at, OrderId(last.id))
