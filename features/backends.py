"""What the scenarios run on: the whole system in this process, or one that is reached over HTTP."""

import asyncio
import os
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Protocol

import httpx
import psycopg2

from kitchen.domain.restaurant import Restaurant
from kitchen.domain.ticket import Ticket
from order_history.history import OrderRecord
from shared.adapters.memory.database import MemoryDatabase
from shared.core.messages import Event
from shared.core.serialization import decode_message
from shared.eventsourcing.store import StoredEvent
from shared.messaging.envelope import Received
from shared.messaging.outbox import event_envelope
from shared.testing.system import MemorySystem
from tests.support.processes import ROOT, RunningSystem

DEADLINE_SECONDS = 20.0
_POLL_SECONDS = 0.02
_MISLAID = "Mislaid"


class Backend(Protocol):
    """A system, and how long it takes to do what follows from a request.

    `patience` is for how many seconds a condition may still come true. With `shared` there are traces of other
    scenarios in the system: whoever leaves a courier on duty there stands in their way.
    """

    patience: float
    shared: bool

    def now(self) -> datetime:
        """Return the system's time."""

    def client(self, service: str) -> httpx.AsyncClient:
        """Return a client of the service's HTTP API."""

    def time_passes(self) -> None:
        """Let time pass, so that the next thing does not happen at the same moment."""

    async def settle(self) -> None:
        """Give messages time to travel."""

    def away(self, service: str) -> None:
        """Stop the service until `back` is called."""

    def back(self, service: str) -> None:
        """Start the service again: it handles what has come in meanwhile."""

    def lose_restaurant(self, id_: str) -> None:
        """Delete the kitchen service's copy of a restaurant: no request could make it refuse an order otherwise."""

    def mislay_ticket(self, id_: str) -> None:
        """Hide a ticket from the kitchen service until `find_ticket`: requests about it are refused."""

    def find_ticket(self, id_: str) -> None:
        """Put the hidden ticket back."""

    def lose_history(self) -> None:
        """Delete all orders from the order history."""

    async def rebuild_history(self) -> None:
        """Rebuild the order history from what its owners have stored: `./ftgo rebuild order_history`."""


class MemoryBackend:
    """All services in this process, in memory. Messages travel when they are told to, all of them, so nothing that has
    not come true by then ever will."""

    patience = 0.0
    shared = False

    def __init__(self, system: MemorySystem) -> None:
        self._system = system

    def now(self) -> datetime:
        """Return the system's time."""
        return self._system.clock.now

    def client(self, service: str) -> httpx.AsyncClient:
        """Return a client of the service's HTTP API."""
        assert service not in self._system.away, f"the {service} service is away: the scenario can't talk to it"
        return self._system.client(service)

    def time_passes(self) -> None:
        """Let time pass, so that the next thing does not happen at the same moment."""
        self._system.clock.advance(timedelta(milliseconds=1))

    async def settle(self) -> None:
        """Let messages travel and time pass, so that missing news arrives and failed steps are retried."""
        await self._system.settle(patience=timedelta(seconds=10))

    def away(self, service: str) -> None:
        """Stop the service until `back` is called."""
        self._system.away.add(service)

    def back(self, service: str) -> None:
        """Start the service again: it handles what has come in meanwhile."""
        self._system.away.remove(service)

    def lose_restaurant(self, id_: str) -> None:
        """Delete the kitchen service's copy of a restaurant."""
        del self._system.services["kitchen"].database.tables[Restaurant][id_]

    def mislay_ticket(self, id_: str) -> None:
        """Hide the ticket from the kitchen service until `find_ticket`."""
        events = self._system.services["kitchen"].database.events
        events[_MISLAID, id_] = events.pop((Ticket.aggregate_name, id_))

    def find_ticket(self, id_: str) -> None:
        """Put the hidden ticket back."""
        events = self._system.services["kitchen"].database.events
        events[Ticket.aggregate_name, id_] = events.pop((_MISLAID, id_))

    def lose_history(self) -> None:
        """Delete all orders from the order history."""
        self._system.services["order_history"].database.tables[OrderRecord].clear()

    async def rebuild_history(self) -> None:
        """Play the relays' part: the service's own handlers make the rows from what is sent again."""
        history = self._system.services["order_history"]
        handlers = history.container.handlers()
        replayed = [
            _as_received(stored, event)
            for owner in ("order", "delivery")
            for events in self._system.services[owner].database.events.values()
            for stored in events
            if isinstance(event := decode_message(stored.type, stored.data, stored.metadata.schema), Event)
            and type(event) in handlers
        ]
        fresh = MemoryDatabase("order_history", self._system.clock)
        async with history.container.units().on(fresh).begin() as uow:
            await history.container.dispatcher().handle(uow, replayed, 0)
        history.database.tables[OrderRecord] = fresh.tables[OrderRecord]


