"""Errors of the domain, which are answers, and technical faults, which are not.

A `DomainError` is an expected answer: over HTTP it becomes a problem document, to a saga it becomes a refusal. A
`TechnicalFault`, like every other exception, says nothing about the business: the work is rolled back and tried again.
"""

from typing import ClassVar


class DomainError(Exception):
    """A request that the domain refuses. Services define subclasses, each with the `text` that clients read."""

    kind: ClassVar[str] = "domain_error"
    text: ClassVar[str] = ""

    def __init__(self, message: str = "") -> None:
        self.message = message or self.text
        super().__init__(self.message)

    @property
    def code(self) -> str:
        """The message as an identifier, such as `order_not_found`."""
        return "_".join(self.message.lower().split())


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


class FailedPrecondition(DomainError):
    """The current state does not allow the request."""

    kind = "failed_precondition"


class LimitReached(DomainError):
    """The request would exceed a limit. What exists already stays usable, even if it is more than the limit."""

    kind = "limit_reached"


class IdempotencyKeyReused(DomainError):
    """A client sent one idempotency key with two different requests."""

    kind = "idempotency_key_reused"
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
