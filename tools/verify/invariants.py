"""The invariants: what holds in the whole system once it has come to rest, whatever happened on the way.

I1 is about money, I2 about what must have ended, I3 about how orders, tickets, authorizations and deliveries go
together, I4 about events and what is derived from them in their own service, I5 about the read model, I6 about
messages, I7 about idempotency keys.
"""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

from shared.core.serialization import from_json
from shared.eventsourcing.aggregate import Entity
from shared.eventsourcing.store import StoredEvent
from shared.saga.instance import SagaInstance
from shared.unit_of_work.idempotency import KeptAnswer
from tools.verify.facts import Facts, Finding, OrderFacts, facts_of, histories
from tools.verify.models import Projection, ServiceModel, model_of
from tools.verify.state import Sent, ServiceState, SystemState

T = TypeVar("T")

INVARIANTS = {
    "I1": "money: what is authorized is what the events add up to, and what the approved orders cost",
    "I2": "every order, ticket and saga has come to its end, and no message waits",
    "I3": "order, ticket, authorization and delivery agree, and there is one of each at most",
    "I4": "states, rows and snapshots are what the events say, and no version is missing",
    "I5": "the order history is what the events say",
    "I6": "everybody a message concerns has handled it once, be it from the stream or straight from its sender",
    "I7": "an idempotency key has one effect",
}

_PENDING_ORDERS = ("ApprovalPending", "CancelPending", "RevisionPending")
_PENDING_TICKETS = ("CreatePending", "CancelPending", "RevisionPending")
_DELIVERIES_OF = {
    "AwaitingAcceptance": ("PENDING",),
    "Accepted": ("PENDING", "SCHEDULED"),
    "Preparing": ("PENDING", "SCHEDULED"),
    "ReadyForPickup": ("PENDING", "SCHEDULED"),
    "PickedUp": ("PICKED_UP", "DELIVERED"),
}
"""Where an approved order's delivery can be, by its ticket's status."""
_BATCH_SIZE = 500


async def verify(system: SystemState) -> list[Finding]:
    """Returns everything that does not hold. The system must have come to rest: `at_rest`."""
    return [finding for finding in await look(system) if not finding.mended]


async def look(system: SystemState) -> list[Finding]:
    """Like `verify`, plus findings on messages that the stream lost but readers got directly from their senders."""
    facts = await facts_of(system)
    findings = [*money(facts), *await endings(facts, system), *agreement(facts), *facts.findings]
    findings += [finding async for finding in read_model(system)]
    findings += [finding async for finding in messages(system)]
    findings += [finding async for finding in idempotency(facts, system)]
    return sorted(findings, key=lambda finding: (finding.invariant, finding.text, finding.ids))


async def unrest(system: SystemState) -> str:
    """Returns what still has to happen by itself; "" when the system has come to rest."""
    for name, service in system.services.items():
        if pending := await system.pending(name):
            return f"{pending} messages are on their way to {name}"
        waiting = [message async for message in service.set_aside()]
        parked = {message.line for message in waiting if message.parked_at is not None}
        if any(message.line not in parked for message in waiting):
            return f"{len(waiting)} messages that {name} has set aside wait"
        unfinished = sum(
            [1 async for saga in service.rows(SagaInstance) if not saga.position.finished and not saga.stuck]
        )
        if unfinished:
            return f"{unfinished} sagas of {name} are under way"
    return ""


def money(facts: Facts) -> list[Finding]:
    """Checks I1, about money."""
    approved: Counter[str] = Counter()
    for order in facts.orders.values():
        if order.state == "Approved":
            approved[order.consumer_id] += order.total
    found = []
    for id_, account in facts.accounts.items():
        if account.authorized_total != account.added_up:
            text = f"an account says {account.authorized_total}, its events add up to {account.added_up}"
            found.append(Finding("I1", text, (id_,)))
        if account.authorized_total != approved[id_]:
            text = f"an account says {account.authorized_total}, its approved orders cost {approved[id_]}"
            found.append(Finding("I1", text, (id_,)))
    strangers = sorted(approved.keys() - facts.accounts.keys())
    return found + [Finding("I1", "approved orders of a consumer without an account", (id_,)) for id_ in strangers]


