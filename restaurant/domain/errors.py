"""The errors with which the restaurant service refuses requests."""

from shared.core.errors import InvalidArgument, NotFound


class RestaurantNotFound(NotFound):
    """Not a `NotYet`: anybody who has a restaurant's id got it from this service."""

    text = "restaurant not found"


class MenuItemIdsNotUnique(InvalidArgument):
    text = "menu item ids must be unique"


class PriceIsNegative(InvalidArgument):
    text = "a price may not be negative"
