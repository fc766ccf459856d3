"""The errors with which the order service refuses requests."""

from shared.core.errors import FailedPrecondition, InvalidArgument, NotFound, NotYet, OutOfRange


class OrderNotFound(NotYet):
    text = "order not found"


class RestaurantNotFound(NotYet):
    text = "restaurant not found"


class MenuItemNotFound(NotFound):
    text = "menu item not found"


class OrderStateDoesNotAllowAction(FailedPrecondition):
    text = "order state does not allow action"


class OrderTotalBelowMinimum(InvalidArgument):
    text = "order total does not meet the minimum"


class DeliveryTimeIsInThePast(OutOfRange):
    text = "delivery time is in the past"


class QuantityOutOfRange(InvalidArgument):
    text = "a quantity is out of range"
