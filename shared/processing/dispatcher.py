"""The dispatcher: passes messages to handlers and sagas. All messages of a batch are handled in one unit of work.

- Handled before: nothing, except that a command that was sent again gets the stored reply again.
- Behind a set-aside message of its line (same key, same sender): set aside too.
- Handled: its inbox row and its reply are written with the changes of its handler.
- Refused (`DomainError` for a command): its inbox row and the refusal are written; the handler's changes are dropped.
- Not yet (`NotYet`): set aside until the grace period ends.
- Failed (any other error): the batch is rolled back and its messages are handled one by one; a message that fails alone
  is set aside, and parked after a number of tries.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, TypeVar

import structlog

from shared.core.clock import Clock, utc_now
from shared.core.context import Cause, current_cause
from shared.core.errors import Conflict, DomainError, FailedPrecondition, NotYet, TechnicalFault
from shared.core.ids import new_id
from shared.core.messages import Command, Done, Message, Refused, Reply
from shared.core.policy import Policy
from shared.core.serialization import Undecodable, decode_message, to_json
from shared.messaging.envelope import Envelope, Received
from shared.messaging.handlers import Handlers
from shared.messaging.inbox import Claim, KeptReply
from shared.messaging.set_aside import Line, PutAside, PutBack, SetAside, TakenUp
from shared.telemetry import metrics
from shared.telemetry.traces import message_span
from shared.unit_of_work.unit_of_work import AlreadyWritten, UnitOfWork

U = TypeVar("U", bound=UnitOfWork)
log = structlog.get_logger(__name__)


_LATEST = timedelta(minutes=1)
"""The longest delay that a busy service causes: beyond it, the clock was set or the service was down."""


class Unhandleable(Exception):
    """The message cannot be decoded, or nothing here handles it. No try can succeed, so it is parked at once."""


class Dropped(FailedPrecondition):
    """An operator has dropped a command."""

    code = "dropped_by_an_operator"

    def __init__(self, reason: str) -> None:
        super().__init__(f"dropped by an operator: {reason}")


class StillAwaited(FailedPrecondition):
    """A saga waits for this reply.

    code = "reply_is_still_awaited"
    text = "a saga waits for this reply and would wait for ever: redrive it when what fails is mended"


@dataclass(frozen=True, slots=True)
class _Arrival:
    """A received message, decoded as far as possible; `error` says why it could not be decoded."""

    received: Received
    envelope: Envelope | None
    message: Message | None
    error: str = ""

    @property
    def id(self) -> str:
        return self.envelope.id if self.envelope else self.received.headers.get("ce-id") or self.received.row_id

    @property
    def line(self) -> Line:
        headers = self.received.headers
        return Line(headers.get("ce-partitionkey", ""), headers.get("ce-source", "").removeprefix("/"))


