"""The order: what a consumer asked for, and what has become of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Self, assert_never

from kernel.values import (
    Address,
    ConsumerId,
    LineItem,
    MenuItemId,
    Money,
    OrderId,
    RestaurantId,
    TicketId,
    total_of,
    with_quantities,
)
from order.contracts import (
    DeliveryAddressErased,
    OrderApproved,
    OrderCancelled,
    OrderCancelling,
    OrderCancellingUndone,
    OrderCreated,
    OrderProposedRevision,
    OrderRejected,
    OrderRevised,
    OrderRevisingUndone,
)
from order.domain.errors import (
    DeliveryTimeIsInThePast,
    MenuItemNotFound,
    OrderStateDoesNotAllowAction,
    OrderTotalBelowMinimum,
    QuantityOutOfRange,
)
from order.domain.restaurant import Restaurant
from shared.eventsourcing.aggregate import Aggregate

OrderEvent = (
    OrderCreated
    | OrderApproved
    | OrderRejected
    | OrderCancelling
    | OrderCancellingUndone
    | OrderCancelled
    | OrderProposedRevision
    | OrderRevisingUndone
    | OrderRevised
    | DeliveryAddressErased
)

MINIMUM_TOTAL = Money(1)
PATIENCE = timedelta(minutes=5)
"""How far in the past a delivery time may be: requests take their time, and a client's clock may be slow."""


class OrderState(StrEnum):
    """Where an order is in its life."""

    APPROVAL_PENDING = "ApprovalPending"
    APPROVED = "Approved"
    REJECTED = "Rejected"
    CANCEL_PENDING = "CancelPending"
    CANCELLED = "Cancelled"
    REVISION_PENDING = "RevisionPending"


