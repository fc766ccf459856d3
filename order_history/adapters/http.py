"""The order history's HTTP API."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, Field

from kernel.values import ConsumerId, LineItem, Money, OrderId, RestaurantId
from order_history import history
from order_history.history import Criteria, DeliveryStatus, OrderHistoryUnitOfWork, OrderNotFound, OrderStatus, Place
from order_history.words import words_in_search
from shared.processing.command_queue import CommandQueue
from shared.unit_of_work.unit_of_work import Units
from shared.web.documents import AN_ID, example
from shared.web.paging import (
    DEFAULT_LIMIT,
    ID_PATTERN,
    TIME_PATTERN,
    Cursors,
    Limit,
    id_of_text,
    id_to_text,
    time_of_text,
    time_to_text,
)
from shared.web.parameters import IdInPath, Moment, Text, UuidText
from shared.web.problems import problems
from shared.web.routes import Routes

_cursors = Cursors[Place](
    TIME_PATTERN + ID_PATTERN,
    lambda place: time_to_text(place[0]) + id_to_text(place[1]),
    lambda text: (time_of_text(text[:14]), OrderId(id_of_text(text[14:]))),
)


class OrderAnswer(BaseModel):
    """An order with what has become of it."""

    order_id: OrderId
    status: OrderStatus
    restaurant_id: RestaurantId
    restaurant_name: str
    order_total: Money
    line_items: tuple[LineItem, ...]
    delivery_status: DeliveryStatus
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, order: history.OrderRecord) -> "OrderAnswer":
        """The record without what is of the database."""
        assert order.created_at is not None, "it has been found by its consumer"
        return cls(
            order_id=OrderId(order.id),
            status=order.status,
            restaurant_id=order.restaurant_id,
            restaurant_name=order.restaurant_name,
            order_total=order.order_total,
            line_items=order.line_items,
            delivery_status=order.delivery_status,
            created_at=order.created_at,
            updated_at=order.updated_at,
        )


_A_TIME = datetime(2040, 1, 2, 17, 30, tzinfo=UTC)
AN_ORDER = {
    "order_id": AN_ID,
    "status": "Approved",
    "restaurant_id": "019a3c5c-77a0-7d10-b2c4-8f9e0d1c2b3a",
    "restaurant_name": "Ajanta",
    "order_total": 2468,
    "line_items": [{"menu_item_id": "chicken-vindaloo", "name": "Chicken Vindaloo", "price": 1234, "quantity": 2}],
    "delivery_status": "PENDING",
    "created_at": "2040-01-02T17:30:00.123456Z",
    "updated_at": "2040-01-02T17:30:00.234567Z",
}


class OrdersAnswer(BaseModel):
    """A page of orders, the newest first. `next` leads to the next page; it is "" on the last."""

    orders: Sequence[OrderAnswer]
    next: str = Field(examples=[""])


def routes(_commands: CommandQueue[Any], units: Units[OrderHistoryUnitOfWork]) -> Routes:
    """The routes of the API."""
    router = Routes(prefix="/api", tags=["orders"])

    @router.get(
        "/orders",
        responses=problems(invalid="query.consumerID: is not a UUID")
        | example(200, {"orders": [AN_ORDER], "next": _cursors.encode((_A_TIME, OrderId(AN_ID)))}),
    )
    async def find_orders(
        before: Annotated[Place | None, _cursors.parameter],
        consumer_id: Annotated[UuidText, Query(alias="consumerID", description="Whose orders.")],
        since: Annotated[Moment | None, Query(alias="filter[since]", description="Created then or later.")] = None,
        status: Annotated[OrderStatus | None, Query(alias="filter[status]", description="In this state now.")] = None,
        keywords: Annotated[
            Sequence[Text],
            Query(
                alias="filter[keywords]",
                description="Words of the restaurant's and the items' names, in any case; all have to match.",
            ),
        ] = (),
        limit: Limit = DEFAULT_LIMIT,
    ) -> OrdersAnswer:
        """A consumer's orders that fit every given filter."""
        criteria = Criteria(
            consumer_id=ConsumerId(consumer_id), since=since, status=status, words=words_in_search(*keywords)
        )
        async with units.begin() as uow:
            page, following = await history.find_orders(criteria, uow, before=before, limit=limit)
        return OrdersAnswer(orders=[OrderAnswer.of(order) for order in page], next=_cursors.encode(following))

    @router.get("/orders/{id}", responses=problems(OrderNotFound) | example(200, AN_ORDER))
    async def get_order(id_: IdInPath) -> OrderAnswer:
        """The order with what has become of it."""
        async with units.begin() as uow:
            return OrderAnswer.of(await history.get_order(OrderId(id_), uow))

    return router
