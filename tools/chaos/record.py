"""What the clients remember: every request that changes something, and the answer to it.

The invariants compare the system with itself. This compares it with what its clients know: an acknowledged order that
is missing was lost; an order that was placed once and exists twice was doubled.
"""

import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from enum import StrEnum

from shared.eventsourcing.store import StoredEvent
from tools.verify.facts import Finding
from tools.verify.state import SystemState


class Outcome(StrEnum):
    """What a client knows of a request. If it is indeterminate, the client can't know whether it was carried out."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    INDETERMINATE = "indeterminate"


CLIENT = "client"
"""Stands in place of an invariant's name in findings about the clients' record."""

EFFECTS = {
    "cancel": "order.OrderCancelling",
    "revise": "order.OrderProposedRevision",
    "accept": "kitchen.TicketAccepted",
    "preparing": "kitchen.TicketPreparationStarted",
    "ready": "kitchen.TicketReadyForPickup",
    "picked-up": "kitchen.TicketPickedUp",
    "delivered": "delivery.DeliveryDelivered",
}
"""The event that an order has once per request that is carried out."""
ENDINGS = {
    "order.OrderCancelling": ("order.OrderCancelled", "order.OrderCancellingUndone"),
    "order.OrderProposedRevision": ("order.OrderRevised", "order.OrderRevisingUndone"),
}
"""The possible results of each request: it is carried out, or undone for a stated reason."""
_STATING = ("order.OrderCancellingUndone", "order.OrderRevisingUndone", "order.OrderRejected")


@dataclass
class Placed:
    """An order that was asked for. `mark` is a part of its address that identifies it, whatever id it got."""

    mark: str
    outcome: Outcome
    order_id: str | None = None


@dataclass
class Record:
    """What was requested, with the outcomes. `changes` counts outcomes by order and kind of request."""

    placed: list[Placed] = field(default_factory=list)
    changes: dict[tuple[str, str], Counter[Outcome]] = field(default_factory=lambda: defaultdict(Counter))
    repeated: int = 0
    findings: list[Finding] = field(default_factory=list)
    """Answers that no client should ever get."""

    def count(self, outcome: Outcome) -> int:
        """How many requests had this outcome."""
        orders = sum(order.outcome is outcome for order in self.placed)
        return orders + sum(outcomes[outcome] for outcomes in self.changes.values())

    async def compare(self, system: SystemState) -> list[Finding]:
        """Return every difference between a system at rest and what its clients know of it."""
        by_mark: dict[str, list[str]] = defaultdict(list)
        happened: Counter[tuple[str, str]] = Counter()
        found = list(self.findings)
        async for order_id, event in _events(system):
            happened[order_id, event.type] += 1
            if event.type == "order.OrderCreated":
                by_mark[json.loads(event.data)["deliver_to"]["street2"]].append(order_id)
            if event.type in _STATING and not json.loads(event.data).get("reason"):
                found.append(Finding(CLIENT, f"an {event.type} does not say why", (order_id,)))
        for placed in self.placed:
            found += _of_order(placed, by_mark.pop(placed.mark, []))
        for mark, ids in by_mark.items():
            found.append(Finding(CLIENT, "an order exists that nobody has asked for", (mark, *ids)))
        for (order_id, asked), outcomes in self.changes.items():
            found += _of_change(order_id, asked, outcomes, happened)
        return found


async def _events(system: SystemState) -> AsyncIterator[tuple[str, StoredEvent]]:
    for name in ("order", "kitchen", "delivery"):
        async for event in system.services[name].events():
            if (order_id := json.loads(event.data).get("order_id")) is not None:
                yield order_id, event


def _of_order(placed: Placed, ids: list[str]) -> list[Finding]:
    found = []
    if len(ids) > 1:
        found.append(Finding(CLIENT, f"an order was placed once and exists {len(ids)} times", (placed.mark, *ids)))
    if placed.outcome is Outcome.ACCEPTED and placed.order_id not in ids:
        found.append(Finding(CLIENT, "an acknowledged order is missing", (placed.mark, placed.order_id or "")))
    if placed.outcome is Outcome.REFUSED and ids:
        found.append(Finding(CLIENT, "an order was refused and exists", (placed.mark, *ids)))
    return found


def _of_change(
    order_id: str, asked: str, outcomes: Counter[Outcome], happened: Counter[tuple[str, str]]
) -> list[Finding]:
    effect = EFFECTS[asked]
    count, least = happened[order_id, effect], outcomes[Outcome.ACCEPTED]
    found = []
    if count < least:
        text = f"{asked} was acknowledged {least} times, and there are {count} {effect}"
        found.append(Finding(CLIENT, text, (order_id,)))
    if count > least + outcomes[Outcome.INDETERMINATE]:
        text = f"{asked} was acknowledged {least} times, and there are {count} {effect}"
        found.append(Finding(CLIENT, text, (order_id,)))
    if effect in ENDINGS:
        ended = sum(happened[order_id, ending] for ending in ENDINGS[effect])
        if ended != count:
            found.append(Finding(CLIENT, f"{asked} was begun {count} times and has ended {ended} times", (order_id,)))
    return found
