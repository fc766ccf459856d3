"""A service as a process: its API, its subscriptions and its housekeeping, from start to a clean end."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from types import FrameType
from typing import Any

import structlog
import uvicorn
from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from shared.adapters.postgres.database import PostgresDatabase
from shared.adapters.postgres.errors import translated_errors
from shared.core.backoff import Backoff
from shared.core.errors import TechnicalFault
from shared.messaging.broker import Broker
from shared.messaging.commands import Commands
from shared.messaging.subscription import Subscription
from shared.runtime.housekeeping import Housekeeping

log = structlog.get_logger(__name__)

_CHECKED_FOR_SECONDS = 1.0
"""How long an answer of /readyz stands: probes may come often."""


class Service:
    """What runs behind the API."""

    def __init__(
        self,
        *,
        migrate: Callable[[], None],
        database: PostgresDatabase,
        broker: Broker,
        commands: Commands[Any],
        subscriptions: Sequence[Subscription[Any]],
        housekeeping: Housekeeping,
    ) -> None:
        self._migrate = migrate
        self._database = database
        self._broker = broker
        self._commands = commands
        self._subscriptions = subscriptions
        self._housekeeping = housekeeping
        self._migrated = False
        self._checked_at = 0.0
        self._reasons: list[str] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._reading: list[tuple[Subscription[Any], asyncio.Task[None]]] = []

    @asynccontextmanager
    async def lifespan(self, _app: FastAPI) -> AsyncIterator[None]:
        """Works as long as the web server runs: it starts at once and says by /readyz when it is ready."""
        starting = self._spawn(self._start())
        try:
            yield
        finally:
            # What has failed has said so already: it must not keep the rest from ending in good order.
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            stopping = (subscription.stop(task) for subscription, task in self._reading)
            await asyncio.gather(*stopping, return_exceptions=True)
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._database.close()
            log.info("stopped")

    async def reasons(self) -> list[str]:
        """Why it can't work; empty when it can."""
        if time.monotonic() - self._checked_at > _CHECKED_FOR_SECONDS:
            self._reasons = [reason async for reason in self._check()]
            self._checked_at = time.monotonic()
        return self._reasons

    async def _start(self) -> None:
        await self._migrate_when_possible()
        self._migrated = True
        self._tasks += [self._spawn(self._commands.run()), self._spawn(self._housekeeping.run())]
        self._reading = [(subscription, self._spawn(subscription.run())) for subscription in self._subscriptions]
        log.info("started")

    async def _migrate_when_possible(self) -> None:
        backoff = Backoff(first=0.2, longest=3)
        while True:
            try:
                await asyncio.to_thread(self._migrate)
                return
            except OperationalError as error:
                if backoff.tries == 0:
                    log.warning("waiting for PostgreSQL", reason=str(error.orig).strip().partition("\n")[0])
                await asyncio.sleep(backoff.pause())

    async def _check(self) -> AsyncIterator[str]:
        if not self._migrated:
            yield "PostgreSQL: the migrations have not been applied yet"
            return
        try:
            with translated_errors():
                async with asyncio.timeout(2), self._database.engine.connect() as connection:
                    await connection.execute(text("select 1"))
        except TechnicalFault as error:
            yield str(error)
        for subscription in self._subscriptions:
            if subscription.unavailable is not None:
                yield f"subscription: {subscription.unavailable}"
        if not self._subscriptions:
            try:
                async with asyncio.timeout(2), self._broker.connect():
                    pass
            except (TechnicalFault, TimeoutError) as error:
                yield f"NATS: {error}"

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        task.add_done_callback(_end_the_process_on_a_bug)
        return task


def serve(app: FastAPI, host: str, port: int, shutdown_seconds: float) -> None:
    """Serves until SIGTERM or SIGINT, then answers what is under way and ends with exit code 0."""
    # uvicorn catches the signals, ends in good order, and raises them again for whoever waits here: nobody does.
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, _exit)
    uvicorn.run(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http="httptools",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,  # longer than the pools of clients keep a connection
        timeout_graceful_shutdown=int(shutdown_seconds),
    )


def _exit(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def _end_the_process_on_a_bug(task: asyncio.Task[None]) -> None:
    """Nothing that a task does not handle itself is to be passed over: the supervisor starts the process again."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("a background task failed: the process ends", exc_info=error)
        signal.raise_signal(signal.SIGTERM)
