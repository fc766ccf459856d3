"""The errors with which the delivery service refuses requests."""

from shared.core.errors import AlreadyExists, FailedPrecondition, NotFound, NotYet


class DeliveryNotFound(NotFound):
    """Not a `NotYet`: whichever event of an order comes first makes its delivery's row, so none waits for another."""

    text = "delivery not found"


class DeliveryAlreadyExists(AlreadyExists):
    text = "delivery already exists"


class DeliveryStateDoesNotAllowAction(FailedPrecondition):
    text = "delivery state does not allow action"


class CourierNotFound(NotFound):
    text = "courier not found"


class RestaurantNotFound(NotYet):
    text = "restaurant not found"