async def endings(facts: Facts, system: SystemState) -> list[Finding]:
    """Checks I2, about what must have ended."""
    found = [
        Finding("I2", f"an order is {order.state}", (id_,))
        for id_, order in facts.orders.items()
        if order.state in _PENDING_ORDERS
    ]
    for order_id, tickets in facts.tickets.items():
        found += [
            Finding("I2", f"a ticket is {ticket.status}", (ticket.id, order_id))
            for ticket in tickets
            if ticket.status in _PENDING_TICKETS
        ]
    for name, service in system.services.items():
        async for saga in service.rows(SagaInstance):
            if not saga.position.finished:
                how = "is stuck" if saga.stuck else "has not ended"
                found.append(
                    Finding("I2", f"{saga.type} {how} at step {saga.step + 1}, {saga.phase}", (saga.id, saga.key))
                )
        async for message in service.set_aside():
            how = "parked" if message.parked_at else "set aside"
            type_ = message.received.headers.get("ce-type", "?")
            text = f"{type_} is {how} in {name}: {message.error}" if message.error else f"{type_} is {how} in {name}"
            found.append(Finding("I2", text, (message.message_id, message.line.key)))
    return found


def agreement(facts: Facts) -> list[Finding]:
    """Checks I3: how orders, tickets, authorizations and deliveries agree. What I2 finds is not reported again."""
    found = []
    for id_, order in facts.orders.items():
        tickets = facts.tickets.get(id_, [])
        if order.state in _PENDING_ORDERS or any(ticket.status in _PENDING_TICKETS for ticket in tickets):
            continue
        found += [Finding("I3", text, (id_,)) for text in _disagreements(facts, id_, order)]
    for what, known in (
        ("a ticket", facts.tickets),
        ("an authorization", facts.authorized),
        ("a delivery", facts.deliveries),
    ):
        found += [
            Finding("I3", f"{what} of an order that does not exist", (id_,)) for id_ in known.keys() - facts.orders
        ]
    return found


def _disagreements(facts: Facts, order_id: str, order: OrderFacts) -> list[str]:
    tickets = facts.tickets.get(order_id, [])
    delivery = facts.deliveries.get(order_id)
    authorized = facts.authorized.get(order_id, 0)
    stands = order.state == "Approved"
    wrong = []
    if len(tickets) > 1:
        wrong.append(f"an order has {len(tickets)} tickets")
    if authorized != (order.total if stands else 0):
        wrong.append(f"an order is {order.state}, costs {order.total}, and {authorized} is authorized")
    ticket = tickets[0] if tickets else None
    if not stands:
        if ticket is not None and ticket.status != "Cancelled":
            wrong.append(f"an order is {order.state}, its ticket {ticket.status}")
        if ticket is None and order.state == "Cancelled":
            wrong.append("an order is Cancelled that never had a ticket")
        if delivery != "CANCELLED":
            wrong.append(f"an order is {order.state}, its delivery {delivery}")
    elif ticket is None:
        wrong.append("an order is Approved and has no ticket")
    else:
        if ticket.id != order.ticket_id:
            wrong.append("an order's ticket is another one than it says")
        if ticket.total != order.total:
            wrong.append(f"an order costs {order.total}, what its ticket says costs {ticket.total}")
        if delivery not in _DELIVERIES_OF.get(ticket.status, ()):
            wrong.append(f"an order is Approved, its ticket {ticket.status}, its delivery {delivery}")
    return wrong


async def read_model(system: SystemState) -> AsyncIterator[Finding]:
    """Checks I5: compares the rows of the order history with rows rebuilt from the stored events."""
    if "order_history" not in system.services:
        return
    model = model_of("order_history")
    cls = model.row("OrderRecord")
    projection = Projection(model, cls)
    rows = system.services["order_history"].rows(cls)
    row = await anext(rows, None)
    async for id_, events in _side_by_side([system.services[name] for name in ("order", "delivery")]):
        while row is not None and row.id < id_:
            yield Finding("I5", "the history has an order that nobody else has", (row.id,))
            row = await anext(rows, None)
        wanted = await projection.of(id_, [event for event in events if projection.follows(event)])
        shown: Any = row if row is not None and row.id == id_ else None
        if shown is not None and shown.revisions:
            shown.revise(shown.revisions[-1])  # rows written by 0.1.0 keep revisions that later ones have replaced
        if differing := _differing(shown, wanted):
            yield Finding("I5", f"the history is wrong about {differing}", (id_,))
        if shown is not None:
            row = await anext(rows, None)
    while row is not None:
        yield Finding("I5", "the history has an order that nobody else has", (row.id,))
        row = await anext(rows, None)