@dataclass(eq=False)
class Order(Aggregate[OrderEvent]):
    """An order. While a saga works on it, its state is a pending one, so that there is one saga at a time."""

    state: OrderState = field(init=False)
    consumer_id: ConsumerId = field(init=False)
    restaurant_id: RestaurantId = field(init=False)
    line_items: tuple[LineItem, ...] = field(init=False)
    ticket_id: TicketId | None = None
    rejection: str = ""
    proposed_quantities: dict[MenuItemId, int] = field(default_factory=dict)
    address_erased: bool = False

    @property
    def order_id(self) -> OrderId:
        """The order's id."""
        return OrderId(self.id)

    @property
    def total(self) -> Money:
        """The present total price of the order."""
        return total_of(self.line_items)

    @property
    def proposed_total(self) -> Money:
        """The total price of the order once the proposed revision is confirmed."""
        return total_of(with_quantities(self.line_items, self.proposed_quantities))

    @property
    def ticket(self) -> TicketId:
        """The kitchen's ticket. An order that was never approved has none, and allows nothing that needs one."""
        if self.ticket_id is None:
            raise OrderStateDoesNotAllowAction
        return self.ticket_id

    @classmethod
    def place(
        cls,
        id_: OrderId,
        consumer_id: ConsumerId,
        restaurant: Restaurant,
        quantities: Mapping[MenuItemId, int],
        deliver_at: datetime,
        deliver_to: Address,
        now: datetime,
    ) -> Self:
        """Places a consumer's order from a restaurant's menu."""
        if deliver_at < now - PATIENCE:
            raise DeliveryTimeIsInThePast
        line_items = restaurant.line_items(quantities)
        total = _sufficient(total_of(line_items))
        order = cls(id=id_)
        order.record(
            OrderCreated(
                order_id=order.order_id,
                consumer_id=consumer_id,
                restaurant_id=RestaurantId(restaurant.id),
                restaurant_name=restaurant.name,
                line_items=line_items,
                order_total=total,
                deliver_at=deliver_at,
                deliver_to=deliver_to,
            )
        )
        return order

    def approve(self, ticket_id: TicketId) -> None:
        """Approves the order: all participants have agreed."""
        self._require(OrderState.APPROVAL_PENDING)
        self.record(OrderApproved(order_id=self.order_id, ticket_id=ticket_id))

    def reject(self, reason: str) -> None:
        """Rejects the order: a participant has refused."""
        self._require(OrderState.APPROVAL_PENDING)
        self.record(OrderRejected(order_id=self.order_id, reason=reason))

    def begin_cancel(self) -> None:
        """Begins a cancellation that the consumer has asked for."""
        self._require(OrderState.APPROVED)
        self.record(OrderCancelling(order_id=self.order_id))

    def undo_cancel(self, reason: str) -> None:
        """Undoes the cancellation: it is too late to cancel."""
        self._require(OrderState.CANCEL_PENDING)
        self.record(OrderCancellingUndone(order_id=self.order_id, reason=reason))

    def confirm_cancel(self) -> None:
        """Confirms the cancellation: the order is cancelled in all services."""
        self._require(OrderState.CANCEL_PENDING)
        self.record(OrderCancelled(order_id=self.order_id))

    def begin_revise(self, quantities: Mapping[MenuItemId, int]) -> None:
        """Begins a revision: the consumer wants other quantities of what is ordered; 0 removes a line."""
        self._require(OrderState.APPROVED)
        if not {item.menu_item_id for item in self.line_items}.issuperset(quantities):
            raise MenuItemNotFound
        if any(quantity < 0 for quantity in quantities.values()):
            raise QuantityOutOfRange
        proposed = total_of(with_quantities(self.line_items, dict(quantities)))
        self.record(
            OrderProposedRevision(
                order_id=self.order_id,
                current_order_total=self.total,
                new_order_total=_sufficient(proposed),
                revisions=dict(quantities),
            )
        )

    def undo_revise(self, reason: str) -> None:
        """Undoes the revision: the order stays as it was."""
        self._require(OrderState.REVISION_PENDING)
        self.record(OrderRevisingUndone(order_id=self.order_id, reason=reason))

    def confirm_revise(self, quantities: Mapping[MenuItemId, int]) -> None:
        """Confirms the revision: the order is revised in all services."""
        self._require(OrderState.REVISION_PENDING)
        self.record(
            OrderRevised(
                order_id=self.order_id,
                current_order_total=self.total,
                new_order_total=total_of(with_quantities(self.line_items, dict(quantities))),
                revised_quantities=dict(quantities),
            )
        )

    def erase_address(self) -> None:
        """Erases the delivery address. The delivery service has its own copy, and erases it later."""
        if not self.address_erased:
            self.record(DeliveryAddressErased(order_id=self.order_id, consumer_id=self.consumer_id))

    def apply(self, event: OrderEvent) -> None:
        """Changes the fields as the event says, without decisions or refusals."""
        match event:
            case OrderCreated():
                self.state = OrderState.APPROVAL_PENDING
                self.consumer_id, self.restaurant_id = event.consumer_id, event.restaurant_id
                self.line_items = event.line_items
            case OrderApproved():
                self.state, self.ticket_id = OrderState.APPROVED, event.ticket_id
            case OrderRejected():
                self.state, self.rejection = OrderState.REJECTED, event.reason
            case OrderCancelling():
                self.state = OrderState.CANCEL_PENDING
            case OrderCancellingUndone():
                self.state = OrderState.APPROVED
            case OrderCancelled():
                self.state = OrderState.CANCELLED
            case OrderProposedRevision():
                self.state, self.proposed_quantities = OrderState.REVISION_PENDING, event.revisions
            case OrderRevisingUndone():
                self.state, self.proposed_quantities = OrderState.APPROVED, {}
            case OrderRevised():
                self.state, self.proposed_quantities = OrderState.APPROVED, {}
                self.line_items = with_quantities(self.line_items, event.revised_quantities)
            case DeliveryAddressErased():
                self.address_erased = True
            case _:
                assert_never(event)

    def _require(self, state: OrderState) -> None:
        if self.state is not state:
            raise OrderStateDoesNotAllowAction


def _sufficient(total: Money) -> Money:
    if total < MINIMUM_TOTAL:
        raise OrderTotalBelowMinimum
    return total
