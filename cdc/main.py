"""The composition root of the relay process: a relay for each database, and an HTTP server that tells how they are."""

import argparse
import asyncio
import importlib
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta

import structlog
from dependency_injector import containers, providers
from pydantic import PostgresDsn, ValidationError, create_model
from starlette.applications import Starlette

from cdc.nats_users import readable_routes
from kernel.topology import SERVICES
from kernel.traffic import readers
from shared.adapters.nats.broker import NatsBroker
from shared.adapters.nats.connection import NatsAddress
from shared.adapters.nats.keeper import Keeper
from shared.adapters.nats.stream import StreamLimits
from shared.core.tasks import Tasks
from shared.host import garbage_collector
from shared.host.event_loop import new_event_loop
from shared.host.settings import RelaySettings, Settings, what_is_wrong
from shared.relay.relay import Relay, RelayOptions
from shared.relay.replay import Replays
from shared.relay.sent import SentFromOutbox
from shared.telemetry.logs import configure_logging
from shared.web.probes import probes_app
from shared.web.server import Server, listening

log = structlog.get_logger(__name__)

PUBLISHING = tuple(service.name for service in SERVICES if service.publishes)


def relay_urls(services: Sequence[str]) -> dict[str, str]:
    """Where each service's database is, from FTGO_RELAY_URL_<NAME>. Raises pydantic's ValidationError."""
    names = {service: f"relay_url_{service}" for service in services}
    model = create_model("RelayUrls", __base__=Settings, **dict.fromkeys(names.values(), (PostgresDsn, ...)))  # type: ignore[call-overload]
    found = model()
    return {service: str(getattr(found, name)) for service, name in names.items()}


def nats_address(settings: RelaySettings) -> NatsAddress:
    """Where NATS is."""
    password = settings.nats_password.get_secret_value() if settings.nats_password else None
    return NatsAddress(settings.nats_url, settings.nats_user, password, settings.nats_ca_file)


def make_keeper(keeps_stream: bool, address: NatsAddress, settings: RelaySettings) -> Keeper | None:
    """The keeper, if this process is to be it."""
    if not keeps_stream:
        return None
    limits = StreamLimits(settings.stream_max_age_seconds, settings.stream_max_bytes, settings.duplicate_window_seconds)
    return Keeper(address, settings.partitions, limits, readable_routes())


def make_relays(urls: Mapping[str, str], broker: NatsBroker, settings: RelaySettings) -> dict[str, Relay]:
    """One relay for each database, by service."""
    options = RelayOptions(
        partitions=settings.partitions,
        outbox_retention=timedelta(seconds=settings.outbox_retention_seconds),
        stream_max_age=timedelta(seconds=settings.stream_max_age_seconds),
        wal_sender_timeout=settings.wal_sender_timeout_seconds,
        readers=readers(),
    )
    return {service: Relay(service, url, broker, options) for service, url in urls.items()}


def make_replays(
    urls: Mapping[str, str], address: NatsAddress, relays: Mapping[str, Relay], settings: RelaySettings
) -> dict[str, Replays]:
    """What answers readers that are built anew, or that miss something, by service."""
    replays = {}
    for service, url in urls.items():
        importlib.import_module(f"{service}.contracts")  # what an event's key is, and which ones are public
        active = relays[service].status.publishes
        sent = SentFromOutbox(service, url, settings.partitions, readers(), active)
        replays[service] = Replays(service, url, address, active, sent)
    return replays


class RelayReadiness:
    """Whether the relays publish, or stand by behind another process that does, and the keeper keeps the stream."""

    def __init__(self, relays: Mapping[str, Relay], keeper: Keeper | None) -> None:
        self._relays = relays
        self._keeper = keeper

    async def reasons(self) -> Sequence[str]:
        """Return why they can't, by database; empty when they can."""
        statuses = {service: relay.status for service, relay in self._relays.items()}
        waiting = [
            f"{service}: {status.waiting_for}"
            for service, status in statuses.items()
            if status.waiting_for and not status.stands_by
        ]
        if self._keeper is not None and self._keeper.waiting_for is not None:
            waiting.append(f"the stream: {self._keeper.waiting_for}")
        return waiting

    async def measure(self) -> None:
        """Do nothing: relays count while they work."""


