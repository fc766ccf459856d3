"""What the services' events say, folded once, for the invariants to compare. Kept small: there is one per order."""

import dataclasses
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from shared.core.serialization import Undecodable
from shared.eventsourcing.aggregate import Aggregate, Entity
from shared.eventsourcing.snapshots import SnapshotFormat
from shared.eventsourcing.store import Snapshot, StoredEvent
from tools.verify.models import ServiceModel, decoded, model_of
from tools.verify.state import ServiceState, SystemState


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that does not hold: which invariant, and what it is about. `mended`: it has no consequences."""

    invariant: str
    text: str
    ids: tuple[str, ...] = ()
    mended: bool = False


@dataclass(slots=True)
class OrderFacts:
    state: str
    consumer_id: str
    total: int
    ticket_id: str | None
    cancellations: int
    revisions: int


@dataclass(frozen=True, slots=True)
class TicketFacts:
    id: str
    status: str
    total: int


@dataclass(slots=True)
class AccountFacts:
    """`authorized_total` is what the service answers, `added_up` is the sum according to the events."""

    authorized_total: int
    added_up: int = 0


@dataclass
class Facts:
    """All facts by id; tickets by the id of their order. `authorized` is the amount that is authorized for an order."""

    orders: dict[str, OrderFacts] = field(default_factory=dict)
    tickets: dict[str, list[TicketFacts]] = field(default_factory=dict)
    accounts: dict[str, AccountFacts] = field(default_factory=dict)
    authorized: dict[str, int] = field(default_factory=dict)
    deliveries: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    """Findings of I4, found while folding; and of I6, where one message has acted twice."""


async def facts_of(system: SystemState) -> Facts:
    """Reads all events once."""
    facts = Facts()
    for name, service in system.services.items():
        await _read_service(facts, model_of(name), service)
    return facts


_DELIVERY_AFTER: dict[str | None, tuple[str, ...]] = {
    None: ("NEW", "PENDING"),
    "delivery.DeliveryScheduled": ("SCHEDULED",),
    "delivery.DeliveryPickedUp": ("PICKED_UP",),
    "delivery.DeliveryDelivered": ("DELIVERED",),
    "delivery.DeliveryCancelled": ("CANCELLED",),
}


async def _read_service(facts: Facts, model: ServiceModel, service: ServiceState) -> None:
    snapshots = {(snapshot.aggregate, snapshot.id): snapshot async for snapshot in service.snapshots()}
    views: dict[str, Entity] = {}
    told: dict[tuple[str, str], StoredEvent] = {}
    async for events in histories(service.events()):
        first = events[0]
        _check_versions(facts, events)
        _check_causes(facts, events)
        if cls := model.aggregates.get(first.aggregate):
            aggregate = _fold(facts, cls, events, snapshots.pop((first.aggregate, first.id), None))
            if aggregate is not None:
                _take(facts, aggregate, events)
                if first.aggregate == "Ticket":
                    views[first.id] = _view_of(model, aggregate)
        else:
            told[first.aggregate, first.id] = events[-1]
    for aggregate_name, id_ in snapshots:
        facts.findings.append(Finding("I4", f"a snapshot of {aggregate_name} without events", (id_,)))
    if model.name == "kitchen":
        await _check_views(facts, model, service, views)
    for aggregate_name, row_class in model.recording.items():
        async for row in service.rows(row_class):
            _check_row(facts, row, told.pop((aggregate_name, row.id), None))
    for aggregate_name, id_ in told:
        facts.findings.append(Finding("I4", f"events of a {aggregate_name} that {model.name} does not have", (id_,)))


def _view_of(model: ServiceModel, ticket: Aggregate[Any]) -> Entity:
    cls: Any = model.row("TicketView")
    view: Entity = cls.of(ticket)
    return view


async def _check_views(facts: Facts, model: ServiceModel, service: ServiceState, views: dict[str, Entity]) -> None:
    """Checks that the rows used to search tickets agree with the tickets."""
    async for view in service.rows(model.row("TicketView")):
        if views.pop(view.id, None) != view:
            facts.findings.append(Finding("I4", "a ticket's row is not what its events say", (view.id,)))
    facts.findings += [Finding("I4", "a ticket has no row", (id_,)) for id_ in views]


def _check_row(facts: Facts, row: Any, last: StoredEvent | None) -> None:
    """Checks that a row that records events about itself counts as many events as are stored for it."""
    name = row.aggregate_name
    if row.sequence != (last.version if last else 0):
        facts.findings.append(
            Finding("I4", f"a {name} counts {row.sequence} events and has {last.version if last else 0}", (row.id,))
        )
    if name == "Delivery":
        facts.deliveries[row.id] = row.status
        if row.status not in _DELIVERY_AFTER[last.type if last else None]:
            facts.findings.append(Finding("I4", f"a delivery is {row.status} and has said otherwise", (row.id,)))
    if name == "Restaurant" and last is not None and row.menu != getattr(decoded(last), "menu", None):
        facts.findings.append(Finding("I4", "a restaurant's menu is not the one that it has told of", (row.id,)))


async def histories(events: AsyncIterator[StoredEvent]) -> AsyncIterator[list[StoredEvent]]:
    """Groups the events by aggregate, one aggregate after the other."""
    history: list[StoredEvent] = []
    async for event in events:
        if history and (history[0].aggregate, history[0].id) != (event.aggregate, event.id):
            yield history
            history = []
        history.append(event)
    if history:
        yield history


def _check_versions(facts: Facts, events: list[StoredEvent]) -> None:
    versions = [event.version for event in events]
    if versions != list(range(1, len(events) + 1)):
        text = f"the versions of {events[0].aggregate} are not 1 to {len(events)}: {versions[:10]}"
        facts.findings.append(Finding("I4", text, (events[0].id,)))


def _check_causes(facts: Facts, events: list[StoredEvent]) -> None:
    """Checks that a message acts only once: no event happens to an aggregate twice for the same cause."""
    seen: set[tuple[str, str]] = set()
    for event in events:
        what = event.type, event.metadata.causation_id
        if what in seen and event.metadata.causation_id:
            facts.findings.append(Finding("I6", f"one message has led to two {event.type}", (event.id, what[1])))
        seen.add(what)


def _fold(
    facts: Facts, cls: type[Aggregate[Any]], events: list[StoredEvent], snapshot: Snapshot | None
) -> Aggregate[Any] | None:
    """Returns the aggregate as its service sees it: from the snapshot, if there is one that fits."""
    of_class = SnapshotFormat.of(cls)
    folded = cls(id=events[0].id)
    seen = folded
    try:
        for event in events:
            folded.replay(decoded(event))
            if snapshot is not None and snapshot.version == event.version and snapshot.tag == of_class.tag:
                seen = of_class.restore(snapshot)
                if _fields(seen) != _fields(folded):
                    text = f"the snapshot of {cls.__name__} at {event.version} is not what its events say"
                    facts.findings.append(Finding("I4", text, (folded.id,)))
            elif seen is not folded:
                seen.replay(decoded(event))
    except (Undecodable, LookupError, TypeError, ValueError) as error:
        facts.findings.append(Finding("I4", f"{cls.__name__} can't be folded: {error!r}", (events[0].id,)))
        return None
    if snapshot is not None and snapshot.version > len(events):
        text = f"the snapshot of {cls.__name__} is of version {snapshot.version}, and there are {len(events)} events"
        facts.findings.append(Finding("I4", text, (folded.id,)))
    return seen


def _fields(aggregate: Aggregate[Any]) -> dict[str, Any]:
    return {each.name: getattr(aggregate, each.name) for each in dataclasses.fields(aggregate)}


def _take(facts: Facts, aggregate: Any, events: list[StoredEvent]) -> None:
    match aggregate.aggregate_name:
        case "Order":
            types = [event.type for event in events]
            facts.orders[aggregate.id] = OrderFacts(
                state=aggregate.state,
                consumer_id=aggregate.consumer_id,
                total=aggregate.total,
                ticket_id=aggregate.ticket_id,
                cancellations=types.count("order.OrderCancelling"),
                revisions=types.count("order.OrderProposedRevision"),
            )
        case "Ticket":
            total = sum(item.price * item.quantity for item in aggregate.line_items)
            ticket = TicketFacts(aggregate.id, aggregate.status, total)
            facts.tickets.setdefault(aggregate.order_id, []).append(ticket)
        case "Account":
            account = facts.accounts[aggregate.id] = AccountFacts(aggregate.authorized_total)
            for event in events:
                message: Any = decoded(event)
                change = _AUTHORIZES.get(event.type, lambda _: 0)(message)
                account.added_up += change
                if event.type in _AUTHORIZES:
                    facts.authorized[message.order_id] = facts.authorized.get(message.order_id, 0) + change


_AUTHORIZES: dict[str, Any] = {
    "accounting.OrderAuthorized": lambda event: event.order_total,
    "accounting.OrderAuthorizationReversed": lambda event: -event.order_total,
    "accounting.OrderAuthorizationRevised": lambda event: event.order_total - event.current_order_total,
}
