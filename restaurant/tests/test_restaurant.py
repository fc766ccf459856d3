"""The restaurant, on its own."""

import pytest

from kernel.values import Address, MenuItem, MenuItemId, Money, RestaurantId
from restaurant.contracts import RestaurantCreated, RestaurantMenuRevised
from restaurant.domain.errors import MenuItemIdsNotUnique, PriceIsNegative
from restaurant.domain.restaurant import Menu, Restaurant

ADDRESS = Address(street1="1 Main Street", city="Oakland", state="CA", zip="94611")


def dish(id_: str, price: int = 1250) -> MenuItem:
    return MenuItem(id=MenuItemId(id_), name=id_.title(), price=Money(price))


def ajanta(menu: Menu) -> Restaurant:
    return Restaurant.create("r", "Ajanta", ADDRESS, menu)


def test_opens_with_a_menu() -> None:
    restaurant = ajanta((dish("pizza"), dish("water", 0)))
    assert restaurant.take_recorded() == [
        RestaurantCreated(
            restaurant_id=RestaurantId("r"),
            name="Ajanta",
            address=ADDRESS,
            menu=(dish("pizza"), dish("water", 0)),
        )
    ]


def test_may_open_before_there_is_a_menu() -> None:
    assert ajanta(()).menu == ()


def test_revises_its_menu() -> None:
    restaurant = ajanta((dish("pizza"),))
    restaurant.take_recorded()
    restaurant.revise_menu((dish("pizza", 1400), dish("calzone")))
    assert restaurant.menu == (dish("pizza", 1400), dish("calzone"))
    assert restaurant.take_recorded() == [
        RestaurantMenuRevised(restaurant_id=RestaurantId("r"), menu=(dish("pizza", 1400), dish("calzone")))
    ]


def test_the_same_menu_is_no_news() -> None:
    restaurant = ajanta((dish("pizza"),))
    restaurant.take_recorded()
    restaurant.revise_menu((dish("pizza"),))
    assert restaurant.take_recorded() == []


@pytest.mark.parametrize(
    ("menu", "refusal"),
    [((dish("pizza"), dish("pizza", 900)), MenuItemIdsNotUnique), ((dish("soup", -1),), PriceIsNegative)],
)
def test_refuses_a_menu_that_makes_no_sense(menu: Menu, refusal: type[Exception]) -> None:
    with pytest.raises(refusal):
        ajanta(menu)
    restaurant = ajanta((dish("pizza"),))
    with pytest.raises(refusal):
        restaurant.revise_menu(menu)
    assert restaurant.menu == (dish("pizza"),)
