"""The restaurant service's HTTP API."""

from typing import Annotated

from pydantic import AfterValidator, FailFast, Field

from kernel.values import MenuItem, MenuItemId, Money, RestaurantId
from kernel.web import AN_ADDRESS, AddressBody
from restaurant.application import queries
from restaurant.application.commands import CreateRestaurant, ReviseMenu
from restaurant.application.unit_of_work import RestaurantUnitOfWork
from restaurant.domain.errors import RestaurantNotFound
from shared.processing.command_queue import CommandQueue
from shared.unit_of_work.unit_of_work import Units
from shared.web.documents import AN_ID, example
from shared.web.parameters import Body, Cents, IdAnswer, IdInPath, Name
from shared.web.problems import problems
from shared.web.routes import Routes


class MenuItemBody(Body):
    """A dish and its price."""

    id: Name = Field(examples=["chicken-vindaloo"])
    name: Name = Field(examples=["Chicken Vindaloo"])
    price: Cents = Field(examples=[1234])


def _distinct(items: list[MenuItemBody]) -> list[MenuItemBody]:
    if len({item.id for item in items}) < len(items):
        raise ValueError("two items have the same id")
    return items


class MenuBody(Body):
    """A whole menu; it may be empty."""

    menu_items: Annotated[list[MenuItemBody], FailFast(), AfterValidator(_distinct)] = Field(
        max_length=1000, description="No two items have the same id."
    )

    def to_value(self) -> tuple[MenuItem, ...]:
        """The domain's value."""
        return tuple(
            MenuItem(id=MenuItemId(item.id), name=item.name, price=Money(item.price)) for item in self.menu_items
        )


class NewRestaurant(Body):
    """A restaurant that opens."""

    name: Name = Field(examples=["Ajanta"])
    address: AddressBody
    menu: MenuBody


A_RESTAURANT = {
    "id": AN_ID,
    "name": "Ajanta",
    "address": AN_ADDRESS,
    "menu": {"menu_items": [{"id": "chicken-vindaloo", "name": "Chicken Vindaloo", "price": 1234}]},
}


def routes(commands: CommandQueue[RestaurantUnitOfWork], units: Units[RestaurantUnitOfWork]) -> Routes:
    """The routes of the API."""
    router = Routes(prefix="/api", tags=["restaurants"])

    @router.post("/restaurants", status_code=201, responses=problems(body=True))
    async def create_restaurant(body: NewRestaurant) -> IdAnswer:
        """Opens a restaurant. The other services know it shortly after."""
        command = CreateRestaurant(name=body.name, address=body.address.to_value(), menu=body.menu.to_value())
        return IdAnswer(id=(await commands.execute(command)).id)

    @router.get("/restaurants/{id}", responses=problems(RestaurantNotFound) | example(200, A_RESTAURANT))
    async def get_restaurant(id_: IdInPath) -> queries.RestaurantView:
        """The restaurant with its present menu."""
        async with units.begin() as uow:
            return await queries.get_restaurant(RestaurantId(id_), uow)

    @router.put("/restaurants/{id}/menu", responses=problems(RestaurantNotFound, body=True))
    async def revise_menu(id_: IdInPath, body: MenuBody) -> IdAnswer:
        """Replaces the menu. Orders that have been placed keep their prices."""
        await commands.execute(ReviseMenu(restaurant_id=RestaurantId(id_), menu=body.to_value()))
        return IdAnswer(id=id_)

    return router
