"""The command `./ftgo demo`."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated

import httpx
import typer
from rich.console import Console

from shared.adapters.nats.connection import NatsAddress, connect
from shared.adapters.nats.stream import stream_bounds
from shared.messaging.broker import BrokerUnavailable
from tools.demo.api import Api, Unexpected
from tools.demo.orders import DemoOrder
from tools.demo.scenario import Scenario
from tools.demo.screen import Screen, summary, timelines
from tools.explain.command import collect
from tools.explain.message_log import MessageLog, NatsLog
from tools.explain.saga_tables import SagaTables
from tools.explain.timeline import Timeline, build
from tools.system.places import Places, nats_address, of_host, of_running_system
from tools.system.process import LaunchError
from tools.system.supervisor import http_probe, local_client
from tools.system.system import System, SystemSettings
from tools.terminal import as_text, terminal

READY_SECONDS = 60.0
POLL_SECONDS = 0.05
# Slow enough to follow, where a person is watching.
TERMINAL_PACE = 0.5
TIMELINES = 8
"""How many timelines are printed at most: a rush hour among many free couriers takes many orders that are alike."""


def demo(
    url_base: Annotated[
        str | None,
        typer.Option(help="A running system's host, such as http://127.0.0.1: its services at their standard ports."),
    ] = None,
    nats_url: Annotated[
        str | None,
        typer.Option(help="Where that system's NATS is; nats:// and the host by default.", show_default=False),
    ] = None,
    port_offset: Annotated[
        int | None, typer.Option(help="Added to every port.", envvar="FTGO_PORT_OFFSET", min=0, max=40000)
    ] = None,
    pace: Annotated[
        float | None,
        typer.Option(
            help=f"Seconds to wait before each thing that people do; {TERMINAL_PACE:g} on a terminal, else 0.", min=0
        ),
    ] = None,
) -> None:
    """Take orders through their whole life cycle, show it live, and print afterwards which message caused which.

    It plays a delivered order, a revision, a cancellation, a rejected order and a courier shortage, on the
    system that `./ftgo up` runs, on that of --url-base, or on one that is started for it and stopped again. The exit
    code is 1 when any order doesn't end where it should.

    Examples: `./ftgo demo`   `./ftgo demo --url-base http://127.0.0.1` for what docker-compose runs
    """
    console = terminal()
    if pace is None:
        pace = TERMINAL_PACE if console.is_terminal else 0
    try:
        all_well = asyncio.run(_demo(console, url_base, nats_url, port_offset, pace))
    except asyncio.CancelledError:
        raise typer.Exit(128 + signal.SIGTERM) from None
    except Unexpected as error:
        raise LaunchError(f"the demo could not go on: {error}") from None
    if not all_well:
        raise typer.Exit(1)


async def _demo(
    console: Console, url_base: str | None, nats_url: str | None, port_offset: int | None, pace: float
) -> bool:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGHUP):  # stops the system started for the demo, as Ctrl-C does
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup wants it to be ignored
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    settings = SystemSettings() if port_offset is None else SystemSettings(port_offset=port_offset)
    async with AsyncExitStack() as stack:
        if url_base is not None:
            places = of_host(url_base, nats_url, settings.port_offset)
        elif running := of_running_system(settings):
            places = running
        else:
            places = await stack.enter_async_context(_started(settings, console))
        nats = places.nats if nats_url is None or url_base is not None else nats_address(nats_url)
        return await _play(places, nats, console, pace)


@asynccontextmanager
async def _started(settings: SystemSettings, console: Console) -> AsyncIterator[Places]:
    """Run a temporary system inside the `with` block."""
    console.print("Nothing runs yet: starting PostgreSQL, NATS, the relay and the services.")
    async with local_client() as client:
        supervisor = System(settings).supervisor(client, console)
        try:
            await supervisor.start()
            places = of_running_system(settings)
            assert places is not None
            yield places
        finally:
            console.print("Stopping the system that was started for the demo.")
            await supervisor.stop()


async def _play(places: Places, nats: NatsAddress, console: Console, pace: float) -> bool:
    log = NatsLog(nats)
    began = datetime.now(UTC)
    async with AsyncExitStack() as stack:
        clients = {
            name: await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=10, trust_env=False))
            for name, url in places.urls.items()
        }
        await _wait_until_ready(places, console)
        await _require_nats(nats)
        with Screen(console) as screen:
            scenario = Scenario(
                Api(clients, lambda: asyncio.sleep(POLL_SECONDS)), screen, act=lambda: asyncio.sleep(pace)
            )
            following = asyncio.create_task(_follow(log, began, screen))
            try:
                await scenario.play()
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
    failures = list(scenario.failures)
    told: dict[str, Timeline] = {}
    try:
        told = await tell(log, scenario.orders)
    except BrokerUnavailable as error:
        failures.append(f"The orders' messages could not be read from NATS at {nats.url}: {error}.")
    shown = [order for order in _worth_showing(scenario.orders) if order.id in told]
    timelines(console, [(order, told[order.id]) for order in shown], len(told) - len(shown))
    summary(console, scenario.orders, told, failures)
    return not failures


async def tell(log: MessageLog, orders: list[DemoOrder]) -> dict[str, Timeline]:
    """Return each order's timeline by its id. Raises BrokerUnavailable when the messages can't be read."""
    sagas = SagaTables.of_services()
    collectors = await collect(log, [order.id for order in orders if order.id])
    return {collector.order_id: build(collector, sagas) for collector in collectors if collector.messages}


def _worth_showing(orders: list[DemoOrder]) -> list[DemoOrder]:
    """Return the orders whose timelines are worth showing: of similar ones the first, the last, and all that failed."""
    if len(orders) <= TIMELINES:
        return orders
    return [*orders[: TIMELINES - 1], *(order for order in orders[TIMELINES - 1 : -1] if order.failed), orders[-1]]


async def _follow(log: MessageLog, since: datetime, screen: Screen) -> None:
    async with aclosing(log.follow(since)) as messages:
        async for message in messages:
            screen.take(message)


async def _wait_until_ready(places: Places, console: Console) -> None:
    async with local_client() as client:
        probes = {name: http_probe(client, f"{url}/readyz") for name, url in places.urls.items()}
        loop = asyncio.get_running_loop()
        give_up = loop.time() + READY_SECONDS
        told = False
        while waiting := {name: reason for name, probe in probes.items() if (reason := await probe())}:
            reasons = "; ".join(f"{name} at {places.urls[name]}: {reason}" for name, reason in waiting.items())
            if len(waiting) == len(probes) or loop.time() >= give_up:
                raise LaunchError(f"the system is not ready: {reasons}")
            if not told:
                console.print(f"Waiting: {as_text(reasons)}", soft_wrap=True)
                told = True
            await asyncio.sleep(0.2)


async def _require_nats(address: NatsAddress) -> None:
    try:
        async with connect(address) as connection:
            await stream_bounds(connection)
    except BrokerUnavailable as error:
        raise LaunchError(
            f"NATS at {address.url}, for the timelines, can't be used ({error}): --nats-url says where it is, "
            "FTGO_NATS_USER and FTGO_NATS_PASSWORD who asks"
        ) from None
