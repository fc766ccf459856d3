"""Commands from a service's own API: those that wait at the same moment share one unit of work.

Each has its own mark in the journal, so that a refused command does not affect the others. Under load, this makes each
command cheap; without load, a command does not wait for others.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import structlog

from shared.core.clock import Clock
from shared.core.context import Cause, current_cause
from shared.core.errors import Conflict, DomainError, IdempotencyKeyReused, TechnicalFault, TooMuchAtOnce
from shared.core.messages import AnyCommand, Command, Done, Reply
from shared.core.serialization import Json, from_json, to_json
from shared.messaging.handlers import Handlers
from shared.processing.conflicts import despite_conflicts
from shared.processing.dispatcher import is_own_failure, refusal_behind
from shared.telemetry import metrics
from shared.unit_of_work.idempotency import IdempotencyKey, KeptAnswer, current_key
from shared.unit_of_work.unit_of_work import AlreadyWritten, UnitOfWork, Units

R = TypeVar("R", bound=Reply)
U = TypeVar("U", bound=UnitOfWork)
log = structlog.get_logger(__name__)

MAX_WAITING = 1000
"""How many commands may wait; with more, the service answers that it is overloaded."""


FAILING_SECONDS = 5.0
"""How long a failure makes the service report that it is failing.

The time is limited: if the report kept all commands away, no later command could succeed and end it.
"""


_STOPPED = "the service has stopped"


class Overloaded(TechnicalFault):
    """More commands wait than can be handled soon."""


class Stopped(TechnicalFault):
    """The service stopped before the command was carried out, or before its result could be reported."""


@dataclass(eq=False)
class _Waiting:
    command: AnyCommand
    cause: Cause
    key: IdempotencyKey | None
    answer: asyncio.Future[Reply]


class CommandQueue(Generic[U]):
    """The queue that HTTP handlers give commands to. `run` must be running."""

    def __init__(self, handlers: Handlers, units: Units[U], clock: Clock, batch_size: int) -> None:
        self._handlers = handlers
        self._units = units
        self._clock = clock
        self._batch_size = batch_size
        self._waiting: deque[_Waiting] = deque()
        self._in_hand: list[_Waiting] = []
        self._arrived = asyncio.Event()
        self._stopped = False
        self._fault = ""
        self._failed_at: float | None = None

    @property
    def failing(self) -> str | None:
        """Why the last commands could not be carried out; None if they could, or if that was some seconds ago."""
        recent = self._failed_at is not None and time.monotonic() - self._failed_at < FAILING_SECONDS
        return self._fault if recent else None

    async def execute(self, command: Command[R]) -> R:
        """Carry out a request's command and return its reply when it is committed.

        If the request's idempotency key was used before, return the first reply; raise IdempotencyKeyReused if it was
        used for another body. Raise DomainError when the command is refused, and TechnicalFault when it cannot be
        carried out now: then nothing is written.
        """
        if self._stopped:
            raise Stopped(_STOPPED)
        if len(self._waiting) >= MAX_WAITING:
            raise Overloaded(f"{MAX_WAITING} commands wait already")
        waiting = _Waiting(command, current_cause(), current_key(), asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._arrived.set()
        return cast(R, await waiting.answer)

    async def run(self) -> None:
        """Carry out commands as they arrive, until cancelled. Then fail those that still wait with Stopped."""
        self._stopped = False
        try:
            while True:
                await self._arrived.wait()
                await self.carry_out_waiting()
                self._arrived.clear()
        finally:
            self.end()

    def end(self) -> None:
        """Fail all waiting and all later commands with Stopped.

        Call it if `run` was cancelled before it started: then it cannot do so itself.
        """
        self._stopped = True
        for waiting in (*self._in_hand, *self._waiting):
            _settle(waiting, Stopped(_STOPPED))
        self._waiting.clear()

    async def carry_out_waiting(self) -> None:
        """Carry out all commands that wait."""
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._batch_size))]
            self._in_hand = [waiting for waiting in batch if not waiting.answer.cancelled()]
            if self._in_hand:
                metrics.COMMAND_BATCH_SIZE.observe(len(self._in_hand))
                await self._carry_out(self._in_hand)

    async def _carry_out(self, batch: Sequence[_Waiting]) -> None:
        try:
            answers = await self._as_new(batch)
            self._failed_at = None
        except Exception as error:
            if isinstance(error, TechnicalFault) and not isinstance(error, Conflict | AlreadyWritten):
                self._fault, self._failed_at = str(error), time.monotonic()
            if len(batch) > 1 and isinstance(error, TooMuchAtOnce):
                half = len(batch) // 2
                await self._carry_out(batch[:half])
                await self._carry_out(batch[half:])
                return
            if is_own_failure(error) and (len(batch) > 1 or isinstance(error, Conflict)):
                for waiting in batch:
                    await self._alone(waiting)
                return
            answers = [refusal_behind(error) or error] * len(batch)
        for waiting, answer in zip(batch, answers, strict=True):
            _settle(waiting, answer)

    async def _alone(self, waiting: _Waiting) -> None:
        answer: Reply | Exception
        try:
            (answer,) = await despite_conflicts(lambda: self._together([waiting]))
        except Exception as error:
            answer = refusal_behind(error) or error
        _settle(waiting, answer)

    async def _as_new(self, batch: Sequence[_Waiting]) -> list[Reply | Exception]:
        """Carry out a batch without looking up its idempotency keys, as few are used twice; on failure, with it."""
        try:
            return await self._together(batch, keys_are_new=True)
        except Exception as error:
            too_much = isinstance(error, TooMuchAtOnce)
            if too_much or not is_own_failure(error) or not any(waiting.key for waiting in batch):
                raise
        return await self._together(batch)

    async def _together(self, batch: Sequence[_Waiting], *, keys_are_new: bool = False) -> list[Reply | Exception]:
        """Carry out a batch in one unit of work.

        If a key is not new after all, its reply cannot be stored a second time: that is a Conflict, and nothing is
        written.
        """
        async with self._units.begin(recalling=True) as uow:
            await uow.prefetch(waiting.command for waiting in batch)
            if not keys_are_new:
                await uow.kept_answers.load([waiting.key.id for waiting in batch if waiting.key])
            return [await self._one(uow, waiting, key_is_new=keys_are_new) for waiting in batch]

    async def _one(self, uow: U, waiting: _Waiting, *, key_is_new: bool) -> Reply | Exception:
        reply_type = waiting.command.reply_type()
        handler = self._handlers[type(waiting.command)]
        try:
            with uow.attempt(waiting.cause):
                if waiting.key and not key_is_new and (kept := await uow.kept_answers.find(waiting.key.id)):
                    if kept.body_hash != waiting.key.body_hash:
                        raise IdempotencyKeyReused
                    metrics.REPEATED_REQUESTS.inc()
                    return from_json(reply_type, kept.answer)
                answer = await handler(waiting.command, uow) or Done()
                if waiting.key:
                    await uow.kept_answers.add(self._kept(waiting.key, answer))
                return answer
        except DomainError as error:
            if waiting.key and key_is_new:  # its first execution may be the reason for this refusal
                return await self._one(uow, waiting, key_is_new=False)
            return error

    def _kept(self, key: IdempotencyKey, answer: Reply) -> KeptAnswer:
        return KeptAnswer(id=key.id, body_hash=key.body_hash, answer=Json(to_json(answer)), created_at=self._clock())


def _settle(waiting: _Waiting, answer: Any) -> None:
    if waiting.answer.done():  # cancelled because its client has gone, or answered already
        return
    if isinstance(answer, Exception):
        waiting.answer.set_exception(answer)
    else:
        waiting.answer.set_result(answer)
