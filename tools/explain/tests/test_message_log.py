"""Reading what was sent, from a real nats-server, and where to find it."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kernel.topology import FTGO
from shared.adapters.nats.connection import NatsAddress, connect
from shared.adapters.nats.stream import StreamLimits, stored_message
from shared.messaging.broker import BrokerUnavailable, Publication, subject_of
from tests.support.infra import NatsServer
from tests.support.kept_broker import KeptBroker
from tools.cli import app
from tools.explain.command import collect
from tools.explain.message_log import EVER_SINCE, NatsLog, position_before
from tools.explain.tests.tape import ORDER, rejected, waited
from tools.system.places import COMPOSE_PASSWORD, of_host
from tools.system.process import LaunchError

NewNats = Callable[[], NatsServer]


def publications(run: str = "") -> list[Publication]:
    return [
        Publication(
            row_id=f"{run}{message.id}",
            subject=subject_of(0, message.route),
            headers=message.to_headers(),
            data=message.data,
        )
        for message in rejected()
    ]


async def publish(url: str, *messages: Publication) -> None:
    broker = KeptBroker(NatsAddress(url, FTGO), 1, StreamLimits(max_age=3600, max_bytes=1 << 26))
    async with broker.connect() as connection:
        for message in messages:
            await connection.publish([message])


async def test_an_orders_messages_are_found_among_all(new_nats: NewNats) -> None:
    url = new_nats().url
    replay = Publication(row_id="r", subject="replay.order_history.x", headers={}, data="{}")
    stranger = Publication(row_id="s", subject="0.event.x.Y", headers={}, data="no message of ours")
    await publish(url, replay, stranger, *publications(), replay)
    log = NatsLog(NatsAddress(url, FTGO))
    (found,) = await collect(log, [ORDER])
    assert [message.id for message in found.messages] == [message.id for message in rejected()]
    assert [message async for message in log.since(datetime.now(UTC) + timedelta(minutes=1))] == []


async def test_a_position_is_found_by_time(new_nats: NewNats) -> None:
    url = new_nats().url
    await publish(url, *publications())
    async with connect(NatsAddress(url, FTGO)) as connection:
        for position in (1, 5, 12):
            mark = await stored_message(connection, position)
            assert mark is not None
            assert await position_before(connection, mark.at) == position - 1
        assert await position_before(connection, EVER_SINCE) == 0
        assert await position_before(connection, datetime.now(UTC) + timedelta(minutes=1)) == 12


async def test_following_survives_a_restart_of_the_broker(new_nats: NewNats) -> None:
    nats = new_nats()
    first, second, *_ = publications()
    await publish(nats.url, first)
    async with aclosing(NatsLog(NatsAddress(nats.url, FTGO)).follow(EVER_SINCE)) as messages:
        assert (await anext(messages)).id == first.row_id
        await asyncio.to_thread(nats.server.restart)
        await publish(nats.url, second)
        assert (await anext(messages)).id == second.row_id


async def test_a_broker_that_is_away_is_a_fault() -> None:
    with pytest.raises(BrokerUnavailable):
        await collect(NatsLog(NatsAddress("nats://127.0.0.1:1", FTGO)), [ORDER])


def test_explain(new_nats: NewNats, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FTGO_DATA_DIR", str(tmp_path))
    url = new_nats().url
    asyncio.run(publish(url, *publications()))
    shown = CliRunner().invoke(app, ["explain", ORDER.upper(), "--nats-url", url])
    assert shown.exit_code == 0
    assert "create order ↶3/6" in shown.output
    assert not list(tmp_path.iterdir()), "looking leaves nothing behind"
    for order, said in ((waited()[-1].key, "no message is about an order"), ("pizza", "no order's id")):
        with pytest.raises(LaunchError, match=said):
            CliRunner().invoke(app, ["explain", order, "--nats-url", url], catch_exceptions=False)
    with pytest.raises(LaunchError, match="is the system running"):
        CliRunner().invoke(app, ["explain", ORDER, "--nats-url", "nats://127.0.0.1:1"], catch_exceptions=False)


def test_the_places_of_a_host() -> None:
    places = of_host("http://192.0.2.7", None)
    assert places.urls["order"] == "http://192.0.2.7:8005"
    assert places.nats == NatsAddress("nats://192.0.2.7:4222", FTGO, "ftgo", COMPOSE_PASSWORD)
    assert of_host("http://[::1]", None, 1000).urls["order_history"] == "http://[::1]:9015"
    assert of_host("http://here", "nats://there:5").nats.url == "nats://there:5"


@pytest.mark.parametrize(
    "wrong", ["here", "http://here:8005", "http://h:x", "ftp://here", "http://", "http://a@b", "http://a/b"]
)
def test_a_base_that_is_no_host_is_refused(wrong: str) -> None:
    with pytest.raises(LaunchError, match="--url-base"):
        of_host(wrong, None)


def test_the_demo_says_what_it_can_not_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FTGO_PORT_OFFSET", "40000")
    with pytest.raises(LaunchError, match=r"the system is not ready: accounting at .*:48001"):
        CliRunner().invoke(app, ["demo", "--url-base", "http://127.0.0.1"], catch_exceptions=False)
