"""What the restaurant service refuses."""

from shared.core.errors import InvalidArgument, NotFound


class RestaurantNotFound(NotFound):
    """Not a `NotYet`: whoever has a restaurant's id got it from here."""

    text = "restaurant not found"


class MenuItemIdsNotUnique(InvalidArgument):
    text = "menu item ids must be unique"


class PriceIsNegative(InvalidArgument):
    text = "a price may not be negative"
