"""The relay as a process: its settings, its HTTP server, its death and its end."""

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from cdc.main import main
from shared.core.service_info import ServiceInfo
from shared.host.provision import Database
from shared.host.relays import serve
from shared.relay.tests.support import eventually, first_seen, nats_broker, opened, published
from shared.web.server import listening
from tests.support.infra import NatsServer
from tests.support.schema import make_framework_tables
from tools.system.process import free_port


class Process:
    """`python -m cdc` for some databases."""

    def __init__(self, nats_url: str, databases: list[Database], **settings: str) -> None:
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        urls = {f"FTGO_RELAY_URL_{each.service.name.upper()}": each.relay_url for each in databases}
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "cdc", "--keep-stream", *(each.service.name for each in databases)],
            env={**os.environ, "FTGO_NATS_URL": nats_url, "FTGO_PORT": str(port), **urls, **settings},
            stdout=subprocess.PIPE,
            text=True,
        )

    def signal(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def end(self) -> tuple[int, list[dict[str, object]]]:
        """Exit code and log."""
        output, _ = self._popen.communicate(timeout=30)
        return self._popen.returncode, [json.loads(line) for line in output.splitlines()]

    async def ready(self) -> None:
        """Wait for a 200 of /readyz."""

        async def answers() -> bool:
            return (await self.get("/readyz")).status_code == 200

        await eventually(answers)

    async def publishes(self, database: Database) -> bool:
        """Whether its metrics say that it does."""
        return f'relay_connected{{database="{database.name}"}} 1.0' in (await self.get("/metrics")).text

    async def get(self, path: str) -> httpx.Response:
        async with httpx.AsyncClient(trust_env=False) as client:
            try:
                return await client.get(self.url + path)
            except httpx.TransportError:
                return httpx.Response(0)


@contextmanager
def process(nats_url: str, *databases: Database, **settings: str) -> Iterator[Process]:
    """A relay process that does not outlive the test."""
    started = Process(nats_url, list(databases), **settings)
    try:
        yield started
    finally:
        started._popen.kill()
        started._popen.wait()


async def test_one_process_serves_several_databases(
    database: Database, new_database: Callable[[str | ServiceInfo], Database], nats: NatsServer
) -> None:
    second, broker = new_database("kitchen"), nats_broker(nats.url)
    with process(nats.url, database, second) as relay:

        async def one_is_waited_for() -> bool:
            answer = await relay.get("/readyz")
            return answer.status_code == 503 and list(answer.json()["databases"]) == ["kitchen"]

        await eventually(one_is_waited_for)
        assert "kitchen: PostgreSQL: the database has no outbox yet" in (await relay.get("/readyz")).json()["detail"]
        make_framework_tables(second)
        await relay.ready()
        assert (await relay.get("/ping")).json() == {"status": "alive"}
        async with opened(database) as outbox:
            rows = await outbox.add(2)
            assert await published(broker, rows) == rows
        metrics = (await relay.get("/metrics")).text
        assert f'relay_published_total{{database="{database.name}"}} 2.0' in metrics
        assert f'relay_connected{{database="{second.name}"}} 1.0' in metrics
        relay.signal(signal.SIGTERM)
        code, log = relay.end()
        assert code == 0
        assert [line["level"] for line in log if line["message"] == "relay waits"] == ["info"]


async def test_a_process_that_is_killed_again_and_again_loses_nothing(database: Database, nats: NatsServer) -> None:
    broker, chance = nats_broker(nats.url), random.Random(2)
    rows: list[int] = []
    async with opened(database) as outbox:
        for _ in range(3):
            with process(nats.url, database) as relay:
                await relay.ready()
                for _ in range(chance.randrange(1, 30)):
                    rows += await outbox.add(chance.randrange(1, 20))
                relay.signal(signal.SIGKILL)
        rows += await outbox.add(3)
        with process(nats.url, database) as relay:
            assert first_seen(await published(broker, rows)) == rows
            relay.signal(signal.SIGINT)
            assert relay.end()[0] == 0
        assert (await outbox.checkpoints())[-1][0] == rows[-1]


async def test_a_stopped_process_is_replaced_and_does_no_harm_when_it_wakes_up(
    database: Database, nats: NatsServer
) -> None:
    broker = nats_broker(nats.url)
    async with opened(database) as outbox:
        with process(nats.url, database, FTGO_WAL_SENDER_TIMEOUT_SECONDS="2") as first:
            await first.ready()
            rows = await outbox.add(3)
            await published(broker, rows)
            first.signal(signal.SIGSTOP)
            rows += await outbox.add(3)  # lie in its socket
            with process(nats.url, database) as second:
                await second.ready()
                rows += await outbox.add(3)
                assert await published(broker, rows) == rows
                first.signal(signal.SIGCONT)

                async def stands_by() -> bool:
                    return not await first.publishes(database)

                await eventually(stands_by)
                await first.ready()
                rows += await outbox.add(3)
                assert await published(broker, rows) == rows


async def test_another_count_of_partitions_ends_the_process(database: Database, nats: NatsServer) -> None:
    async with nats_broker(nats.url, partitions=2).connect():
        pass
    with process(nats.url, database) as relay:
        code, log = await asyncio.to_thread(relay.end)
    assert code == 1
    [failure] = [line for line in log if line["level"] == "critical"]
    assert "has 2 partitions, this process is set to 1" in str(failure["reason"])


class Part:
    """Stands in for a relay, what answers replays, or the keeper: it goes on until it is told to end, or fails."""

    def __init__(self, *, fails: bool) -> None:
        self._fails = fails
        self._stopping = asyncio.Event()
        self.tried = asyncio.Event()
        self.tried.set()

    async def run(self) -> None:
        if self._fails:
            raise OSError("bug")
        await self._stopping.wait()

    def stop(self) -> None:
        self._stopping.set()


@pytest.mark.parametrize("broken", [None, "keeper", "relay", "replays"])
async def test_the_process_exits_with_0_when_it_was_told_to_end_and_with_1_after_a_failure(broken: str | None) -> None:
    def part(name: str) -> Any:
        return Part(fails=name == broken)

    with listening("127.0.0.1", 0) as listener:
        relays, replays = {"order": part("relay")}, {"order": part("replays")}
        serving = asyncio.create_task(serve(part("keeper"), relays, replays, Starlette(), listener, 1))
        await asyncio.sleep(0)
        if broken is None:
            signal.raise_signal(signal.SIGTERM)
        assert await serving == (0 if broken is None else 1)


def test_a_taken_port_ends_the_process_with_one_line(database: Database, nats: NatsServer) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        process(nats.url, database, FTGO_PORT=str(taken.getsockname()[1])) as relay,
    ):
        code, log = relay.end()
    assert (code, [line["message"] for line in log]) == (1, ["can't listen"])


@pytest.mark.parametrize("arguments", [["nobody"], ["order_history"]])
def test_services_that_publish_nothing_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_settings_that_are_missing_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("FTGO_RELAY_URL_ORDER", raising=False)
    assert main(["order"]) == 2
    assert "FTGO_RELAY_URL_ORDER: Field required" in capsys.readouterr().err


async def test_a_second_process_stands_by_and_takes_over(database: Database, nats: NatsServer) -> None:
    broker = nats_broker(nats.url)
    async with opened(database) as outbox:
        await outbox.add(3)
        with process(nats.url, database) as first:
            await first.ready()
            assert len(await published(broker, await outbox.ids())) == 3
            with process(nats.url, database) as second:
                await second.ready()
                assert not await second.publishes(database)
                first.signal(signal.SIGKILL)
                more = await outbox.add(2)
                assert first_seen(await published(broker, more)) == await outbox.ids()
