"""The errors with which the accounting service refuses requests."""

from shared.core.errors import AlreadyExists, FailedPrecondition, LimitReached, NotYet


class AccountNotFound(NotYet):
    text = "account not found"


class AccountAlreadyExists(AlreadyExists):
    text = "account already exists"


class AccountIsDisabled(FailedPrecondition):
    text = "account is disabled"


class AccountIsEnabled(FailedPrecondition):
    text = "account is enabled"


class TooMuchAuthorized(LimitReached):
    text = "account has too much authorized"
