"""Processes come to their crash points where they should, and end there when they are told to."""

import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import pytest

from shared.adapters.memory.broker import MemoryBroker
from shared.adapters.memory.database import MemoryDatabase
from shared.core.serialization import Json
from shared.messaging.broker import Publication
from shared.messaging.inbox import Claim
from shared.saga.instance import SagaInstance
from shared.saga.machine import Phase
from shared.testing.database.given import envelope
from shared.unit_of_work.unit_of_work import UnitOfWork, Units
from tools.chaos import crash_points
from tools.chaos.crash_points import AFTER_COMMIT, AFTER_PUBLISH, COMPENSATING, IN_BATCH, WRITING

NOW = datetime.now(UTC)


@pytest.fixture
def reached() -> list[str]:
    return []


@pytest.fixture
def units(reached: list[str]) -> Units[UnitOfWork]:
    return Units(crash_points.wrapped_database(MemoryDatabase(), reached.append), UnitOfWork)


async def test_a_batch_comes_to_three(units: Units[UnitOfWork], reached: list[str]) -> None:
    async with units.begin() as uow:
        for id_ in ("1", "2"):
            uow.claim(Claim(message_id=id_, row_id=id_))
        uow.send(envelope("1"))
        assert reached == []
    assert reached == [IN_BATCH, WRITING, AFTER_COMMIT]


async def test_what_only_reads_comes_to_none(units: Units[UnitOfWork], reached: list[str]) -> None:
    async with units.begin() as uow:
        await uow.transaction.inbox.find(["1"])
    assert reached == []


async def test_a_saga_that_undoes(units: Units[UnitOfWork], reached: list[str]) -> None:
    saga = SagaInstance(
        id="1",
        type="Create",
        key="k",
        data=Json("{}"),
        step=1,
        phase=Phase.FORWARD,
        correlation_id="c",
        started_at=NOW,
        updated_at=NOW,
    )
    async with units.begin() as uow:
        await uow.saga_instances.add(saga)
    assert reached == []
    async with units.begin() as uow:
        (await uow.saga_instances.get("1")).phase = Phase.UNDOING
    assert reached == [COMPENSATING]


async def test_a_relay_that_has_published(reached: list[str]) -> None:
    broker = crash_points.wrapped_broker(MemoryBroker(), reached.append)
    async with broker.connect() as connection:
        await connection.publish([])
        assert reached == []
        await connection.publish([Publication(row_id="1", subject="0.event.a.B", headers={}, data="{}")])
    assert reached == [AFTER_PUBLISH]


@pytest.fixture
def signals() -> Iterator[list[int]]:
    received: list[int] = []

    def receive(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    before = signal.signal(signal.SIGUSR1, receive)
    yield received
    signal.signal(signal.SIGUSR1, before)


def test_it_is_obeyed_once_and_at_that_point(tmp_path: Path, signals: list[int]) -> None:
    file = crash_points.orders_file(tmp_path, "order")
    crash_points.obey(file, WRITING)
    crash_points.arm(tmp_path, "order", WRITING, signal.SIGUSR1)
    crash_points.obey(file, IN_BATCH)
    assert signals == []
    assert crash_points.is_armed(tmp_path, "order")
    for _ in range(2):
        crash_points.obey(file, WRITING)
    assert signals == [signal.SIGUSR1]
    assert not crash_points.disarm(tmp_path, "order")
