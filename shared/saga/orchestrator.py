"""The orchestrator: runs sagas inside a unit of work. It sends commands, takes replies and repeats steps.

Microservices Patterns, section 4.2.2.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any, Protocol

import structlog

from shared.core.clock import Clock
from shared.core.context import current_cause
from shared.core.errors import DomainError, NotYet
from shared.core.ids import derived_id, new_id
from shared.core.messages import AnyCommand, Message, Refused, Reply
from shared.core.policy import Policy
from shared.core.serialization import Json, from_json, to_json
from shared.eventsourcing.store import max_bytes_for
from shared.messaging.envelope import Envelope
from shared.saga.instance import SagaInstance
from shared.saga.machine import Outcome, Phase, Position
from shared.saga.saga import Saga, Step, saga_type

log = structlog.get_logger(__name__)


class SagaNotFound(NotYet):
    """There is no such saga: it ended long ago, or a reply came before its saga could be seen."""

    text = "saga not found"


class SagaInstances(Protocol):
    """The saga instances of one unit of work."""

    async def add(self, row: SagaInstance) -> SagaInstance:
        """Add a new instance."""

    async def find(self, id_: str) -> SagaInstance | None:
        """Return the instance, or None."""

    async def get(self, id_: str) -> SagaInstance:
        """Return the instance; raise SagaNotFound."""

    async def load(self, ids: Iterable[str], most: int | None = None) -> None:
        """Read instances, in one query. Raise TooMuchAtOnce when they have more than `most` bytes."""

    def loaded(self, id_: str) -> SagaInstance | None:
        """Return an instance as it was read, only to look at; None if there is none."""


class SagaUnitOfWork(Protocol):
    """The part of the unit of work that the orchestrator uses."""

    clock: Clock
    policy: Policy

    @property
    def saga_instances(self) -> SagaInstances:
        """The saga instances of the unit of work."""

    def seal(self) -> None:
        """Journal the changes of aggregates and rows so far."""

    def send(self, envelope: Envelope) -> None:
        """Send a message when the transaction is committed."""

    def attempt(self) -> AbstractContextManager[None]:
        """Return a context that drops the changes of its block if the block raises."""

    async def prefetch(self, naming: Iterable[Message | Saga]) -> None:
        """Load the aggregates that the messages or sagas name."""


class Sagas:
    """The sagas of one unit of work."""

    def __init__(self, unit_of_work: SagaUnitOfWork) -> None:
        self._uow = unit_of_work

    async def start(self, saga: Saga) -> None:
        """Start a saga, once for each handled message or request and saga key.

        Raise the DomainError of a first step that is local: then nothing has started. A second start of the same saga
        raises Conflict when it is written. It is not looked up first, as the inbox keeps repeated messages out.
        """
        self._uow.seal()  # else its first command would go out before the event that caused it
        start = saga.machine.start()
        now = self._uow.clock()
        instance = SagaInstance(
            id=instance_id(saga, current_cause().id),
            type=saga.type_name,
            key=saga.key,
            data=Json(to_json(saga)),
            step=start.step,
            phase=start.phase,
            correlation_id=current_cause().correlation_id,
            started_at=now,
            updated_at=now,
        )
        if not start.finished and saga.table[start.step].is_local:
            await self._act_locally(saga, start)
            instance.move_to(saga.machine.advance(start, Outcome.SUCCEEDED))
        await self._uow.saga_instances.add(instance)
        await self._run(instance, saga)

    async def prefetch(self, replies: Iterable[tuple[str, Reply]]) -> None:
        """Load the sagas that the replies are for (by id), and the aggregates that their next local steps name."""
        outcomes = dict(replies)
        await self._uow.saga_instances.load(outcomes, max_bytes_for(len(outcomes)))
        acting: list[Saga] = []
        for id_, reply in outcomes.items():
            instance = self._uow.saga_instances.loaded(id_)
            if instance is not None and self._acts_next(instance, reply):
                acting.append(self._load(instance))
        await self._uow.prefetch(acting)

    async def take_reply(self, envelope: Envelope, reply: Reply) -> None:
        """Continue the saga that the reply is for.

        A reply to another command than the one that the saga waits for is ignored.
        """
        instance = await self._uow.saga_instances.get(envelope.saga_id or "")
        if instance.awaiting != envelope.causation_id:
            log.info("stale reply dropped", saga=instance.id, reply=envelope.type, to=envelope.causation_id)
            return
        saga = self._load(instance)
        if not isinstance(reply, Refused):
            step = saga.table[instance.step]
            if step.on_reply is not None and instance.phase is Phase.FORWARD:
                step.on_reply(saga, reply)
            instance.move_to(saga.machine.advance(instance.position, Outcome.SUCCEEDED))
        elif not self._turns_round(instance, saga, reply.message):
            return
        await self._run(instance, saga)

    async def wake(self, id_: str) -> None:
        """Do what is due: send a command again that got no reply, or try a refused step again."""
        instance = await self._uow.saga_instances.find(id_)
        due = self._uow.policy.sagas_due(self._uow.clock())
        if instance is None or instance.due_at is None or not due.has_come(instance.due_at):
            return
        if instance.awaiting is not None:
            instance.resends += 1
            log.warning(
                "no reply: command sent again", saga=instance.id, command=instance.command, times=instance.resends
            )
        await self._go_on(instance)

    async def retry(self, id_: str) -> bool:
        """Let a saga continue now instead of when it is due, with short waits again; return whether it was waiting."""
        instance = await self._uow.saga_instances.find(id_)
        if instance is None or instance.due_at is None:
            return False
        instance.resends = 0
        await self._go_on(instance)
        return True

    async def resume(self, id_: str) -> bool:
        """Try the step of a stuck saga again, with its tries counted anew; return whether it was stuck."""
        instance = await self._uow.saga_instances.find(id_)
        if instance is None or not instance.stuck:
            return False
        instance.attempts = 0
        instance.stuck = False
        await self._run(instance, self._load(instance))
        return True

    async def put_off(self, id_: str, error: BaseException) -> None:
        """Record that waking a saga failed, with an error that is not a refusal.

        The saga pauses, and is stuck after a number of tries. Meanwhile a reply to the command that it waits for is
        still taken.
        """
        instance = await self._uow.saga_instances.get(id_)
        instance.error = repr(error)
        self._pause_or_give_up(instance)

    def _acts_next(self, instance: SagaInstance, reply: Reply) -> bool:
        """Return whether the reply leads to a local step."""
        saga = saga_type(instance.type)
        next_ = saga.machine.advance(instance.position, _outcome(reply))
        return not next_.finished and saga.table[next_.step].is_local

    async def _go_on(self, instance: SagaInstance) -> None:
        """Send the awaited command again, with the same id; without one, try the current step."""
        saga = self._load(instance)
        if instance.awaiting is None:
            await self._run(instance, saga)
            return
        self._send(instance, saga, instance.awaiting)
        self._store(instance, saga)

    def _load(self, instance: SagaInstance) -> Saga:
        return from_json(saga_type(instance.type), instance.data)

    async def _run(self, instance: SagaInstance, saga: Saga) -> None:
        """Run local steps until a command has to be sent, the saga must pause, or it ends."""
        while not instance.position.finished:
            if not saga.table[instance.step].is_local:
                self._send(instance, saga, new_id())
                break
            try:
                await self._act_locally(saga, instance.position)
            except NotYet as error:
                if self._uow.policy.is_patient_after(instance.attempts):
                    instance.error = error.message
                    self._pause_or_give_up(instance)
                    break
                if not self._turns_round(instance, saga, error.message):
                    break
            except DomainError as error:
                if not self._turns_round(instance, saga, error.message):
                    break
            else:
                instance.move_to(saga.machine.advance(instance.position, Outcome.SUCCEEDED))
        self._store(instance, saga)

    async def _act_locally(self, saga: Saga, position: Position) -> None:
        action: Any = _action(saga.table[position.step], position)
        with self._uow.attempt():
            await action(saga, self._uow)

    def _turns_round(self, instance: SagaInstance, saga: Saga, reason: str) -> bool:
        """Handle a refusal and return whether the saga has moved: up to the pivot it starts to undo.

        After the pivot, or while it undoes, it stays and tries again later.
        """
        instance.error = reason
        position = saga.machine.advance(instance.position, Outcome.REFUSED)
        if position != instance.position:
            saga.reason = reason
            instance.move_to(position)
            return True
        instance.wait_for_nothing()
        self._pause_or_give_up(instance)
        return False

    def _pause_or_give_up(self, instance: SagaInstance) -> None:
        now = self._uow.clock()
        instance.attempts += 1
        instance.stuck = instance.attempts >= self._uow.policy.saga_attempts
        instance.due_at = None if instance.stuck else now + self._uow.policy.retry_after(instance.attempts)
        instance.updated_at = now
        log.warning(
            "saga is stuck" if instance.stuck else "saga step failed: it will be tried again",
            saga=instance.id,
            type=instance.type,
            step=instance.step,
            phase=instance.phase,
            attempts=instance.attempts,
            reason=instance.error,
        )

    def _send(self, instance: SagaInstance, saga: Saga, message_id: str) -> None:
        request: Any = _action(saga.table[instance.step], instance.position)
        command: AnyCommand = request(saga)
        now = self._uow.clock()
        cause = current_cause()
        instance.awaiting, instance.command = message_id, command.type_name
        instance.due_at = now + self._uow.policy.resend_after(instance.resends)
        self._uow.send(
            Envelope(
                id=message_id,
                type=command.type_name,
                kind="command",
                source=saga.service(),
                key=command.key,
                data=to_json(command),
                time=now,
                correlation_id=instance.correlation_id,
                causation_id=cause.id,
                schema=command.schema,
                saga_id=instance.id,
                reply_to=saga.service(),
                reply_key=saga.key,
                traceparent=cause.traceparent,
            )
        )

    def _store(self, instance: SagaInstance, saga: Saga) -> None:
        instance.data = Json(to_json(saga))
        instance.updated_at = self._uow.clock()


def instance_id(saga: Saga, cause_id: str) -> str:
    """Return the id of the saga that a message or request starts: the same each time it is handled."""
    return derived_id(saga.type_name, cause_id, saga.key)


def _outcome(reply: Reply) -> Outcome:
    return Outcome.REFUSED if isinstance(reply, Refused) else Outcome.SUCCEEDED


def _action(step: Step, position: Position) -> Any:
    return step.undo if position.phase is Phase.UNDOING else step.action
