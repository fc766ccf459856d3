"""The counters that a dashboard of orders relies on."""

from collections.abc import Sequence

from prometheus_client import Counter

from order.contracts import OrderApproved, OrderCreated, OrderRejected
from shared.core.messages import Event

_COUNTERS: dict[type[Event], Counter] = {
    OrderCreated: Counter("placed_orders", "Orders taken"),
    OrderApproved: Counter("approved_orders", "Orders approved"),
    OrderRejected: Counter("rejected_orders", "Orders rejected"),
}


def count(events: Sequence[Event]) -> None:
    """Counts what has been committed."""
    for event in events:
        if counter := _COUNTERS.get(type(event)):
            counter.inc()
