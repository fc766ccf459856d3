"""The relay's second task: it answers readers.

A reader that is rebuilt gets all events that the service has stored. A reader that misses messages, because the stream
has lost them, gets those. It works on connections of its own, so that the relay is not delayed. Each reader has one
replay at most: when it asks for another one, the one before is ended.
"""

import asyncio
from collections.abc import AsyncIterable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import structlog

from shared.adapters.nats.connection import NatsAddress, connect
from shared.adapters.nats.publisher import open_publisher
from shared.adapters.nats.replay import answering
from shared.adapters.nats.sent import SentRows, answering_for
from shared.core.backoff import Backoff
from shared.core.errors import TechnicalFault
from shared.core.messages import Event, message_type
from shared.core.service_info import ServiceInfo
from shared.eventsourcing.store import StoredEvent
from shared.messaging.broker import BrokerUnavailable, Publisher
from shared.messaging.replay import ReplayAnswer, ReplayRequest, end_mark, publications
from shared.relay.database import open_database


@dataclass(slots=True)
class _Run:
    request: ReplayRequest
    reason: str = ""
    running: bool = True


class Unpublishable(Exception):
    """The broker will never accept an event, so the replay can't be complete."""


class Replays:
    """Answers for one service. Only the relay that publishes answers: `active` says whether this one does."""

    def __init__(
        self, service: ServiceInfo, database_url: str, address: NatsAddress, active: Callable[[], bool], sent: SentRows
    ) -> None:
        self._service = service.name
        self._application = service.application
        self._sent = sent
        self._url = database_url
        self._address = address
        self._active = active
        self._runs: dict[str, _Run] = {}  # by reader
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._log = structlog.get_logger().bind(relay=service.name)

    async def run(self) -> None:
        """Answer until cancelled; a connection that is lost is opened again."""
        backoff = Backoff(first=0.1, longest=2.0)
        try:
            while True:
                try:
                    async with (
                        connect(self._address) as connection,
                        answering(connection, self._service, self._answer),
                        answering_for(connection, self._service, self._sent),
                    ):
                        backoff.reset()
                        await asyncio.shield(connection.lost)
                except BrokerUnavailable:
                    pass  # the relay logs it already
                await asyncio.sleep(backoff.pause())
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _answer(self, request: ReplayRequest) -> ReplayAnswer | None:
        if not self._active():
            return None
        known = self._runs.get(request.reader)
        if known is not None and known.request.run == request.run:
            return ReplayAnswer(running=known.running, reason=known.reason)
        if not request.types:
            return ReplayAnswer(running=False)
        if unknown := [type_ for type_ in request.types if not self._publishes(type_)]:
            reason = f"the service {self._service} publishes no event called {', '.join(unknown)}"
            return ReplayAnswer(running=False, reason=reason)
        if known is not None:
            self._tasks[request.reader].cancel()
        self._runs[request.reader] = run = _Run(request)
        self._tasks[request.reader] = asyncio.create_task(self._replay(run))
        return ReplayAnswer(running=True)

    def _publishes(self, type_: str) -> bool:
        cls = message_type(type_)
        return cls is not None and issubclass(cls, Event) and cls.is_public and type_.startswith(f"{self._service}.")

    async def _replay(self, run: _Run) -> None:
        """Run one replay. A fault is told to the reader, and must not end the relay."""
        request = run.request
        log = self._log.bind(reader=request.reader, run=request.run)
        log.info("replay begins", types=len(request.types))
        try:
            async with (
                open_database(self._url, self._application) as database,
                connect(self._address) as connection,
                open_publisher(connection, connection.names.replays(request.reader)) as publisher,
            ):
                await database.committed_is_visible()
                async with aclosing(database.stored_events(request.types)) as events:
                    count = await replay(request, events, publisher)
        except Exception as error:
            run.reason = str(error) or type(error).__name__
            expected = isinstance(error, TechnicalFault | Unpublishable)
            log.warning("replay failed", reason=run.reason, exc_info=None if expected else error)
        else:
            log.info("replay ended", events=count)
        finally:
            run.running = False


async def replay(request: ReplayRequest, events: AsyncIterable[Sequence[StoredEvent]], publisher: Publisher) -> int:
    """Publish the events in this order, and the end mark; return how many events there were."""
    count = 0
    async for stored in events:
        messages = list(publications(request, stored, count))
        for each, position in zip(stored, await publisher.publish(messages), strict=True):
            if position is None:
                raise Unpublishable(f"the broker never accepts version {each.version} of {each.aggregate} {each.id}")
        count += len(stored)
    await publisher.publish([end_mark(request, count)])
    return count
