"""What operators can do about parked messages and about sagas, in one service's database.

The service need not run. If it does, it notices within a third of a lease that something has become due. An operation
and its record are written in one transaction.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, TypeVar

import msgspec

from shared.core.clock import Clock
from shared.core.context import Cause
from shared.core.errors import Conflict, NotFound
from shared.core.ids import new_id
from shared.core.serialization import Json, to_json
from shared.messaging.repair_log import ON_MESSAGES, ON_SAGAS, Action, Repair
from shared.messaging.set_aside import Parked, ParkedFilter, SetAside
from shared.processing.dispatcher import Dispatcher
from shared.processing.partition import CONFLICT_TRIES
from shared.saga.instance import SagaFilter, SagaInstance
from shared.saga.machine import Phase
from shared.saga.saga import Step, saga_type
from shared.unit_of_work.unit_of_work import UnitOfWork, Units

T = TypeVar("T")
U = TypeVar("U", bound=UnitOfWork)

MAX_SELECTED = 10_000
"""Maximum of lines, or sagas, per call."""
_BATCH_MESSAGES = 100
"""Lines that one transaction makes due."""


class MessageNotParked(NotFound):
    """There is no such parked message, or it was redriven or dropped meanwhile."""

    text = "no such message is parked"


class SagaNotFound(NotFound):
    """There is no such saga, or it ended long ago."""

    text = "saga not found"


@dataclass(frozen=True, kw_only=True, slots=True)
class By:
    """Who does something by hand, and why."""

    operator: str
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ParkedMessage:
    """A parked message, the first of those that wait behind it, and what was done about it before."""

    message: SetAside
    behind: Sequence[SetAside]
    repairs: Sequence[Repair]


@dataclass(frozen=True, kw_only=True, slots=True)
class StepState:
    """A step of a saga, and whether it is done."""

    name: str
    state: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SagaState:
    """A saga, its steps, and what was done about it before."""

    instance: SagaInstance
    steps: Sequence[StepState]
    repairs: Sequence[Repair]


class Repairs(Generic[U]):
    """The operations. Those that change something raise DomainError when that is not possible."""

    def __init__(self, units: Units[U], dispatcher: Dispatcher[U], clock: Clock) -> None:
        self._units = units
        self._dispatcher = dispatcher
        self._clock = clock

    async def parked(self, wanted: ParkedFilter, limit: int) -> Sequence[Parked]:
        """Return the first parked messages."""
        async with self._units.begin() as uow:
            return await uow.transaction.waiting_room.parked(wanted, limit)

    async def parked_message(self, message_id: str, limit: int) -> ParkedMessage:
        """Return a parked message, with the first that wait behind it. Raises MessageNotParked."""
        async with self._units.begin() as uow:
            room = uow.transaction.waiting_room
            found = await room.parked(ParkedFilter(message_id=message_id), 1)
            if not found:
                raise MessageNotParked
            message, *behind = await room.line(found[0].message.line, limit + 1)
            repairs = await uow.transaction.repairs.latest(ON_MESSAGES, message_id, limit)
        return ParkedMessage(message=message, behind=behind, repairs=repairs)

    async def redrive(self, wanted: ParkedFilter, by: By) -> int:
        """Have parked messages, and those behind them, handled again in order; return how many they are."""
        ids = [parked.message.message_id for parked in await self.parked(wanted, MAX_SELECTED)]
        count = 0
        for start in range(0, len(ids), _BATCH_MESSAGES):
            some = ids[start : start + _BATCH_MESSAGES]
            count += await self._patiently(partial(self._redrive_some, some, by))
        return count

    async def drop(self, wanted: ParkedFilter, by: By) -> int:
        """Give parked messages up, and have those behind them handled; return how many were given up.

        A command is refused, so that its sender does not wait; an event is passed over for good. Raises StillAwaited at
        a reply that a saga waits for: what came before it is dropped then.
        """
        count = 0
        for parked in await self.parked(wanted, MAX_SELECTED):
            count += await self._patiently(partial(self._drop_one, parked.message.message_id, by))
        return count

    async def sagas(self, wanted: SagaFilter, limit: int) -> Sequence[SagaInstance]:
        """Return the first sagas that have not ended."""
        async with self._units.begin() as uow:
            return await uow.transaction.saga_timers.unfinished(wanted, limit)

    async def saga(self, saga_id: str, limit: int) -> SagaState:
        """Return one saga, also one that has ended. Raises SagaNotFound."""
        async with self._units.begin() as uow:
            instance = await uow.saga_instances.find(saga_id)
            if instance is None:
                raise SagaNotFound
            repairs = await uow.transaction.repairs.latest(ON_SAGAS, saga_id, limit)
        return SagaState(instance=instance, steps=steps_of(instance), repairs=repairs)

    async def resume(self, wanted: SagaFilter, by: By) -> int:
        """Have stuck sagas try their step again; return how many there were."""
        return await self._move(replace(wanted, stuck=True), Action.RESUME, by)

    async def retry(self, wanted: SagaFilter, by: By) -> int:
        """Have sagas on their way do at once what they would do after their time-out; return how many there were.

        They send the command again that got no reply, or try the refused step again.
        """
        return await self._move(replace(wanted, stuck=False), Action.RETRY, by)

    async def history(self, actions: Collection[Action], limit: int) -> Sequence[Repair]:
        """Return what was done by hand, the newest first."""
        async with self._units.begin() as uow:
            return await uow.transaction.repairs.latest(actions, None, limit)

    async def _redrive_some(self, message_ids: Sequence[str], by: By) -> int:
        count = 0
        async with self._units.begin() as uow:
            room, now = uow.transaction.waiting_room, self._clock()
            for message_id in message_ids:
                message = await room.hold_parked(message_id)
                if message is not None:  # otherwise somebody else did it first
                    count += await room.redrive(message.line, now)
                    await uow.transaction.repairs.add([self._of_message(Action.REDRIVE, message, by)])
        return count

    async def _drop_one(self, message_id: str, by: By) -> bool:
        async with self._units.begin() as uow:
            room, now = uow.transaction.waiting_room, self._clock()
            message = await room.hold_parked(message_id)
            if message is None:  # somebody else did it first
                return False
            await room.redrive(message.line, now)
            await self._dispatcher.drop(uow, message, by.reason)
            await uow.transaction.repairs.add([self._of_message(Action.DROP, message, by)])
        return True

    async def _move(self, wanted: SagaFilter, action: Action, by: By) -> int:
        count = 0
        for instance in await self.sagas(wanted, MAX_SELECTED):
            count += await self._patiently(partial(self._move_one, instance.id, action, by))
        return count

    async def _move_one(self, saga_id: str, action: Action, by: By) -> bool:
        async with self._units.begin() as uow:
            instance = await uow.saga_instances.find(saga_id)
            if instance is None:
                return False
            done = self._of_saga(action, instance, by)
            id_ = new_id()
            with uow.attempt(Cause(instance.correlation_id, id_, id_)):
                go_on = uow.sagas.resume if action is Action.RESUME else uow.sagas.retry
                moved = await go_on(saga_id)
            if moved:
                await uow.transaction.repairs.add([done])
            return moved

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        """Try again when the running service, or another operator, has changed the same rows."""
        for _ in range(CONFLICT_TRIES):
            try:
                return await work()
            except Conflict:
                pass
        return await work()

    def _of_message(self, action: Action, message: SetAside, by: By) -> Repair:
        received = message.received
        return Repair(
            at=self._clock(),
            operator=by.operator,
            action=action,
            subject=message.message_id,
            type=received.headers.get("ce-type", ""),
            key=message.line.key,
            reason=by.reason,
            details=Json(
                to_json(
                    {
                        "attempts": message.attempts,
                        "parked_at": message.parked_at,
                        "error": message.error,
                        "headers": received.headers,
                        "data": received.data,
                    }
                )
            ),
        )

    def _of_saga(self, action: Action, instance: SagaInstance, by: By) -> Repair:
        return Repair(
            at=self._clock(),
            operator=by.operator,
            action=action,
            subject=instance.id,
            type=instance.type,
            key=instance.key,
            reason=by.reason,
            details=Json(
                to_json(
                    {
                        "step": step_name(instance),
                        "phase": instance.phase,
                        "attempts": instance.attempts,
                        "resends": instance.resends,
                        "awaiting": instance.awaiting,
                        "error": instance.error,
                    }
                )
            ),
        )


def step_name(instance: SagaInstance) -> str:
    """Return the name of the saga's present step: `authorize`, or `cancel_ticket` where it undoes one."""
    return _name(saga_type(instance.type).table[instance.step], undo=instance.phase in (Phase.UNDOING, Phase.UNDONE))


def steps_of(instance: SagaInstance) -> list[StepState]:
    """Return a saga's steps. Which ones were undone and which were never done is not recorded."""
    found = []
    for index, step in enumerate(saga_type(instance.type).table):
        match instance.phase:
            case Phase.COMPLETED:
                state = "done"
            case Phase.UNDONE:
                state = "undone, or never done"
            case Phase.FORWARD:
                state = "done" if index < instance.step else "now" if index == instance.step else "to do"
            case Phase.UNDOING:
                here = "being undone" if index == instance.step else "undone, or never done"
                state = "to be undone" if index < instance.step and step.undo is not None else here
        found.append(StepState(name=_name(step), state=state))
    return found


def _name(step: Step, *, undo: bool = False) -> str:
    action = (step.undo or step.action) if undo else (step.action or step.undo)
    return str(getattr(action, "__name__", action))


def saga_data(instance: SagaInstance) -> dict[str, Any]:
    """Return the saga's data."""
    return msgspec.json.decode(instance.data, type=dict[str, Any])
