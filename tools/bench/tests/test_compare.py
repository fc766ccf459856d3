"""What the system is compared with, and how the comparison is summed up."""

import os
from collections.abc import Callable
from dataclasses import replace

import asyncpg
import pytest
from typer.testing import CliRunner

from kernel.topology import BY_NAME, SERVICES
from shared.core.service_info import ServiceInfo
from shared.host.provision import Database
from shared.relay.tests.support import OPTIONS, GatedBroker, RunningRelay, eventually, opened, published
from tests.support.schema import make_framework_tables
from tools.bench import table_relays
from tools.bench.compare import ALTERNATIVES, AS_IT_IS, Alternative, Compared, summarized
from tools.bench.one_process import PART, OneProcess
from tools.bench.orders import Load, Measured
from tools.bench.running import running
from tools.bench.table_relays import ListeningRelay, PollingRelay
from tools.cli import app
from tools.system.process import LaunchError


@pytest.mark.parametrize("cls", [PollingRelay, ListeningRelay])
async def test_a_table_relay_publishes_what_is_there_and_what_comes_and_then_deletes_it(
    cls: type[PollingRelay],
    new_database: Callable[[str | ServiceInfo], Database],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    database = new_database("order")
    make_framework_tables(database)
    broker = GatedBroker()
    broker.failures = 1  # what was not taken is kept
    async with opened(database) as outbox:
        if cls is ListeningRelay:
            monkeypatch.setattr(cls, "look_seconds", 3600)
            owner = await asyncpg.connect(database.migrations_url)
            await owner.execute(table_relays.NOTIFY)
            await owner.close()
        rows = await outbox.add(3)
        relay = RunningRelay(cls(BY_NAME["order"], database.relay_url, broker, OPTIONS))
        try:
            assert await published(broker, rows) == rows
            rows += await outbox.add(2)
            assert await published(broker, rows) == rows

            async def is_empty() -> bool:
                return not await outbox.ids()

            await eventually(is_empty)
        finally:
            await relay.crash()


async def test_one_process_is_ready_when_all_that_is_in_it_is() -> None:
    async with running(kind=OneProcess) as system:
        assert [*system.pids()] == ["postgres", "nats", PART]
        for service in SERVICES:
            answer = await system.client.get(system.system.url(system.system.port(service)) + "/readyz")
            assert answer.json() == {"status": "ready"}, service.name


def test_the_first_of_what_is_compared_is_the_system_as_it_is() -> None:
    assert next(iter(ALTERNATIVES)) == AS_IT_IS
    assert ALTERNATIVES[AS_IT_IS] == Alternative()


def run(load: Load, number: int, a_second: float, in_all: int = 0) -> Measured:
    """One run."""
    return Measured(
        load=load,
        number=number,
        a_second=a_second,
        ended={},
        http=None,
        end_to_end=None,
        reads={},
        cpu={"order": 2.0},
        batches={},
        memory={},
        in_all=in_all,
        unended=0,
        failures={},
    )


def test_each_alternative_is_summed_up_by_itself() -> None:
    compared = [
        Compared(alternative=name, measured=run(replace(load, keys=name == AS_IT_IS), number, rate * number))
        for number in (1, 2, 3)
        for load, rate in ((Load(users=5), 100), (Load(rate=7), 7))
        for name in (AS_IT_IS, "no idempotency keys")
    ]
    both = summarized(compared)
    assert [*both] == [AS_IT_IS, "no idempotency keys"]
    for each in both.values():
        assert (str(each.closed.a_second), str(each.open.a_second)) == ("200 (100 to 300)", "14 (7 to 21)")


def test_an_alternative_that_does_not_exist_is_told() -> None:
    result = CliRunner().invoke(app, ["bench", "compare", "--only", "polling relay,magic"], env=dict(os.environ))
    assert isinstance(result.exception, LaunchError)
    assert str(result.exception).startswith("there is no magic: as it is, batches of 1, ")
