"""The dispatcher: what becomes of messages that arrive. All that wait are handled in one unit of work.

- Handled before: nothing, but a command that its sender has sent again gets the kept reply again.
- Behind a message of its line (same key, same sender) that was set aside: set aside too.
- Handled: its inbox row and its reply are written with what its handler changed.
- Refused (`DomainError` for a command): the same, but only the refusal stays.
- Not yet (`NotYet`): set aside until the grace period ends.
- Failed (anything else): the batch is rolled back and handled one by one; what fails alone is set aside, and parked
  after a number of tries.
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
"""How late a busy service may be with a message that it tries again."""


class Unhandleable(Exception):
    """No try can succeed: the message can't be decoded, or nobody handles it. It is parked at once."""


class Dropped(FailedPrecondition):
    """An operator dropped the command: its sender gets this as the refusal."""

    code = "dropped_by_an_operator"

    def __init__(self, reason: str) -> None:
        super().__init__(f"dropped by an operator: {reason}")


class StillAwaited(FailedPrecondition):
    """The reply cannot be dropped: its saga would send the command again and get the same reply."""

    code = "reply_is_still_awaited"
    text = "a saga waits for this reply and would wait for ever: redrive it when what fails is mended"


@dataclass(frozen=True, slots=True)
class _Arrival:
    """A received message as far as it could be understood."""

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
    """Brings messages to a service's handlers and sagas."""

    def __init__(self, handlers: Handlers, policy: Policy | None = None, clock: Clock = utc_now) -> None:
        self._handlers = handlers
        self._policy = policy or Policy()
        self._clock = clock

    async def handle(self, uow: U, batch: Sequence[Received], partition: int, *, assume_new: bool = False) -> None:
        """Handles messages in their order, in one unit of work. Any failure is the whole unit's.

        With `assume_new` it does not look for what has been handled before, which is rare: then it ends as a Conflict,
        since nothing can be claimed twice. Nor does it look for what is set aside: use it only where nothing is.
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
        """Decides what becomes of a message that failed when it was handled alone, its work being rolled back.

        What was refused, or is not yet known, after a part of its work had been written is treated like any other
        refusal; all else is set aside.
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
        """Handles a set-aside message straight from its row. Raises what its handler raises, but for refusals."""
        arrival = _understand(waiting.received)
        try:
            reply = await self._answer(uow, arrival)
        except NotYet as error:
            self._wait_or_refuse(uow, waiting, arrival, error)
        else:
            self._take_up(uow, waiting, reply)

    def settle_retry(self, uow: U, waiting: SetAside, error: BaseException) -> None:
        """Decides what becomes of a set-aside message that has failed once more, its work being rolled back."""
        arrival = _understand(waiting.received)
        refusal = refusal_behind(error)
        if isinstance(refusal, NotYet):
            self._wait_or_refuse(uow, waiting, arrival, refusal)
        elif refusal is not None and isinstance(arrival.message, Command):
            self._take_up(uow, waiting, self._refuse_or_raise(uow, arrival, refusal))
        else:
            uow.set_aside(PutBack(self._failed(waiting, refusal or error)))

    async def drop(self, uow: U, waiting: SetAside, reason: str) -> None:
        """Drops a set-aside message, for an operator; the messages behind it go on. Its inbox row stays, so that it
        does not come back when it is published again.

        Nobody is left waiting: a command is refused, and once more if its sender sends it again. Raises StillAwaited
        for a reply that its saga waits for.
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
        """Until the grace period ends it waits; then a command is refused, and any other message fails."""
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
        """Runs the handler; answers the reply that was sent, if any. Raises NotYet, Unhandleable and faults."""
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
            raise Unhandleable(f"nothing here handles {envelope.type}")
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
        """A command is refused. An event has already happened, and a saga's reply too: refusing them is a fault."""
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
        """Answers a command that its sender has sent again, but not a row that the relay has published again: after a
        loss of the stream, all replies would be sent once more."""
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
        """A message that came too early is tried again soon, as what it needs is usually on its way: after 20 ms at
        first, then after half of the time it has waited already."""
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
        """How long a message has waited: its pauses, and how much later than planned it is tried.

        If that is more than _LATEST, or less than nothing, the clock was set or nobody was there to try it: then only
        the pauses count. So nothing is given up because a clock jumps, and nothing waits for longer.
        """
        late = self._clock() - waiting.retry_at
        planned = waiting.retry_at - waiting.set_aside_at
        return planned + late if timedelta(0) <= late <= _LATEST else planned

    def _again_after(self, waiting: SetAside, pause: timedelta) -> SetAside:
        """The message, to be tried again after a pause. Both times are read from the clock as it is set now."""
        now = self._clock()
        return dataclasses.replace(waiting, set_aside_at=now - self._waited(waiting), retry_at=now + pause)


def failed_by_itself(error: BaseException) -> bool:
    """Whether trying the message again among others could never help: it is not the surroundings that failed."""
    return not isinstance(error, TechnicalFault) or isinstance(error, AlreadyWritten)


def is_own_failure(error: BaseException) -> bool:
    """Whether the work itself, or a conflict with another transaction, is why it failed, and not its surroundings."""
    return failed_by_itself(error) or isinstance(error, Conflict)


def refusal_behind(error: BaseException) -> DomainError | None:
    """The refusal that a handler raised after a part of its work had been written; None for any other error."""
    if isinstance(error, AlreadyWritten) and isinstance(error.__cause__, DomainError):
        return error.__cause__
    return None


def _understand(received: Received) -> _Arrival:
    if not _is_storable(received):
        return _Arrival(_made_storable(received), None, None, "not a message of ours: it contains what no text does")
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
    """The text without characters that PostgreSQL's `text` can't hold: with them a message could never be parked."""
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
