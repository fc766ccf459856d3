"""The errors with which the consumer service refuses requests."""

from shared.core.errors import AlreadyExists, InvalidArgument, LimitReached, NotFound


class ConsumerNotFound(NotFound):
    """Not a `NotYet`: anybody who has a consumer's id got it from this service."""

    text = "consumer not found"


class ConsumerWithoutName(InvalidArgument):
    code = "consumer_without_name"
    text = "cannot register a consumer without a name"


class AddressNotFound(NotFound):
    code = "address_not_found"
    text = "address with that identifier does not exist"


class AddressAlreadyExists(AlreadyExists):
    code = "address_already_exists"
    text = "address with that identifier already exists"


class TooManyAddresses(LimitReached):
    text = "consumer has too many addresses"
