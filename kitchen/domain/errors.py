"""The errors with which the kitchen service refuses requests."""

from shared.core.errors import FailedPrecondition, NotYet, OutOfRange


class TicketNotFound(NotYet):
    text = "ticket not found"


class RestaurantNotFound(NotYet):
    text = "restaurant not found"


class TicketStateDoesNotAllowAction(FailedPrecondition):
    text = "ticket state does not allow action"


class ReadyByIsInThePast(OutOfRange):
    code = "ready_by_is_in_the_past"
    text = "readyBy is in the past"