async def _side_by_side(services: Sequence[ServiceState]) -> AsyncIterator[tuple[str, list[StoredEvent]]]:
    """Groups the events of several services by the id that they have in common."""
    readers = [histories(service.events()) for service in services]
    heads = [await anext(reader, None) for reader in readers]
    while ids := [head[0].id for head in heads if head is not None]:
        id_ = min(ids)
        events: list[StoredEvent] = []
        for index, head in enumerate(heads):
            if head is not None and head[0].id == id_:
                events += head
                heads[index] = await anext(readers[index], None)
        yield id_, events


def _differing(shown: Entity | None, wanted: Entity | None) -> str:
    """Returns the fields that differ from the wanted ones. How often a row was written does not matter."""
    if shown is None or wanted is None:
        return "" if shown is wanted else "whether there is such an order"
    one, other = asdict(shown), asdict(wanted)
    return ", ".join(name for name in one if name != "version" and one[name] != other[name])


async def messages(system: SystemState) -> AsyncIterator[Finding]:
    """Checks I6: messages. Double handling also shows in its effects: `facts` looks for causes that acted twice."""
    models = [model_of(name) for name in system.services]
    published: set[str] = set()
    async for batch in _batches(system.stream()):
        published.update(sent.row_id for sent in batch)
        for model in models:
            async for finding in _unclaimed(model, system.services[model.name], batch):
                yield finding
    for name, service in system.services.items():
        async for batch in _batches(sent async for sent in service.outbox() if sent.row_id not in published):
            unclaimed = [
                finding for model in models async for finding in _unclaimed(model, system.services[model.name], batch)
            ]
            waited_for = {finding.ids[0] for finding in unclaimed}
            for sent in batch:
                text = f"{sent.route} of {name} is not in the stream"
                mended = sent.message_id not in waited_for
                yield Finding("I6", text, (sent.message_id, sent.row_id), mended=mended)
        for lost in await service.missing():
            rows = (f"{lost.sender}-{lost.after_row}", f"{lost.sender}-{lost.before_row}")
            yield Finding("I6", f"{name} has not had what {lost.sender} has sent between these rows", rows)


async def _unclaimed(model: ServiceModel, service: ServiceState, batch: Sequence[Sent]) -> AsyncIterator[Finding]:
    routes = {sent.message_id: sent.route for sent in batch if sent.route in model.routes}
    claimed = await service.claimed(routes.keys()) if routes else set()
    for message_id in routes.keys() - claimed:
        yield Finding("I6", f"{routes[message_id]} has not been handled by {model.name}", (message_id,))


async def _batches(values: AsyncIterator[T]) -> AsyncIterator[list[T]]:
    batch: list[T] = []
    async for value in values:
        batch.append(value)
        if len(batch) == _BATCH_SIZE:
            yield batch
            batch = []
    if batch:
        yield batch


async def idempotency(facts: Facts, system: SystemState) -> AsyncIterator[Finding]:
    """Checks I7: an answer is stored together with its effect, and each effect belongs to one key."""
    if "order" not in system.services:
        return
    made: dict[str, str] = {}
    changes: Counter[tuple[str, str]] = Counter()
    async for kept in system.services["order"].rows(KeptAnswer):
        method, path, _ = kept.id.split(" ", 2)
        parts = path.split("/")
        if (method, parts[2:]) == ("POST", ["orders"]):
            order_id = from_json(dict[str, str], kept.answer)["id"]
            if order_id not in facts.orders:
                yield Finding("I7", "a key's order does not exist", (kept.id, order_id))
            if order_id in made:
                yield Finding("I7", "two keys have made one order", (kept.id, made[order_id], order_id))
            made[order_id] = kept.id
        else:
            changes[parts[-2], parts[-1]] += 1
    for (order_id, change), count in changes.items():
        order = facts.orders.get(order_id)
        begun = 0 if order is None else order.cancellations if change == "cancel" else order.revisions
        if begun < count:
            yield Finding("I7", f"{count} keys say {change}, and it was begun {begun} times", (order_id,))
