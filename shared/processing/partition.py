"""A partition that this process holds: handling its messages, and what is due by the clock.

The position in the stream commits with the effects, so a message's effect and the fact that it was handled can't come
apart. Every commit checks that the lease is still ours: that is the fence (Kleppmann, Designing Data-Intensive
Applications, page 302).
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, TypeVar

import structlog

from shared.core.clock import Clock
from shared.core.context import Cause
from shared.core.errors import Conflict, TookTooLong, TooMuchAtOnce
from shared.core.ids import new_id
from shared.messaging.broker import Mark
from shared.messaging.chain import Chains, Missing
from shared.messaging.envelope import Received
from shared.messaging.inbox import Claim
from shared.messaging.set_aside import SetAside
from shared.processing.dispatcher import Dispatcher, is_own_failure
from shared.unit_of_work.unit_of_work import UnitOfWork, Units

U = TypeVar("U", bound=UnitOfWork)
T = TypeVar("T")
log = structlog.get_logger(__name__)

CONFLICT_TRIES = 4
"""How often work that met a Conflict is tried again before its messages are handled one by one, or set aside."""

_CHECKPOINT_EVERY = timedelta(seconds=1)
_DUE_BATCH = 100
_OVERTIMES = 2


@dataclass(frozen=True, slots=True)
class Lease:
    """Which partition, held by whom, renewed for how long."""

    partition: int
    holder: int
    duration: timedelta


class Overtime:
    """Remembers who, alone, took longer than a transaction may: it ends the connection, and with it the lease.

    Once that can be the surroundings. Twice in a row it counts as a failure of its own.
    """

    def __init__(self) -> None:
        self._id = ""
        self._times = 0
        self._error: TookTooLong | None = None

    def note(self, id_: str, error: TookTooLong) -> None:
        """It took too long once more."""
        self._times = self._times + 1 if id_ == self._id else 1
        self._id = id_
        self._error = error

    def of(self, id_: str) -> TookTooLong | None:
        """Returns, once, why it is not to be tried again now, if it has taken too long twice."""
        if id_ != self._id or self._times < _OVERTIMES:
            return None
        self._times = 0
        return self._error


class HeldPartition(Generic[U]):
    """What is done with a partition while its lease is ours. One thing at a time."""

    def __init__(
        self,
        lease: Lease,
        units: Units[U],
        dispatcher: Dispatcher[U],
        clock: Clock,
        steady: Clock,
        max_parked: int = 10_000,
        overtime: Overtime | None = None,
        chains: Chains | None = None,
        *,
        has_sagas: bool = False,
    ) -> None:
        """`clock` dates what is stored; by `steady` goes what is only waited for here.

        Where the service has sagas, the holder of the first partition wakes them, whatever partition their replies
        come in.
        """
        self._lease = lease
        self._units = units
        self._dispatcher = dispatcher
        self._clock = clock
        self._steady = steady
        self._renewed_at = self._looked_at = steady()
        self._max_parked = max_parked
        self._wakes_sagas = has_sagas and lease.partition == 0
        self._overtime = overtime or Overtime()
        self.chains = chains or Chains("", {})
        self._checkpoint_at: datetime | None = None
        self.crowded = False
        """So many messages wait for an operator that no more should be read: the stream has room for them."""
        self.next_due: datetime | None = steady()
        """When, by the steady clock, a set-aside message or a saga is due; None if none waits."""
        self._assume_new = False
        """Nothing is set aside, which only the holder of a partition does, and since the last look nothing has come
        twice: so neither is looked for."""

    async def handle(self, batch: Sequence[Received]) -> None:
        """Handles a batch and moves the position behind it, in one transaction, or else in several or one by one.

        Raises TechnicalFault when the surroundings fail: nothing was done then.
        """
        if len(batch) > 1:
            try:
                await self._patiently(lambda: self._together(batch))
            except TooMuchAtOnce as error:
                log.info("batch is too much at once: it is divided", size=len(batch), reason=str(error))
                half = len(batch) // 2
                await self.handle(batch[:half])
                await self.handle(batch[half:])
                return
            except Exception as error:
                if not is_own_failure(error):
                    raise
                log.info("batch failed: its messages are handled one by one", size=len(batch), error=repr(error))
            else:
                return
        for received in batch:
            await self._alone(received)

    async def work_due(self) -> None:
        """Retries set-aside messages and wakes sagas that are due; renews the lease when it has not been for long."""
        now = self._steady()
        if now - self._looked_at >= self._lease.duration / 3:
            await self.look_for_due()
        if self.next_due is not None and self.next_due <= now:
            tried, since = 0, self._clock()
            # What is left then is due after the next batch: a crowd must not hold up what comes, or the process's end.
            while tried < _DUE_BATCH and (waiting := await self._due_messages(since)):
                for message in waiting:
                    await self._retry(message)
                tried += len(waiting)
            for id_, correlation_id in await self._due_sagas(since):
                await self._wake(id_, correlation_id)
            await self.look_for_due()
        if now - self._renewed_at >= self._lease.duration / 3:
            await self.renew()

    async def renew(self) -> None:
        """Holds on to the partition; raises LeaseLost."""
        async with self._units.begin() as uow:
            await self._fence(uow, None)

    async def move_to(self, mark: Mark) -> None:
        """Everything up to the mark is of no concern to this service, or is to be handled again from there."""
        async with self._units.begin() as uow:
            await self._fence(uow, mark)

    async def claims(self, message_ids: Sequence[str]) -> Mapping[str, Claim]:
        """Those of the messages that have been handled."""
        async with self._units.begin() as uow:
            return await uow.transaction.inbox.find(message_ids)

    async def handle_again(self, batch: Sequence[Received]) -> None:
        """Handles what came straight from a sender, some of which may have been handled before. The position stays."""
        self._assume_new = False
        await self.handle(batch)

    async def follow(self, sender: str, row: int, missing: Sequence[Missing]) -> None:
        """What the sender has sent up to a row has been handled, but for what can't be got again."""
        heads = {**self.chains.heads, sender: row}
        async with self._units.begin() as uow:
            await uow.transaction.positions.note_missing(missing)
            await self._fence(uow, None, heads)
        self.chains.heads = heads

    async def look_for_due(self) -> None:
        """Finds out what is due next. Others make something due too: an API that starts sagas, an operator."""
        now = self._clock()
        async with self._units.begin() as uow:
            due = [await uow.transaction.waiting_room.next_due(self._lease.partition, uow.policy.messages_due(now))]
            if self._wakes_sagas:
                due.append(await uow.transaction.saga_timers.next_due(uow.policy.sagas_due(now)))
            self.crowded = await uow.transaction.waiting_room.is_crowded(self._max_parked)
            self._assume_new = await uow.transaction.waiting_room.is_empty()
        self._looked_at = self._steady()
        self.next_due = min((self._looked_at + (at - now) for at in due if at is not None), default=None)

    async def _together(self, batch: Sequence[Received]) -> None:
        heads = self.chains.behind(batch)
        async with self._units.begin(recalling=True) as uow:
            await self._dispatcher.handle(uow, batch, self._lease.partition, assume_new=self._assume_new)
            await self._fence(uow, _mark_of(batch[-1]), heads)
            self._expect(uow)
        self.chains.heads = heads

    async def _alone(self, received: Received) -> None:
        error = await self._failure_of(received.row_id, lambda: self._together([received]))
        if error is not None:
            heads = self.chains.behind([received])
            async with self._units.begin() as uow:
                await self._dispatcher.settle_failure(uow, received, error, self._lease.partition)
                await self._fence(uow, _mark_of(received), heads)
                self._expect(uow)
            self.chains.heads = heads

    async def _retry(self, waiting: SetAside) -> None:
        async def once() -> None:
            async with self._units.begin() as uow:
                await self._dispatcher.retry(uow, waiting)
                await self._fence(uow, None)

        error = await self._failure_of(waiting.received.row_id, once)
        if error is not None:
            async with self._units.begin() as uow:
                self._dispatcher.settle_retry(uow, waiting, error)
                await self._fence(uow, None)

    async def _wake(self, saga_id: str, correlation_id: str) -> None:
        async def once() -> None:
            async with self._units.begin() as uow:
                id_ = new_id()
                with uow.attempt(Cause(correlation_id=correlation_id, id=id_, causation_id=id_)):
                    await uow.sagas.wake(saga_id)
                await self._fence(uow, None)

        error = await self._failure_of(saga_id, once)
        if error is not None:
            async with self._units.begin() as uow:
                await uow.sagas.put_off(saga_id, error)
                await self._fence(uow, None)

    async def _failure_of(self, id_: str, work: Callable[[], Awaitable[None]]) -> Exception | None:
        """Does what one message or saga is about, and returns its own failure. Raises faults of the surroundings."""
        if (overtime := self._overtime.of(id_)) is not None:
            return overtime
        try:
            await self._patiently(work)
        except TookTooLong as error:
            self._overtime.note(id_, error)
            raise
        except Exception as error:
            if not is_own_failure(error):
                raise
            return error
        return None

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        """Tries again at once, a few times, what another transaction got in the way of."""
        for tried in range(CONFLICT_TRIES):
            try:
                return await work()
            except Conflict as error:
                log.debug("conflict: tried again", error=str(error))
                self._assume_new = False
                await asyncio.sleep(random.uniform(0, 0.002 * 2**tried))  # noqa: S311 - spreads contenders
        return await work()

    async def _fence(self, uow: U, mark: Mark | None, heads: Mapping[str, int] | None = None) -> None:
        now = self._steady()
        positions = uow.transaction.positions
        changed = None if heads == self.chains.heads else heads
        await positions.advance(self._lease.partition, self._lease.holder, mark, self._lease.duration, changed)
        if mark and (self._checkpoint_at is None or now - self._checkpoint_at >= _CHECKPOINT_EVERY):
            await positions.add_checkpoint(self._lease.partition, mark)
            self._checkpoint_at = now
        self._renewed_at = now

    async def _due_messages(self, now: datetime) -> Sequence[SetAside]:
        async with self._units.begin() as uow:
            due = uow.policy.messages_due(now)
            return await uow.transaction.waiting_room.heads(self._lease.partition, due, _DUE_BATCH)

    async def _due_sagas(self, now: datetime) -> Sequence[tuple[str, str]]:
        if not self._wakes_sagas:
            return []
        async with self._units.begin() as uow:
            return await uow.transaction.saga_timers.due(uow.policy.sagas_due(now), _DUE_BATCH)

    def _expect(self, uow: U) -> None:
        if (at := uow.next_due()) is not None:
            due = self._steady() + (at - self._clock())
            self.next_due = due if self.next_due is None else min(due, self.next_due)
        self._assume_new = self._assume_new and not uow.sets_aside()


def _mark_of(received: Received) -> Mark | None:
    """Where the position is when it has been handled; None for what has no place in the stream."""
    return Mark(received.position, received.row_id, received.received_at) if received.position else None
