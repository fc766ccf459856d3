"""What the consumer service refuses."""

from shared.core.errors import AlreadyExists, InvalidArgument, LimitReached, NotFound


class ConsumerNotFound(NotFound):
    """Not a `NotYet`: whoever has a consumer's id got it from here."""

    text = "consumer not found"


class ConsumerWithoutName(InvalidArgument):
    text = "cannot register a consumer without a name"


class AddressNotFound(NotFound):
    text = "address with that identifier does not exist"


class AddressAlreadyExists(AlreadyExists):
    text = "address with that identifier already exists"


class TooManyAddresses(LimitReached):
    text = "consumer has too many addresses"
