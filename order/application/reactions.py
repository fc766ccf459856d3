"""What the order service does when something has happened."""

from order.application.ports import OrderUnitOfWork
from order.application.sagas.create_order import CreateOrderSaga
from order.contracts import OrderCreated
from order.domain.restaurant import Restaurant
from restaurant.contracts import RestaurantCreated, RestaurantMenuRevised
from shared.messaging.handlers import handles


@handles
async def start_create_order_saga(event: OrderCreated, uow: OrderUnitOfWork) -> None:
    """An order that a restored backup has never heard of must not be cooked and charged for a second time."""
    await uow.orders.get(event.order_id)
    saga = CreateOrderSaga(
        order_id=event.order_id,
        consumer_id=event.consumer_id,
        restaurant_id=event.restaurant_id,
        line_items=event.line_items,
        order_total=event.order_total,
    )
    await uow.sagas.start(saga)


@handles
async def copy_restaurant(event: RestaurantCreated, uow: OrderUnitOfWork) -> None:
    await uow.restaurants.add(Restaurant(id=event.restaurant_id, name=event.name, menu=event.menu))


@handles
async def copy_menu(event: RestaurantMenuRevised, uow: OrderUnitOfWork) -> None:
    restaurant = await uow.restaurants.get(event.restaurant_id)
    restaurant.menu = event.menu