class Dispatcher(Generic[U]):
    """Passes messages to a service's handlers and sagas."""

    def __init__(self, handlers: Handlers, policy: Policy | None = None, clock: Clock = utc_now) -> None:
        self._handlers = handlers
        self._policy = policy or Policy()
        self._clock = clock

    async def handle(self, uow: U, batch: Sequence[Received], partition: int, *, assume_new: bool = False) -> None:
        """Handle messages in their order, in one unit of work. A failure of one fails the whole unit.

        With `assume_new`, skip the checks for messages that were handled before or must wait in line. Use it only when
        nothing is set aside. A message that was handled before, which is rare, then ends the unit with a Conflict, as
        it cannot be claimed twice.
        """
        arrivals = [_understand(received) for received in batch]
        claims: dict[str, Claim] = {}
        blocked: set[Line] = set()
        if not assume_new:
            claims = dict(await uow.transaction.inbox.find([arrival.id for arrival in arrivals]))
        fresh = [arrival for arrival in arrivals if arrival.id not in claims]
        if not assume_new:
            blocked = await uow.transaction.waiting_room.blocked(list({arrival.line for arrival in fresh}))
        await self._load_what_is_named(uow, fresh)
        for arrival in arrivals:
            claim = claims.get(arrival.id)
            if claim is not None:
                self._repeat_reply(uow, claim, arrival.received.row_id)
                continue
            claims[arrival.id] = await self._handle_or_set_aside(uow, arrival, partition, blocked)

    async def settle_failure(self, uow: U, received: Received, error: BaseException, partition: int) -> None:
        """Decide what to do with a message that failed when it was handled alone, after its rollback.

        If the handler refused, or found something not yet known, after a part of its work was written, the message is
        treated like any other refusal. Other failures are set aside.
        """
        arrival = _understand(received)
        if (claim := (await uow.transaction.inbox.find([arrival.id])).get(arrival.id)) is not None:
            self._repeat_reply(uow, claim, received.row_id)
            return
        waiting = self._waiting(arrival, partition)
        refusal = refusal_behind(error)
        reply = None
        if isinstance(refusal, NotYet):
            uow.set_aside(PutAside(self._not_yet(waiting, refusal)))
        elif refusal is not None and isinstance(arrival.message, Command):
            reply = self._refuse_or_raise(uow, arrival, refusal)
        else:
            uow.set_aside(PutAside(self._failed(waiting, refusal or error)))
        uow.claim(Claim(message_id=arrival.id, row_id=arrival.received.row_id, reply=reply))

    async def retry(self, uow: U, waiting: SetAside) -> None:
        """Handle a set-aside message from its row. Raise the errors of its handler, except refusals."""
        arrival = _understand(waiting.received)
        try:
            reply = await self._answer(uow, arrival)
        except NotYet as error:
            self._wait_or_refuse(uow, waiting, arrival, error)
        else:
            self._take_up(uow, waiting, reply)

    def settle_retry(self, uow: U, waiting: SetAside, error: BaseException) -> None:
        """Decide what to do with a set-aside message that has failed again, after its rollback."""
        arrival = _understand(waiting.received)
        refusal = refusal_behind(error)
        if isinstance(refusal, NotYet):
            self._wait_or_refuse(uow, waiting, arrival, refusal)
        elif refusal is not None and isinstance(arrival.message, Command):
            self._take_up(uow, waiting, self._refuse_or_raise(uow, arrival, refusal))
        else:
            uow.set_aside(PutBack(self._failed(waiting, refusal or error)))

    async def drop(self, uow: U, waiting: SetAside, reason: str) -> None:
        """Drop a set-aside message, for an operator; the messages behind it go on.

        Its inbox row stays, so that a repeat is not handled. Nobody is left waiting: a command gets a refusal, and
        again if its sender sends it again. Raise StillAwaited for a reply that its saga waits for.
        """
        envelope = _understand(waiting.received).envelope
        reply = None
        if envelope is not None and envelope.kind == "command":
            with uow.attempt(_cause(envelope, envelope.traceparent)):
                reply = self._send_reply(uow, envelope, _refusal(Dropped(reason)))
        elif envelope is not None and envelope.saga_id is not None:
            saga = await uow.saga_instances.find(envelope.saga_id)
            if saga is not None and saga.awaiting == envelope.causation_id:
                raise StillAwaited
        self._take_up(uow, waiting, reply)

    def _wait_or_refuse(self, uow: U, waiting: SetAside, arrival: _Arrival, error: NotYet) -> None:
        """Let a message wait until the grace period ends; then refuse a command, and let any other message fail."""
        if self._waited(waiting) < self._policy.grace:
            uow.set_aside(PutBack(self._not_yet(waiting, error)))
        elif isinstance(arrival.message, Command):
            self._take_up(uow, waiting, self._refuse_or_raise(uow, arrival, error))
        else:
            uow.set_aside(PutBack(self._failed(waiting, error)))

    def _take_up(self, uow: U, waiting: SetAside, reply: Envelope | None) -> None:
        uow.set_aside(TakenUp(waiting))
        if reply is not None:
            uow.claim(KeptReply(message_id=waiting.message_id, reply=reply))

    async def _load_what_is_named(self, uow: U, arrivals: Sequence[_Arrival]) -> None:
        await uow.prefetch(arrival.message for arrival in arrivals if arrival.message is not None)
        replies = [
            (arrival.envelope.saga_id, arrival.message)
            for arrival in arrivals
            if arrival.envelope is not None and arrival.envelope.saga_id and isinstance(arrival.message, Reply)
        ]
        if replies:
            await uow.sagas.prefetch(replies)

    async def _handle_or_set_aside(self, uow: U, arrival: _Arrival, partition: int, blocked: set[Line]) -> Claim:
        reply = None
        if arrival.line in blocked:
            uow.set_aside(PutAside(self._waiting(arrival, partition)))
        else:
            try:
                reply = await self._answer(uow, arrival)
            except NotYet as error:
                uow.set_aside(PutAside(self._not_yet(self._waiting(arrival, partition), error)))
                blocked.add(arrival.line)
            except Unhandleable as error:
                uow.set_aside(PutAside(self._failed(self._waiting(arrival, partition), error)))
                blocked.add(arrival.line)
        claim = Claim(message_id=arrival.id, row_id=arrival.received.row_id, reply=reply)
        uow.claim(claim)
        return claim

    async def _answer(self, uow: U, arrival: _Arrival) -> Envelope | None:
        """Run the handler and return the reply that was sent, if any. Raise NotYet, Unhandleable and faults."""
        envelope, message = arrival.envelope, arrival.message
        if envelope is None or message is None:
            raise Unhandleable(arrival.error)
        with message_span(envelope) as traceparent, metrics.time_handling(envelope.type):
            try:
                with uow.attempt(_cause(envelope, traceparent)):
                    answer = await self._run_handler(uow, envelope, message)
                    return self._send_reply(uow, envelope, answer)
            except NotYet:
                raise
            except DomainError as error:
                return self._refuse_or_raise(uow, arrival, error, traceparent)

    async def _run_handler(self, uow: U, envelope: Envelope, message: Message) -> Reply | None:
        if isinstance(message, Reply):
            await uow.sagas.take_reply(envelope, message)
            return None
        handler = self._handlers.get(type(message))
        if handler is None:
            raise Unhandleable(f"this service has no handler for {envelope.type}")
        return await handler(message, uow)

    def _send_reply(self, uow: U, envelope: Envelope, answer: Reply | None) -> Envelope | None:
        if envelope.kind != "command" or envelope.reply_to is None:
            return None
        reply = self._reply(envelope, answer or Done())
        uow.send(reply)
        return reply

    def _refuse_or_raise(
        self, uow: U, arrival: _Arrival, error: DomainError, traceparent: str | None = None
    ) -> Envelope | None:
        """Send a refusal to a command. For other messages raise the error: an event or a reply cannot be refused."""
        envelope = arrival.envelope
        if envelope is None or not isinstance(arrival.message, Command):
            raise error
        log.info("refused", type=envelope.type, key=envelope.key, reason=error.message)
        with uow.attempt(_cause(envelope, traceparent)):
            return self._send_reply(uow, envelope, _refusal(error))

    def _reply(self, command: Envelope, answer: Reply) -> Envelope:
        assert command.reply_to is not None
        cause = current_cause()
        return Envelope(
            id=new_id(),
            type=answer.type_name,
            kind="reply",
            source=command.type.partition(".")[0],
            key=command.reply_key or command.key,
            data=to_json(answer),
            time=self._clock(),
            correlation_id=command.correlation_id,
            causation_id=command.id,
            schema=answer.schema,
            saga_id=command.saga_id,
            reply_to=command.reply_to,
            outcome="refusal" if isinstance(answer, Refused) else "success",
            traceparent=cause.traceparent,
        )

    def _repeat_reply(self, uow: U, claim: Claim, row_id: str) -> None:
        """Send the stored reply again for a resent command.

        A relay's repeat of the same row gets no reply: else each republished row would cause another reply.
        """
        metrics.DUPLICATES.inc()
        if claim.reply is not None and claim.row_id != row_id:
            uow.send(claim.reply)

    def _waiting(self, arrival: _Arrival, partition: int) -> SetAside:
        now = self._clock()
        return SetAside(
            partition=partition,
            line=arrival.line,
            message_id=arrival.id,
            received=arrival.received,
            set_aside_at=now,
            retry_at=now,
        )

    def _not_yet(self, waiting: SetAside, error: NotYet) -> SetAside:
        """Delay a message that names something not yet known.

        First by 20 ms, then by half of the time it has waited: the missing message is usually on its way.
        """
        waited = self._waited(waiting)
        pause = min(max(waited / 2, self._policy.retry / 25), self._policy.grace - waited)
        return dataclasses.replace(self._again_after(waiting, pause), error=_storable(error.message))

    def _failed(self, waiting: SetAside, error: BaseException) -> SetAside:
        attempts = waiting.attempts + 1
        gives_up = isinstance(error, Unhandleable | NotYet) or attempts >= self._policy.attempts
        log.log(
            40 if gives_up else 30,
            "message parked" if gives_up else "message set aside",
            type=waiting.received.headers.get("ce-type"),
            message_id=waiting.message_id,
            key=waiting.line.key,
            attempts=attempts,
            error=repr(error),
        )
        return dataclasses.replace(
            self._again_after(waiting, self._policy.retry_after(attempts)),
            attempts=attempts,
            parked_at=self._clock() if gives_up else None,
            error=_storable(str(error) or repr(error)),
        )

    def _waited(self, waiting: SetAside) -> timedelta:
        """Return how long a message has waited: its planned pauses, and the delay of this try.

        If the delay is negative or longer than `_LATEST`, the clock was set or the service was down: then only the
        pauses count. So a change of the clock neither ends a wait early nor makes it longer.
        """
        late = self._clock() - waiting.retry_at
        planned = waiting.retry_at - waiting.set_aside_at
        return planned + late if timedelta(0) <= late <= _LATEST else planned

    def _again_after(self, waiting: SetAside, pause: timedelta) -> SetAside:
        """Schedule another try after a pause. Both stored times are by the clock as it is set now."""
        now = self._clock()
        return dataclasses.replace(waiting, set_aside_at=now - self._waited(waiting), retry_at=now + pause)


