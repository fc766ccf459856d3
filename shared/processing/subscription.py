"""A subscription: takes a partition, reads the stream from its position, and begins anew when anything is lost."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from datetime import timedelta
from typing import Any, Generic, Protocol, TypeVar

import structlog

from shared.core.backoff import Backoff
from shared.core.clock import Clock, SteadyClock, utc_now
from shared.core.errors import TechnicalFault
from shared.messaging.broker import Broker, Feed, LogReader, Mark
from shared.messaging.chain import Chains
from shared.messaging.envelope import Received
from shared.messaging.positions import Positions
from shared.processing.dispatcher import Dispatcher
from shared.processing.gaps import Gaps, Recipient
from shared.processing.partition import HeldPartition, Lease, Overtime
from shared.processing.shares import held_by, new_holder, new_replica, share_of
from shared.telemetry import metrics
from shared.unit_of_work.unit_of_work import Database, UnitOfWork, Units

U = TypeVar("U", bound=UnitOfWork)
log = structlog.get_logger(__name__)

LEASE = timedelta(seconds=4)
"""How long a holder that has stopped keeps a partition."""
BATCH_MESSAGES = 200
"""Messages that share one transaction at most."""
IDLE = timedelta(minutes=10)
"""Silence after which the position moves to the stream's end, lest it fall out of the stream's retention."""

_NOT_CONNECTED = "has not connected yet"
_LONGEST_STAND_BY = 0.5
"""Seconds between two looks whether the partition is free: one that is given back is taken at once."""


class MessagesExpired(TechnicalFault):
    """The stream no longer has what comes next: messages were lost to this service, and an operator has to decide."""


class Sessions(Protocol):
    """Where a subscription gets its own connection to the database from."""

    def session(self, holder: int) -> AbstractAsyncContextManager[Database]:
        """A database on one connection. While it lives, others can see that `holder` is alive."""
        ...


class Subscription(Generic[U]):
    """One service's reading of one partition, for as long as the process runs."""

    def __init__(
        self,
        partition: int,
        routes: Sequence[str],
        *,
        sessions: Sessions,
        broker: Broker,
        units: Callable[[Database], Units[U]],
        dispatcher: Dispatcher[U],
        clock: Clock = utc_now,
        steady: Clock | None = None,
        lease: timedelta = LEASE,
        batch_size: int = BATCH_MESSAGES,
        max_parked: int = 10_000,
        idle: timedelta = IDLE,
        partitions: int = 1,
        replica: int | None = None,
        reader: str = "",
        senders: Sequence[str] = (),
        has_sagas: bool = False,
    ) -> None:
        """Of as many partitions as there are; `replica` is the number that all subscriptions of a process have.

        `clock` dates what is stored; by `steady` goes what is only waited for here.
        `reader` is what relays call this service in their links, and `senders` are those that send to it. Sagas are
        looked for only where the service has some.
        """
        self._partition = partition
        self._routes = routes
        self._sessions = sessions
        self._broker = broker
        self._units = units
        self._dispatcher = dispatcher
        self._clock = clock
        self._steady = steady or SteadyClock()
        self._lease = lease
        self._batch_size = self._at_once = batch_size
        self._max_parked = max_parked
        self._has_sagas = has_sagas
        self._idle = idle
        self._backoff = Backoff(longest=lease.total_seconds())
        self._partitions = partitions
        self._replica = new_replica() if replica is None else replica
        self._recipient = Recipient(reader, partition, frozenset(routes), tuple(senders))
        self._gives_back = False
        self._overtime = Overtime()
        self._stop = asyncio.Event()
        self._interruptible: asyncio.Task[None] | None = None
        self.unavailable: str | None = _NOT_CONNECTED
        """Why nothing is read at the moment; None when all is well."""

    async def run(self) -> None:
        """Reads until `stop`. Whatever is lost on the way is opened anew; one log line tells of each change."""
        while not self._stop.is_set():
            try:
                await self._hold()
            except TechnicalFault as error:
                if self.unavailable == _NOT_CONNECTED:  # at a first start the others may not be there yet
                    log.info("subscription waits", partition=self._partition, reason=str(error))
                elif self.unavailable is None or self._backoff.tries == 0:
                    log.warning("subscription interrupted", partition=self._partition, reason=str(error))
                self.unavailable = str(error)
                metrics.SUBSCRIPTION_INTERRUPTIONS.inc()
                await self._unless_stopped(self._backoff.pause())

    async def stop(self, task: asyncio.Task[None]) -> None:
        """Lets the work in hand finish, then ends `run`, which is `task`."""
        self._stop.set()
        if self._interruptible is not None:
            self._interruptible.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def _hold(self) -> None:
        holder = new_holder(self._replica)
        self._gives_back = False
        lease = Lease(self._partition, holder, self._lease)
        async with self._sessions.session(holder) as database, self._broker.connect() as connection:
            units = self._units(database)
            await self._take(units, lease)
            if self._stop.is_set():
                return
            chains = await self._chains(units)
            held = HeldPartition(
                lease,
                units,
                self._dispatcher,
                self._clock,
                self._steady,
                self._max_parked,
                self._overtime,
                chains,
                has_sagas=self._has_sagas,
            )
            try:
                while not (self._stop.is_set() or self._gives_back):
                    await self._read(connection, units, held)
            finally:
                if self._stop.is_set() or self._gives_back:
                    async with units.begin() as uow:
                        await uow.transaction.positions.release(self._partition, holder)

    async def _chains(self, units: Units[U]) -> Chains:
        async with units.begin() as uow:
            return Chains(self._recipient.reader, await uow.transaction.positions.heads(self._partition))

    async def _take(self, units: Units[U], lease: Lease) -> None:
        while not self._stop.is_set():
            async with units.begin() as uow:
                positions = uow.transaction.positions
                patient = self._partitions > 1 and await self._should_leave_it(positions)
                if await positions.take(self._partition, lease.holder, self._lease, patient=patient):
                    return
            self.unavailable = None  # a replica that stands by is well
            await self._unless_stopped(min(self._lease.total_seconds() / 5, _LONGEST_STAND_BY))

    async def _should_leave_it(self, positions: Positions) -> bool:
        """Whether the partition is free, and this process holds as many as are for it."""
        if not await positions.is_free(self._partition):
            return False
        present = await positions.present(self._lease)
        return len(held_by(self._replica, present)) >= share_of(self._replica, self._partitions, present)

    async def _compare_shares(self, units: Units[U]) -> None:
        """Decides to give the partition back when it's one of those that are beyond the share of this process."""
        if self._partitions == 1:
            return
        async with units.begin() as uow:
            present = await uow.transaction.positions.present(self._lease)
        share = share_of(self._replica, self._partitions, present)
        if self._partition in held_by(self._replica, present)[share:]:
            log.info("subscription gives a partition back", partition=self._partition, share=share)
            self._gives_back = True

    async def _read(self, connection: LogReader, units: Units[U], held: HeldPartition[U]) -> None:
        """Reads on from the position until there has been nothing to read for long."""
        position = await self._verified_position(connection, units, held)
        end = await connection.bounds()
        async with connection.read(self._partition, after=position, filters=self._routes) as feed:
            if feed.pending == 0 and end.last > position and (mark := await connection.message_at(end.last)):
                await held.move_to(mark)
            if self.unavailable is not None:
                log.info("subscription reads", partition=self._partition, position=position)
            self.unavailable = None
            idle_since = compared_at = self._steady()
            gaps = Gaps(self._recipient, connection, held, self._steady, self._batch_size)
            while not (self._stop.is_set() or self._gives_back) and self._steady() - idle_since < self._idle:
                if held.crowded:
                    await self._wait_for_room(held)
                    idle_since = self._steady()
                elif batch := await self._take_from(feed, held):
                    idle_since = self._steady()
                    metrics.BATCH_SIZE.observe(len(batch))
                    while gap := held.chains.gap(batch):
                        await self._handle(batch[: gap.index], held)
                        await gaps.fill(gap)
                        batch = batch[gap.index :]
                    await self._handle(batch, held)
                elif not self._stop.is_set():
                    await gaps.look_for_more()
                await held.work_due()
                if self._steady() - compared_at >= self._lease / 3:
                    await self._compare_shares(units)
                    compared_at = self._steady()
                self._backoff.reset()

    async def _wait_for_room(self, held: HeldPartition[U]) -> None:
        """Until an operator has decided what becomes of those that are parked."""
        if self.unavailable is None:
            self.unavailable = f"{self._max_parked} messages are parked: no more are read until there are fewer"
            log.error("subscription waits for an operator", partition=self._partition, parked=self._max_parked)
        await self._unless_stopped(self._lease.total_seconds() / 3)
        await held.look_for_due()
        if not held.crowded:
            self.unavailable = None

    async def _handle(self, batch: Sequence[Received], held: HeldPartition[U]) -> None:
        """After a fault less is tried at once: it may have been the batch itself that took longer than it may."""
        try:
            await held.handle(batch)
        except TechnicalFault:
            self._at_once = max(1, len(batch) // 2)
            raise
        self._at_once = min(self._batch_size, 2 * self._at_once)

    async def _take_from(self, feed: Feed, held: HeldPartition[U]) -> list[Received]:
        wait = self._lease / 3
        if held.next_due is not None:
            wait = min(wait, max(held.next_due - self._steady(), timedelta(0)))
        received: list[Received] = []

        async def take() -> None:
            received.extend(await feed.take(self._at_once, wait.total_seconds()))

        await self._interrupted_by_stop(take())
        return received

    async def _unless_stopped(self, pause: float) -> None:
        await self._interrupted_by_stop(asyncio.sleep(pause))

    async def _interrupted_by_stop(self, waiting: Coroutine[Any, Any, None]) -> None:
        """Waits, but not longer than until `stop`: what is interrupted is only ever a wait, never work."""
        task = asyncio.current_task()
        if self._stop.is_set() or (task is not None and task.cancelling()):
            waiting.close()
            if not self._stop.is_set():  # asyncio.wait_for, which nats-py uses, can swallow it before Python 3.12
                raise asyncio.CancelledError
            return
        self._interruptible = asyncio.create_task(waiting)
        try:
            await self._interruptible
        except asyncio.CancelledError:
            if not self._stop.is_set():
                raise
        finally:
            self._interruptible = None

    async def _verified_position(self, connection: LogReader, units: Units[U], held: HeldPartition[U]) -> int:
        """The position to read on from: where we were, or, if the broker has lost what we had read, further back."""
        async with units.begin() as uow:
            mark = await uow.transaction.positions.get(self._partition)
            checkpoints = await uow.transaction.positions.checkpoints(self._partition)
        if mark is None:
            return 0
        if await connection.message_at(mark.position) == mark:
            return mark.position
        bounds = await connection.bounds()  # asked for afterwards: the message may have expired just before
        if mark.position < bounds.first - 1 and held.chains.heads:
            # Their links tell what is missing, and their senders may still have it.
            log.error("the stream has lost its first messages", position=mark.position, first=bounds.first)
            return mark.position
        if mark.position < bounds.first - 1:
            metrics.EXPIRED.inc()
            raise MessagesExpired(f"position {mark.position} is older than the stream's first message {bounds.first}")
        if mark.position == bounds.first - 1:
            return mark.position
        metrics.BROKER_LOST_TAIL.inc()
        for checkpoint in checkpoints:
            if checkpoint.position <= bounds.last and await connection.message_at(checkpoint.position) == checkpoint:
                log.error("the broker has lost messages", position=mark.position, back_to=checkpoint.position)
                await held.move_to(checkpoint)
                return checkpoint.position
        log.error("the broker has lost its messages", position=mark.position, back_to=bounds.first - 1)
        await held.move_to(Mark(bounds.first - 1, "", self._clock()))
        return bounds.first - 1
