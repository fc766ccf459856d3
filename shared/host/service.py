"""A service as a process: its API, its subscriptions and its housekeeping, from start to a clean end."""

import asyncio
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import structlog
from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from shared.adapters.postgres.database import PostgresDatabase
from shared.adapters.postgres.errors import translated_errors
from shared.core.backoff import Backoff
from shared.core.errors import TechnicalFault
from shared.core.releases import WrongRelease
from shared.core.tasks import Tasks
from shared.host.housekeeping import Housekeeping
from shared.messaging.broker import Broker
from shared.processing.command_queue import CommandQueue
from shared.processing.subscription import Subscription
from shared.web.gate import Gate
from shared.web.server import Server

log = structlog.get_logger(__name__)

_CHECKED_FOR_SECONDS = 1.0
"""How long an answer of /readyz is used again: probes may come often."""


class Service:
    """What runs behind the API."""

    def __init__(
        self,
        *,
        migrate: Callable[[], None],
        database: PostgresDatabase,
        broker: Broker,
        commands: CommandQueue[Any],
        subscriptions: Sequence[Subscription[Any]],
        housekeeping: Housekeeping,
        shutdown_seconds: float,
    ) -> None:
        self._migrate = migrate
        self._database = database
        self._broker = broker
        self._commands = commands
        self._subscriptions = subscriptions
        self._housekeeping = housekeeping
        self._shutdown_seconds = shutdown_seconds
        self._migrated = False
        self._not_migrated = "PostgreSQL: the migrations have not been applied yet"
        self._checked_at = 0.0
        self._reasons: list[str] = []
        self.tasks = Tasks()
        self._working: list[asyncio.Task[None]] = []
        self._reading: list[tuple[Subscription[Any], asyncio.Task[None]]] = []
        self._stopping: list[asyncio.Task[None]] | None = None
        self._drained_at = 0.0

    @asynccontextmanager
    async def lifespan(self, _app: FastAPI) -> AsyncIterator[None]:
        """Work while the web server runs. It starts at once; /readyz tells when it is ready."""
        living = self.tasks.start("the service", self._live())
        try:
            yield
        finally:
            # A task that has failed has logged why. It must not keep the others from ending in good order.
            living.cancel()
            await asyncio.gather(living, return_exceptions=True)
            await self._end_reading()
            for task in self._working:
                task.cancel()
            await asyncio.gather(*self._working, return_exceptions=True)
            self._commands.end()
            await self._database.close()
            log.info("stopped")

    def drain(self) -> None:
        """Prepare for the end: /readyz says so, and replicas take over the partitions. The API goes on."""
        if self._stopping is None:
            self.tasks.stopping()
            self._drained_at = time.monotonic()
            self._stopping = [asyncio.create_task(each.stop(task)) for each, task in self._reading]

    async def reasons(self) -> list[str]:
        """Return why the service can't work; empty when it can."""
        if self.tasks.failure is not None:
            return [self.tasks.failure]
        if self._stopping is not None:
            return ["the service is stopping"]
        if time.monotonic() - self._checked_at > _CHECKED_FOR_SECONDS:
            self._reasons = [reason async for reason in self._check()]
            self._checked_at = time.monotonic()
        return self._reasons

    async def measure(self) -> None:
        """Set the metrics of what waits in the database, as far as it can be read now."""
        if self._migrated:
            try:
                async with asyncio.timeout(2):
                    await self._housekeeping.measure()
            except (TechnicalFault, TimeoutError) as error:
                log.info("what waits for an operator could not be counted", error=str(error))

    async def _end_reading(self) -> None:
        """Finish the messages in hand, within a time limit: PostgreSQL may not answer."""
        self.drain()
        if self._stopping:
            remaining = self._drained_at + self._shutdown_seconds - time.monotonic()
            _, late = await asyncio.wait(self._stopping, timeout=max(remaining, 1.0))
            for task in late:
                task.cancel()
        for _, task in self._reading:
            task.cancel()
        await asyncio.gather(*(self._stopping or ()), *(task for _, task in self._reading), return_exceptions=True)

    async def _live(self) -> None:
        await self._migrate_when_possible()
        self._migrated = True
        self._working = [
            self.tasks.start("commands", self._commands.run()),
            self.tasks.start("housekeeping", self._housekeeping.run()),
        ]
        self._reading = [
            (subscription, self.tasks.start(f"subscription {number}", subscription.run()))
            for number, subscription in enumerate(self._subscriptions)
        ]
        log.info("started")
        await asyncio.Event().wait()

    async def _migrate_when_possible(self) -> None:
        backoff = Backoff(first=0.2, longest=3)
        while True:
            try:
                await asyncio.to_thread(self._migrate)
                return
            except WrongRelease as error:
                # Not the end: what is in the way may be stopped, or brought back, while this waits.
                if self._not_migrated != str(error):
                    log.error("this release can't work on the data", reason=str(error))
                self._not_migrated = str(error)
                await asyncio.sleep(backoff.pause())
            except OperationalError as error:
                if backoff.tries == 0:
                    log.info("waiting for PostgreSQL", reason=str(error.orig).strip().partition("\n")[0])
                await asyncio.sleep(backoff.pause())

    async def _check(self) -> AsyncIterator[str]:
        if not self._migrated:
            yield self._not_migrated
            return
        try:
            with translated_errors():
                async with asyncio.timeout(2), self._database.engine.connect() as connection:
                    await connection.execute(text("select 1"))
        except TechnicalFault as error:
            yield str(error)
        if self._commands.failing is not None:
            yield f"commands: {self._commands.failing}"
        for subscription in self._subscriptions:
            if subscription.unavailable is not None:
                yield f"subscription: {subscription.unavailable}"
        if not self._subscriptions:
            try:
                async with asyncio.timeout(2), self._broker.connect():
                    pass
            except (TechnicalFault, TimeoutError) as error:
                yield f"NATS: {error}"


async def serve(
    api: tuple[Server, socket.socket],
    admin: tuple[Server, socket.socket] | None,
    service: Service,
    gate: Gate,
    drain_seconds: float,
    shutdown_seconds: float,
) -> int:
    """Serve until SIGTERM or SIGINT, or until a task fails. Return the process's exit status.

    At the end /readyz says so at once, and requests that have begun are answered.
    """
    tasks = service.tasks
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, tasks.ended.set)
    servers = [each for each in (admin, api) if each is not None]
    serving = [
        tasks.start(f"the server on port {listener.getsockname()[1]}", server.serve(sockets=[listener]))
        for server, listener in servers
    ]
    await tasks.ended.wait()
    service.drain()
    gate.leaving = True
    await asyncio.sleep(drain_seconds)
    try:
        async with asyncio.timeout(shutdown_seconds):
            await gate.close()
    except TimeoutError:
        log.warning("requests took too long and were cut off", seconds=shutdown_seconds)
    for (server, _), task in zip(servers, serving, strict=True):  # the API's end closes the database, so it comes last
        server.should_exit = True
        await asyncio.wait([task])
    return 0 if tasks.failure is None else 1