class Container(containers.DeclarativeContainer):
    """What a relay process is made of."""

    services: providers.Provider[tuple[str, ...]] = providers.Dependency(instance_of=tuple)
    keeps_stream: providers.Provider[bool] = providers.Dependency(instance_of=bool)

    settings = providers.Singleton(RelaySettings)
    urls = providers.Singleton(relay_urls, services)
    address = providers.Singleton(nats_address, settings)
    keeper = providers.Singleton(make_keeper, keeps_stream, address, settings)
    broker = providers.Singleton(NatsBroker, address, settings.provided.partitions)
    relays = providers.Singleton(make_relays, urls, broker, settings)
    replays = providers.Singleton(make_replays, urls, address, relays, settings)
    readiness = providers.Singleton(RelayReadiness, relays, keeper)
    app = providers.Singleton(probes_app, readiness)


async def serve(
    keeper: Keeper | None,
    relays: Mapping[str, Relay],
    replays: Mapping[str, Replays],
    app: Starlette,
    listener: socket.socket,
    shutdown_seconds: float,
) -> int:
    """Run until SIGTERM or SIGINT, or until a task fails; then end in good order. Returns the process's exit status."""
    tasks = Tasks()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, tasks.ended.set)
    server = Server(app, lifespan=False)
    serving = tasks.start("the server", server.serve(sockets=[listener]))
    others = []
    if keeper is not None:
        others.append(tasks.start("the keeper", keeper.run()))
        # Or the relays would complain that there is no stream yet.
        first = [asyncio.create_task(event.wait()) for event in (keeper.tried, tasks.ended)]
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        for waiting in first:
            waiting.cancel()
    relaying = [tasks.start(f"the relay of {name}", relay.run()) for name, relay in relays.items()]
    others += [tasks.start(f"the replays of {name}", each.run()) for name, each in replays.items()]

    await tasks.ended.wait()
    tasks.stopping()
    for task in others:
        task.cancel()
    for relay in relays.values():
        relay.stop()
    if relaying:
        _, late = await asyncio.wait(relaying, timeout=shutdown_seconds)
        for task in late:
            task.cancel()
    server.should_exit = True
    await asyncio.wait([serving, *relaying, *others])
    return 0 if tasks.failure is None else 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 after a signal, 1 after a fault, 2 for what is wrong with arguments or settings."""
    parser = argparse.ArgumentParser(
        prog="python -m cdc",
        description="Publish the outboxes of these services' databases (FTGO_RELAY_URL_<SERVICE>) to NATS.",
    )
    parser.add_argument("services", nargs="*", help=f"of: {', '.join(PUBLISHING)}; all of them by default")
    parser.add_argument(
        "--keep-stream",
        action="store_true",
        help="make the stream and open its readers; without services, only that",
    )
    given = parser.parse_args(arguments)
    services = tuple(given.services) or (() if given.keep_stream else PUBLISHING)
    if unknown := set(services) - set(PUBLISHING):
        parser.error(f"no such service, or it publishes nothing: {', '.join(sorted(unknown))}")

    container = Container(services=services, keeps_stream=given.keep_stream)
    try:
        settings = container.settings()
        container.urls()
    except ValidationError as invalid:
        print(*what_is_wrong(invalid), sep="\n", file=sys.stderr)  # noqa: T201 - there is no log yet
        return 2
    configure_logging("relay", settings.log_level, settings.log_format)
    with (
        listening(settings.host, settings.port) as listener,
        asyncio.Runner(loop_factory=new_event_loop) as runner,
    ):
        garbage_collector.tune_gc()
        keeper, app = container.keeper(), container.app()
        return runner.run(
            serve(keeper, container.relays(), container.replays(), app, listener, settings.shutdown_seconds)
        )