def failed_by_itself(error: BaseException) -> bool:
    """Return whether the message itself failed, and not its surroundings: a try together with others cannot help."""
    return not isinstance(error, TechnicalFault) or isinstance(error, AlreadyWritten)


def is_own_failure(error: BaseException) -> bool:
    """Return whether the work failed by itself or in a conflict with another transaction, and not its surroundings."""
    return failed_by_itself(error) or isinstance(error, Conflict)


def refusal_behind(error: BaseException) -> DomainError | None:
    """What a handler refused with, though a part of its work had been written."""
    if isinstance(error, AlreadyWritten) and isinstance(error.__cause__, DomainError):
        return error.__cause__
    return None


def _understand(received: Received) -> _Arrival:
    if not _is_storable(received):
        return _Arrival(_made_storable(received), None, None, "not a message of ours: its text cannot be stored")
    try:
        envelope = Envelope.of(received)
    except ValueError as error:
        return _Arrival(received, None, None, f"not a message of ours: {error}")
    try:
        return _Arrival(received, envelope, decode_message(envelope.type, envelope.data, envelope.schema))
    except Undecodable as error:
        return _Arrival(received, envelope, None, str(error))


def _is_storable(received: Received) -> bool:
    headers = received.headers
    text = "".join((received.row_id, received.data, *headers, *headers.values()))
    return "\x00" not in text and (text.isascii() or _storable(text) == text)


def _made_storable(received: Received) -> Received:
    return dataclasses.replace(
        received,
        row_id=_storable(received.row_id),
        headers={_storable(name): _storable(value) for name, value in received.headers.items()},
        data=_storable(received.data),
    )


def _storable(text: str) -> str:
    """Return the text without characters that PostgreSQL's `text` cannot store, so that the message can be parked."""
    return text.replace("\x00", "\ufffd").encode(errors="replace").decode()


def _cause(envelope: Envelope, traceparent: str | None) -> Cause:
    return Cause(
        correlation_id=envelope.correlation_id,
        id=envelope.id,
        causation_id=envelope.causation_id,
        traceparent=traceparent or envelope.traceparent,
        sequence=envelope.sequence,
        occurred_at=envelope.time,
    )


def _refusal(error: DomainError) -> Refused:
    return Refused(kind=error.kind, code=error.code, message=error.message)
