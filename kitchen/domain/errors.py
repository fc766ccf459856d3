"""What the kitchen service refuses."""

from shared.core.errors import FailedPrecondition, NotYet, OutOfRange


class TicketNotFound(NotYet):
    text = "ticket not found"


class RestaurantNotFound(NotYet):
    text = "restaurant not found"


class TicketStateDoesNotAllowAction(FailedPrecondition):
    text = "ticket state does not allow action"


class ReadyByIsInThePast(OutOfRange):
    text = "readyBy is in the past"
