"""The reactions of the order service to events."""

from consumer.contracts import ConsumerErased
from kernel.values import ConsumerId
from order.application.unit_of_work import OrderUnitOfWork
from order.contracts import DeliveryAddressErased
from order.domain.erased_consumer import ErasedConsumer
from order.domain.restaurant import Restaurant
from restaurant.contracts import RestaurantCreated, RestaurantMenuRevised
from shared.messaging.handlers import handles


@handles
async def copy_restaurant(event: RestaurantCreated, uow: OrderUnitOfWork) -> None:
    await uow.restaurants.add(Restaurant(id=event.restaurant_id, name=event.name, menu=event.menu))


@handles
async def copy_menu(event: RestaurantMenuRevised, uow: OrderUnitOfWork) -> None:
    restaurant = await uow.restaurants.get(event.restaurant_id)
    restaurant.menu = event.menu


@handles
async def erase_first_address(event: ConsumerErased, uow: OrderUnitOfWork) -> None:
    if await uow.erased_consumers.find(event.consumer_id) is None:
        await uow.erased_consumers.add(ErasedConsumer(id=event.consumer_id))
    await _erase_an_address(event.consumer_id, uow)


@handles
async def erase_next_address(event: DeliveryAddressErased, uow: OrderUnitOfWork) -> None:
    """Erases the next address, one per transaction, so that no transaction grows with the number of orders."""
    await _erase_an_address(event.consumer_id, uow)


async def _erase_an_address(consumer_id: ConsumerId, uow: OrderUnitOfWork) -> None:
    if order_id := await uow.addresses.order_of(consumer_id):
        order = await uow.orders.get(order_id)
        order.erase_address()
