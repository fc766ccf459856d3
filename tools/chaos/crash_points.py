"""Crash points, at which a process is killed or stopped: `python -m tools.chaos.crash_points order`.

It runs a service or the relay as `python -m order` would, but with wrapped ports. At each crash point a wrapper checks
whether the process was told to end there. So the product needs no hooks. `arm` writes that to a file, and the process
that reaches the point removes the file.
"""

import importlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from dependency_injector import providers
from sqlalchemy import event
from sqlalchemy.engine import Engine

from shared.messaging.broker import Publication
from shared.messaging.inbox import Claim
from shared.saga.instance import SagaInstance
from shared.saga.machine import Phase

MODULE = "tools.chaos.crash_points"
VARIABLE = "FTGO_CHAOS_ORDERS"

AFTER_COMMIT = "after commit, before the answer"
WRITING = "before commit"
IN_BATCH = "in the middle of a batch"
COMPENSATING = "while compensating"
MIGRATING = "while migrating"
AFTER_PUBLISH = "after publishing, before confirming"

Reached = Callable[[str], None]


def orders_file(folder: Path, part: str) -> Path:
    """The file that tells a part at which crash point it is to end, and by which signal."""
    return folder / "orders" / part


def arm(folder: Path, part: str, point: str, number: signal.Signals = signal.SIGKILL) -> None:
    """Have a part send itself a signal the next time it reaches a crash point, once."""
    file = orders_file(folder, part)
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(".new")
    unfinished.write_text(f"{number.name} {point}")
    unfinished.replace(file)


def disarm(folder: Path, part: str) -> bool:
    """Undo `arm`; returns whether the part was still armed."""
    try:
        orders_file(folder, part).unlink()
    except FileNotFoundError:
        return False
    return True


def is_armed(folder: Path, part: str) -> bool:
    """Whether a part is armed and has not reached its crash point yet."""
    return orders_file(folder, part).exists()


def obey(file: Path, point: str) -> None:
    """Send this process the signal that the file names, if it names this crash point."""
    with suppress(FileNotFoundError):
        name, _, where = file.read_text().partition(" ")
        if where == point:
            file.unlink()
            os.kill(os.getpid(), signal.Signals[name])


class _Wrapped:
    """A wrapper that passes on to the wrapped object every attribute that it does not define itself."""

    def __init__(self, wrapped: Any, reached: Reached) -> None:
        self._wrapped = wrapped
        self._reached = reached

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)


class _Database(_Wrapped):
    """A database whose transactions report the crash points that they reach."""

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        async with self._wrapped.transaction() as wrapped:
            transaction = _Transaction(wrapped, self._reached)
            yield transaction
            if transaction.has_sent or transaction.points:
                await transaction.flush()  # otherwise it is sent with the commit, and the process can't end in between
            if transaction.has_sent:
                self._reached(WRITING)
        if transaction.has_sent:
            self._reached(AFTER_COMMIT)

    @asynccontextmanager
    async def session(self, holder: int) -> AsyncIterator[Any]:
        async with self._wrapped.session(holder) as database:
            yield _Database(database, self._reached)


class _Transaction(_Wrapped):
    """A transaction. `points` are the crash points that it reaches when its writes have been sent to the database."""

    def __init__(self, wrapped: Any, reached: Reached) -> None:
        super().__init__(wrapped, reached)
        self.points: set[str] = set()
        self.has_sent = False
        self.inbox = _Inbox(wrapped.inbox, self)
        self.outbox = _Outbox(wrapped.outbox, self)

    def rows(self, cls: type[Any]) -> Any:
        rows = self._wrapped.rows(cls)
        return _Sagas(rows, self) if cls is SagaInstance else rows

    async def flush(self) -> None:
        await self._wrapped.flush()
        points, self.points = self.points, set()
        for point in points:
            self._reached(point)


class _Store(_Wrapped):
    def __init__(self, wrapped: Any, transaction: _Transaction) -> None:
        super().__init__(wrapped, transaction._reached)
        self._transaction = transaction


class _Inbox(_Store):
    async def add(self, claims: Sequence[Claim]) -> None:
        if len(claims) > 1:
            self._transaction.points.add(IN_BATCH)
        await self._wrapped.add(claims)


class _Outbox(_Store):
    async def add(self, messages: Sequence[Any]) -> None:
        self._transaction.has_sent = True
        await self._wrapped.add(messages)


class _Sagas(_Store):
    async def update(self, rows: Sequence[tuple[SagaInstance, int]]) -> None:
        if any(saga.phase is Phase.UNDOING for saga, _ in rows):
            self._transaction.points.add(COMPENSATING)
        await self._wrapped.update(rows)


class _Broker(_Wrapped):
    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Any]:
        async with self._wrapped.connect() as connection:
            yield _BrokerConnection(connection, self._reached)


class _BrokerConnection(_Wrapped):
    async def publish(self, messages: Sequence[Publication]) -> list[int | None]:
        positions: list[int | None] = await self._wrapped.publish(messages)
        if messages:
            self._reached(AFTER_PUBLISH)
        return positions


def wrapped_database(database: Any, reached: Reached) -> Any:
    """A database whose users report when they reach a crash point."""
    return _Database(database, reached)


def wrapped_broker(broker: Any, reached: Reached) -> Any:
    """A broker whose users report when they reach a crash point."""
    return _Broker(broker, reached)


def _run_service(name: str, reached: Reached) -> NoReturn:
    from shared.host.container import run

    def before(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.lstrip().startswith("create table inbox"):
            reached(MIGRATING)

    event.listen(Engine, "before_cursor_execute", before)
    container = importlib.import_module(f"{name}.main").container()
    database = container.database()
    container.database.override(providers.Object(wrapped_database(database, reached)))
    run(container)


def _run_relay(services: Sequence[str], reached: Reached) -> int:
    from cdc.main import main
    from shared.host.relays import RelayContainer

    def make_broker(*arguments: Any) -> Any:
        return wrapped_broker(original(*arguments), reached)

    original = RelayContainer.broker.cls
    RelayContainer.broker.set_provides(make_broker)
    return main(services)


def run(arguments: Sequence[str]) -> int:
    """Run the module named first, with the arguments that follow; returns the exit code."""
    reached = partial(obey, Path(os.environ[VARIABLE]))
    module, *rest = arguments
    return _run_relay(rest, reached) if module == "cdc" else _run_service(module, reached)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
