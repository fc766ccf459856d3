"""Errors of the domain, which are answers, and technical faults, which are not.

A `DomainError` is an expected answer: over HTTP it becomes a problem document, to a saga it becomes a refusal. A
`TechnicalFault`, like every other exception, says nothing about the business: the work is rolled back and tried again.
"""

import re
from typing import ClassVar


class DomainError(Exception):
    """A request that the domain refuses. Services derive their errors: a class with the `text` that people read.

    Programs read its `code`, an identifier that stays the same. By default it is made of the text: `order not found`
    has the code `order_not_found`. A class sets another one where that would be no good name, or where its text is to
    change. A class without a text has its kind as its code.
    """

    kind: ClassVar[str] = "domain_error"
    code: ClassVar[str] = kind
    text: ClassVar[str] = ""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "code" not in vars(cls) and ("text" in vars(cls) or "kind" in vars(cls)):
            cls.code = as_code(cls.text or cls.kind)

    def __init__(self, message: str = "") -> None:
        self.message = message or self.text
        super().__init__(self.message)


def as_code(text: str) -> str:
    """Return a text as an identifier of lower-case letters, digits and underscores: `Not Found` as `not_found`."""
    return "_".join(re.findall(r"[a-z0-9]+", text.lower()))


class NotFound(DomainError):
    """The thing that the request names does not exist."""

    kind = "not_found"


class NotYet(NotFound):
    """The thing that a message names is not known here yet: another message that brings it may be on its way.

    A message whose handler raises this is tried again until a grace period ends, while messages of other keys go on.
    Over HTTP it is a `NotFound`.
    """


class AlreadyExists(DomainError):
    """The thing that the request would create exists already."""

    kind = "already_exists"


class InvalidArgument(DomainError):
    """The request is not valid in any state."""

    kind = "invalid_argument"


class OutOfRange(DomainError):
    """A value of the request is well formed, and lies where the domain takes none: a time that is over."""

    kind = "out_of_range"


class FailedPrecondition(DomainError):
    """The current state does not allow the request."""

    kind = "failed_precondition"


class LimitReached(DomainError):
    """The request would exceed a limit. What exists already stays usable, even if it is more than the limit."""

    kind = "limit_reached"


class IdempotencyKeyReused(DomainError):
    """A client sent one idempotency key with two different requests."""

    kind = "idempotency_key_reused"
    code = kind
    text = "the idempotency key was used for another request"


class TechnicalFault(Exception):
    """A part of the surroundings failed, such as the database: nothing was done, and a later try may succeed."""


class TooMuchAtOnce(Exception):
    """A batch needs more memory than a process may use. Each of its items can be handled alone."""


class Conflict(TechnicalFault):
    """Another transaction changed data that this one had read. It is right to try again at once."""


class TookTooLong(TechnicalFault):
    """A transaction was ended because it took too long: it did too much, or waited for a lock."""


class LeaseLost(TechnicalFault):
    """Another replica holds the partition now: this one must not commit anything for it."""
