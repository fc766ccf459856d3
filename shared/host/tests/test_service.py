"""A service's life from start to end, also when something in it fails."""

import asyncio
import signal
from collections.abc import Iterator
from threading import Event
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy.exc import OperationalError

from shared.core.releases import WrongRelease
from shared.host.service import Service, serve
from shared.web.gate import Gate
from shared.web.server import Server, listening


class Part:
    """Stands in for whatever runs in a service; `events` says what became of all of them."""

    def __init__(self, name: str, events: list[str], error: BaseException | None = None) -> None:
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

    def returns(self) -> None:
        self._stop.set()

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


async def test_it_migrates_first_and_ends_in_good_order() -> None:
    world = World()
    async with world.service.lifespan(FastAPI()):
        await world.started()
        world.service.drain()
    assert world.events[0] == "migrated"
    assert world.events[-1] == "database is closed"
    # Subscriptions may still need the API's connections: what they have in hand comes first.
    order = [world.events.index(event) for event in ("first has stopped", "commands is cancelled")]
    assert order == sorted(order)
    assert {"second has stopped", "housekeeping is cancelled"} <= set(world.events)
    assert world.service.tasks.failure is None


async def test_it_waits_for_postgresql() -> None:
    away = OperationalError("connect", None, Exception("no server"))
    world = World(migrations=[away, None])
    assert await world.service.reasons() == ["PostgreSQL: the migrations have not been applied yet"]
    async with world.service.lifespan(FastAPI()):
        await world.started()
        world.service.drain()
    assert world.service.tasks.failure is None


async def test_it_waits_while_its_release_must_not_work_on_the_data_and_says_so() -> None:
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
        world.service.drain()
    assert world.service.tasks.failure is None


@pytest.mark.parametrize("broken", ["first", "second", "commands", "housekeeping"])
@pytest.mark.parametrize(
    ("error", "reason"),
    [(ValueError("bug"), "bug"), (OSError(28, "No space left"), "No space left"), (asyncio.CancelledError(), "cancel")],
    ids=["bug", "full disk", "astray"],
)
async def test_a_part_that_ends_makes_the_service_unready_and_ends_the_others_in_good_order(
    broken: str, error: BaseException, reason: str
) -> None:
    world = World(**{broken: error})
    async with world.service.lifespan(FastAPI()):
        await world.service.tasks.ended.wait()
        [said] = await world.service.reasons()
        assert reason in said
        world.service.drain()
        assert await world.service.reasons() == [said]
    assert {"first has stopped", "second has stopped"} - {f"{broken} has stopped"} <= set(world.events)
    assert world.events[-1] == "database is closed"


async def test_a_part_that_returns_has_failed_too() -> None:
    world = World()
    async with world.service.lifespan(FastAPI()):
        await world.started()
        world.subscriptions[1].returns()
        await world.service.tasks.ended.wait()
        assert await world.service.reasons() == ["subscription 1 has ended: it returned"]


async def test_a_migration_that_fails_ends_the_process() -> None:
    world = World(migrations=[ValueError("no such revision")])
    async with world.service.lifespan(FastAPI()):
        await world.service.tasks.ended.wait()
    assert world.service.tasks.failure == "the service has ended: no such revision"
    assert world.events == ["commands has ended", "database is closed"]


@pytest.mark.parametrize("broken", [None, "first", "commands", "api", "admin"])
async def test_the_process_exits_with_0_when_it_was_told_to_end_and_with_1_after_a_failure(broken: str | None) -> None:
    world = World(**{broken: ValueError("bug")} if broken in ("first", "commands") else {})
    with listening("127.0.0.1", 0) as one, listening("127.0.0.1", 0) as two:
        api = Server(FastAPI(lifespan=world.service.lifespan)), one
        admin = Server(FastAPI(), lifespan=False), two
        serving = asyncio.create_task(serve(api, admin, world.service, Gate(), 0, 1))
        await world.started()
        if broken is None:
            signal.raise_signal(signal.SIGTERM)
        elif broken in ("api", "admin"):
            (api if broken == "api" else admin)[0].should_exit = True
        assert await serving == (0 if broken is None else 1)
    assert world.events[-1] == "database is closed"


async def test_it_can_be_stopped_before_it_has_started() -> None:
    world = World(migrations=[OperationalError("connect", None, Exception("no server"))] * 100)
    async with world.service.lifespan(FastAPI()):
        world.service.drain()
    assert world.events == ["commands has ended", "database is closed"]
    assert world.service.tasks.failure is None