class HttpBackend:
    """A running system. Only one that we have started ourselves can be interfered with."""

    patience = DEADLINE_SECONDS
    shared = True

    def __init__(self, urls: Mapping[str, str], system: RunningSystem | None = None) -> None:
        self._system = system
        self._clients = {
            name: httpx.AsyncClient(base_url=url, trust_env=False, timeout=DEADLINE_SECONDS)
            for name, url in urls.items()
        }

    def now(self) -> datetime:
        """Return the system's time."""
        return datetime.now(UTC)

    def client(self, service: str) -> httpx.AsyncClient:
        """Return a client of the service's HTTP API."""
        return self._clients[service]

    def time_passes(self) -> None:
        """Nothing to do: real time passes by itself."""

    async def settle(self) -> None:
        """Wait a moment: messages travel by themselves here."""
        await asyncio.sleep(_POLL_SECONDS)

    def away(self, service: str) -> None:
        """Stop the service until `back` is called."""
        assert self._system is not None, "a system of somebody else is not ours to stop"
        self._system.pause(service)

    def back(self, service: str) -> None:
        """Start the service again: it handles what has come in meanwhile."""
        assert self._system is not None
        self._system.resume(service)

    def lose_restaurant(self, id_: str) -> None:
        """Delete the kitchen service's copy of a restaurant."""
        self._in_the_kitchen("delete from restaurants where id = %s", id_)

    def mislay_ticket(self, id_: str) -> None:
        """Hide the ticket from the kitchen service until `find_ticket`."""
        self._in_the_kitchen("update events set aggregate = %s where id = %s", _MISLAID, id_)

    def find_ticket(self, id_: str) -> None:
        """Put the hidden ticket back."""
        self._in_the_kitchen("update events set aggregate = %s where id = %s", Ticket.aggregate_name, id_)

    def lose_history(self) -> None:
        """Delete all orders from the order history."""
        self._in("order_history", "delete from orders")

    async def rebuild_history(self) -> None:
        """Rebuild the order history from what its owners have stored."""
        assert self._system is not None, "a system of somebody else is not ours to rebuild"
        settings = self._system.settings_of("order_history")
        rebuild = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "order_history.rebuild",
            env={**os.environ, **settings}, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await rebuild.communicate()
        assert rebuild.returncode == 0, output.decode()

    def _in_the_kitchen(self, statement: str, *values: str) -> None:
        self._in("kitchen", statement, *values)

    def _in(self, service: str, statement: str, *values: str) -> None:
        assert self._system is not None, "a system of somebody else is not ours to break"
        with closing(psycopg2.connect(self._system.databases[service].migrations_url)) as connection, connection:
            connection.cursor().execute(statement, values)

    async def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            await client.aclose()


def _as_received(stored: StoredEvent, event: Event) -> Received:
    envelope = event_envelope(stored, event, None)
    return Received(
        position=0, row_id=envelope.id, received_at=envelope.time, headers=envelope.to_headers(), data=envelope.data
    )


def give_up_at(backend: Backend) -> float:
    """Return the time after which a condition that is still not true counts as false."""
    return time.monotonic() + backend.patience
