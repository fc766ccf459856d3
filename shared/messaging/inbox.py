"""The inbox: which messages a service has handled, and its replies. Microservices Patterns, section 3.3.6."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from shared.messaging.envelope import Envelope


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """Records that a message was handled or set aside. `row_id` is the outbox row that brought it."""

    message_id: str
    row_id: str
    reply: Envelope | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptReply:
    """The reply to a command that was set aside when it was claimed."""

    message_id: str
    reply: Envelope


class InboxStore(Protocol):
    """The inbox of one database, in one transaction."""

    async def find(self, message_ids: Sequence[str]) -> Mapping[str, Claim]:
        """Return the claims of those that were handled before."""

    async def add(self, claims: Sequence[Claim]) -> None:
        """Claim messages. Raises Conflict when one is claimed already."""

    async def keep_replies(self, replies: Sequence[KeptReply]) -> None:
        """Add answers to claims that have none."""
