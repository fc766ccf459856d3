"""An order's life as a tree, made of the messages that were sent about it. Pure: from envelopes to entries.

The order of cause and effect is in the messages: each names the message or request that caused it. Which step of a
saga a message belongs to is computed by the saga machine itself, from the sagas' own tables.
"""

import re
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import takewhile

from shared.messaging.envelope import Envelope
from shared.saga.machine import Outcome, Phase, Position
from shared.saga.saga import Saga
from tools.explain.message_words import describe, name_of, order_of, short, time_of
from tools.explain.progress import Progress
from tools.explain.saga_tables import SagaTables, Step

REMEMBERED = 5000
"""How many messages of other orders are kept to find the cause of a message of this order."""


class Kind(StrEnum):
    """What an entry stands for. The last three are not messages of the order: they only cause some."""

    EVENT = "event"
    COMMAND = "command"
    REPLY = "reply"
    REFUSAL = "refusal"
    REQUEST = "request"
    TIMER = "timer"
    ELSEWHERE = "elsewhere"


@dataclass(frozen=True, kw_only=True)
class SagaMark:
    """Which step of which saga, counted from 1. `undoing` means the step's compensation."""

    saga: str
    step: int
    steps: int
    undoing: bool = False


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line: a message, or something that caused messages. `copies` is how often the message was sent."""

    id: str
    kind: Kind
    at: datetime
    depth: int
    sender: str
    name: str
    receiver: str = ""
    detail: str = ""
    mark: SagaMark | None = None
    copies: int = 1


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """What happened to an order: each entry comes before its effects."""

    order_id: str
    entries: Sequence[Entry]
    progress: Progress
    correlation_ids: Sequence[str]
    messages: int

    @property
    def began(self) -> datetime:
        """The time of the first entry."""
        return min(entry.at for entry in self.entries)

    @property
    def approval_seconds(self) -> float | None:
        """The time from the request to the approval; None if the order wasn't approved, or the request isn't included.

        Both times are the order service's own: the request's id contains the time when it came.
        """
        asked = next((entry.at for entry in self.entries if entry.name == _CALLS["order.OrderCreated"]), None)
        approved = self.progress.approved_at
        return None if asked is None or approved is None else (approved - asked).total_seconds()


# What was requested when this was the outcome; if a request has several outcomes, the first one here counts.
_CALLS = {
    "order.OrderCreated": "POST /api/orders",
    "order.OrderCancelling": "PUT /api/orders/{id}/cancel",
    "order.OrderProposedRevision": "PUT /api/orders/{id}/revise",
    "kitchen.TicketAccepted": "POST /api/tickets/{id}/accept",
    "kitchen.TicketPreparationStarted": "POST /api/tickets/{id}/preparing",
    "kitchen.TicketReadyForPickup": "POST /api/tickets/{id}/ready",
    "kitchen.TicketPickedUp": "POST /api/tickets/{id}/picked-up",
    "delivery.DeliveryDelivered": "POST /api/deliveries/{id}/delivered",
    "delivery.DeliveryScheduled": "POST /api/couriers/{id}/availability",
    "consumer.ConsumerRegistered": "POST /api/consumers",
    "restaurant.RestaurantCreated": "POST /api/restaurants",
    "accounting.AccountDisabled": "PUT /api/accounts/{id}/disable",
    "accounting.AccountEnabled": "PUT /api/accounts/{id}/enable",
}


class Collector:
    """Picks an order's messages out of all messages. The messages must be offered in stream order.

    They are the messages that name the order, and those of the same requests that name no order at all. A courier goes
    from one order to the next, so a message of this order can follow from one of another order: that one is kept too.
    """

    def __init__(self, order_id: str) -> None:
        self.order_id = order_id
        self.messages: list[Envelope] = []
        self.causes: dict[str, Envelope] = {}
        self._copies: dict[str, int] = {}
        self._correlation_ids: set[str] = set()
        self._own: set[str] = set()
        self._unexplained: set[str] = set()
        self._others: deque[Envelope] = deque(maxlen=REMEMBERED)

    @property
    def copies(self) -> Mapping[str, int]:
        """How often each message was sent, by its id."""
        return self._copies

    def offer(self, envelope: Envelope) -> None:
        """Keep the message if it belongs to the order."""
        if envelope.id in self._own:
            self._copies[envelope.id] += 1
            return
        of_same_request = envelope.correlation_id in self._correlation_ids
        if self._names_it(envelope) or (of_same_request and order_of(envelope) is None):
            self._keep(envelope)
            return
        self._others.append(envelope)
        for id_ in (envelope.id, envelope.causation_id):
            if id_ in self._unexplained:
                self._explain(id_, envelope)

    def _names_it(self, envelope: Envelope) -> bool:
        return self.order_id in (envelope.key, envelope.subject) or self.order_id in envelope.data

    def _keep(self, envelope: Envelope) -> None:
        self.messages.append(envelope)
        self._own.add(envelope.id)
        self._copies[envelope.id] = 1
        self._correlation_ids.add(envelope.correlation_id)
        cause = envelope.causation_id
        if cause in self._own or cause in self.causes:
            return
        for other in reversed(self._others):
            if cause in (other.id, other.causation_id):
                self._explain(cause, other)
                return
        self._unexplained.add(cause)

    def _explain(self, cause: str, other: Envelope) -> None:
        self.causes[cause] = other
        self._unexplained.discard(cause)


def build(found: Collector, sagas: SagaTables) -> Timeline:
    """Return the timeline of what was collected. Raises ValueError when nothing was."""
    if not found.messages:
        raise ValueError(f"no message is about order {found.order_id}")
    return _Builder(found, sagas).build()


class _Builder:
    def __init__(self, found: Collector, sagas: SagaTables) -> None:
        self._found = found
        self._sagas = sagas
        self._by_id = {message.id: message for message in found.messages}
        self._effects: dict[str, list[Envelope]] = defaultdict(list)
        # What a service did comes before the replies and commands that resulted, which are sent at the same moment.
        for message in sorted(found.messages, key=lambda message: message.kind != "event"):
            self._effects[message.causation_id].append(message)
        self._marks = self._mark_all()
        self._entries: list[Entry] = []

    def build(self) -> Timeline:
        progress = Progress()
        for message in self._found.messages:
            progress.take(message)
        roots = {m.causation_id: self._root(m.causation_id) for m in self._found.messages if self._is_first(m)}
        for id_, root in sorted(roots.items(), key=lambda item: item[1].at):
            self._entries.append(root)
            for effect in self._effects[id_]:
                self._add(effect, 1)
        return Timeline(
            order_id=self._found.order_id,
            entries=self._entries,
            progress=progress,
            correlation_ids=list(dict.fromkeys(message.correlation_id for message in self._found.messages)),
            messages=len(self._found.messages),
        )

    def _is_first(self, message: Envelope) -> bool:
        return message.causation_id not in self._by_id

    def _add(self, message: Envelope, depth: int) -> None:
        """Add a message and all that followed. A saga's steps stand below each other, not indented more and more:
        what follows from a reply is as deep as the command that was replied to.
        """
        self._entries.append(self._entry(message, depth))
        below = max(depth - 1, 1) if message.kind == "reply" else depth + 1
        for effect in self._effects[message.id]:
            self._add(effect, below)

    def _entry(self, message: Envelope, depth: int) -> Entry:
        kind = Kind.REFUSAL if message.outcome == "refusal" else Kind(message.kind)
        receiver = ""
        if message.kind == "command":
            receiver = message.type.partition(".")[0]
        elif message.kind == "reply":
            receiver = message.reply_to or ""
        return Entry(
            id=message.id,
            kind=kind,
            at=message.time,
            depth=depth,
            sender=message.source,
            receiver=receiver,
            name=name_of(message),
            detail=describe(message),
            mark=self._marks.get(message.id),
            copies=self._found.copies[message.id],
        )

    def _root(self, id_: str) -> Entry:
        """Return what begins a branch: a request, a timer of a saga, or a message about another order."""
        effects = self._effects[id_]
        first = min(effect.time for effect in effects)
        other = self._found.causes.get(id_)
        if other is not None and other.id == id_:
            return Entry(
                id=id_,
                kind=Kind.ELSEWHERE,
                at=min(other.time, first),
                depth=0,
                sender=other.source,
                name=name_of(other),
                detail=_whose(other),
            )
        made_at = time_of(id_)
        at = min(made_at, first) if made_at else first
        if self._is_timer(effects):
            return Entry(id=id_, kind=Kind.TIMER, at=at, depth=0, sender=effects[0].source, name="time to try again")
        outcomes = {effect.type for effect in effects} | ({other.type} if other else set())
        call = next((call for type_, call in _CALLS.items() if type_ in outcomes), "a request, or a timer")
        detail = f"{_whose(other)}: {name_of(other)}" if other else ""
        return Entry(id=id_, kind=Kind.REQUEST, at=at, depth=0, sender="client", name=call, detail=detail)

    def _is_timer(self, effects: Sequence[Envelope]) -> bool:
        """Tell whether a saga continued because of a timer: it had sent messages before."""
        sagas = {effect.saga_id for effect in effects if effect.saga_id}
        earlier = takewhile(lambda message: message.id != effects[0].id, self._found.messages)
        return any(message.saga_id in sagas for message in earlier)

    def _mark_all(self) -> dict[str, SagaMark]:
        marks: dict[str, SagaMark] = {}
        began: set[str] = set()
        for message in self._found.messages:
            step = self._sagas.step_of(message.type) if message.kind == "command" else None
            if step is None:
                continue
            marks[message.id] = _mark(step.saga, step.position)
            if message.saga_id not in began:
                began.add(message.saga_id or "")
                marks |= self._marks_of_the_start(message, step.saga)
            for reply in self._effects[message.id]:
                if reply.kind == "reply":
                    marks[reply.id] = marks[message.id]
                    marks |= self._marks_of_local_steps(reply, step)
        return marks

    def _marks_of_the_start(self, command: Envelope, saga: type[Saga]) -> dict[str, SagaMark]:
        """Mark the event that a saga began with: the one that started it, or the event of a local first step."""
        start = saga.machine.start()
        if start.step > 0:
            return {command.causation_id: _mark(saga, Position(0))} if command.causation_id in self._by_id else {}
        if not saga.table[0].is_local:
            return {}
        return {
            event.id: _mark(saga, start)
            for event in self._effects[command.causation_id]
            if event.kind == "event" and event.source == command.source
        }

    def _marks_of_local_steps(self, reply: Envelope, step: Step) -> dict[str, SagaMark]:
        """Mark the events of the local steps that a saga took when it got the reply."""
        outcome = Outcome.REFUSED if reply.outcome == "refusal" else Outcome.SUCCEEDED
        position = step.saga.machine.advance(step.position, outcome)
        marks = {}
        for event in self._effects[reply.id]:
            if event.kind != "event" or position.finished or not step.saga.table[position.step].is_local:
                continue
            marks[event.id] = _mark(step.saga, position)
            position = step.saga.machine.advance(position, Outcome.SUCCEEDED)
        return marks


def _mark(saga: type[Saga], position: Position) -> SagaMark:
    words = re.sub(r"(?<!^)(?=[A-Z])", " ", saga.__name__.removesuffix("Saga")).lower()
    undoing = position.phase is Phase.UNDOING
    return SagaMark(saga=words, step=position.step + 1, steps=len(saga.table), undoing=undoing)


def _whose(envelope: Envelope) -> str:
    order = order_of(envelope)
    return f"order {short(order)}" if order else "another matter"
