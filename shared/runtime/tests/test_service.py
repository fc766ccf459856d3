"""A service's life from start to end, also when something in it fails."""

import asyncio
import signal
from collections.abc import Iterator
from threading import Event
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy.exc import OperationalError

from shared.releases import WrongRelease
from shared.runtime.service import Service


class Part:
    """Stands in for whatever runs in a service; `events` says what became of all of them."""

    def __init__(self, name: str, events: list[str], error: Exception | None = None) -> None:
        self.name, self.events, self.error = name, events, error
        self.unavailable: str | None = None
        self._stop = asyncio.Event()

    async def run(self) -> None:
        self.events.append(f"{self.name} runs")
        try:
            if self.error is not None:
                raise self.error
            await self._stop.wait()
        except asyncio.CancelledError:
            self.events.append(f"{self.name} is cancelled")
            raise

    async def stop(self, task: asyncio.Task[None]) -> None:
        self._stop.set()
        await task
        self.events.append(f"{self.name} has stopped")

    def end(self) -> None:
        self.events.append(f"{self.name} has ended")

    async def close(self) -> None:
        self.events.append(f"{self.name} is closed")


class World:
    """A service of such parts."""

    def __init__(self, **errors: Any) -> None:
        self.events: list[str] = []
        self.migrations = iter(errors.pop("migrations", [None]))

        def part(name: str) -> Any:
            return Part(name, self.events, errors.get(name))

        self.subscriptions = [part("first"), part("second")]
        self.service = Service(
            migrate=self.migrate,
            database=part("database"),
            broker=part("broker"),
            commands=part("commands"),
            subscriptions=self.subscriptions,
            housekeeping=part("housekeeping"),
            shutdown_seconds=10,
        )

    def migrate(self) -> None:
        error = next(self.migrations)
        if error is not None:
            raise error
        self.events.append("migrated")

    async def started(self) -> None:
        while "second runs" not in self.events:
            await asyncio.sleep(0.001)


@pytest.fixture
def terminations() -> Iterator[list[int]]:
    """How often the process was told to end."""
    found: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: found.append(number))
    yield found
    signal.signal(signal.SIGTERM, before)


async def test_it_migrates_first_and_ends_in_good_order(terminations: list[int]) -> None:
    world = World()
    async with world.service.lifespan(FastAPI()):
        await world.started()
    assert world.events[0] == "migrated"
    assert world.events[-1] == "database is closed"
    # Subscriptions may still need the API's connections: what they have in hand comes first.
    order = [world.events.index(event) for event in ("first has stopped", "commands is cancelled")]
    assert order == sorted(order)
    assert {"second has stopped", "housekeeping is cancelled"} <= set(world.events)
    assert terminations == []


async def test_it_waits_for_postgresql(terminations: list[int]) -> None:
    away = OperationalError("connect", None, Exception("no server"))
    world = World(migrations=[away, None])
    assert await world.service.reasons() == ["PostgreSQL: the migrations have not been applied yet"]
    async with world.service.lifespan(FastAPI()):
        await world.started()
    assert terminations == []


async def test_it_waits_while_its_release_must_not_work_on_the_data_and_says_so(terminations: list[int]) -> None:
    stopped = Event()

    def migrations() -> Iterator[Exception | None]:
        while not stopped.is_set():
            yield WrongRelease("an older one still runs")
        yield None

    world = World(migrations=migrations())
    async with world.service.lifespan(FastAPI()):
        while await world.service.reasons() != ["an older one still runs"]:
            await asyncio.sleep(0.01)
        assert world.events == []
        stopped.set()
        await world.started()
    assert terminations == []


@pytest.mark.parametrize("broken", ["first", "commands", "housekeeping"])
async def test_a_bug_in_one_part_ends_the_process_and_the_others_in_good_order(
    broken: str, terminations: list[int]
) -> None:
    world = World(**{broken: ValueError("bug")})
    async with world.service.lifespan(FastAPI()):
        await world.started()
        while not terminations:
            await asyncio.sleep(0.001)
    assert "second has stopped" in world.events
    assert world.events[-1] == "database is closed"
    assert terminations == [signal.SIGTERM]


async def test_a_migration_that_fails_ends_the_process(terminations: list[int]) -> None:
    world = World(migrations=[ValueError("no such revision")])
    async with world.service.lifespan(FastAPI()):
        while not terminations:
            await asyncio.sleep(0.001)
    assert world.events == ["commands has ended", "database is closed"]


async def test_it_can_be_stopped_before_it_has_started(terminations: list[int]) -> None:
    world = World(migrations=[OperationalError("connect", None, Exception("no server"))] * 100)
    async with world.service.lifespan(FastAPI()):
        pass
    assert world.events == ["commands has ended", "database is closed"]
    assert terminations == []
