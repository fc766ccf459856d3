"""The relay process of an application: a relay for each database, the keeper of the stream, and probes for both.

sys.exit(run_relays(Application("loans"), [LENDING, CATALOG], {"lending": ["event.catalog.BookAdded"]}))
"""

import argparse
import asyncio
import signal
import socket
import sys
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta

import structlog
from dependency_injector import containers, providers
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import PostgresDsn, ValidationError, create_model
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shared.adapters.nats.broker import NatsBroker
from shared.adapters.nats.connection import NatsAddress
from shared.adapters.nats.keeper import Keeper
from shared.adapters.nats.stream import StreamLimits
from shared.core.application import Application
from shared.core.service_info import ServiceInfo
from shared.core.tasks import Tasks
from shared.host import garbage_collector
from shared.host.event_loop import new_event_loop
from shared.host.settings import RelaySettings, Settings, what_is_wrong
from shared.relay.relay import Relay, RelayOptions
from shared.relay.replay import Replays
from shared.relay.sent import SentFromOutbox
from shared.telemetry.logs import configure_logging
from shared.web.hardening import SecurityHeaders
from shared.web.server import Server, listening

log = structlog.get_logger(__name__)

Reads = Mapping[str, Collection[str]]
"""The routes that each service reads, such as `event.order.OrderCreated`, by the service's name."""


def readers_of(reads: Reads) -> dict[str, tuple[str, ...]]:
    """Return the services that read each route."""
    routes = sorted({route for routes in reads.values() for route in routes})
    return {route: tuple(service for service, own in reads.items() if route in own) for route in routes}


def relay_urls(application: Application, services: Sequence[ServiceInfo]) -> dict[str, str]:
    """Return the address of each service's database, from `<APPLICATION>_RELAY_URL_<SERVICE>`.

    Raises pydantic's ValidationError.
    """
    names = {service.name: f"relay_url_{service.name}" for service in services}
    model = create_model("RelayUrls", __base__=Settings, **dict.fromkeys(names.values(), (PostgresDsn, ...)))  # type: ignore[call-overload]
    found = model(application=application)
    return {service: str(getattr(found, name)) for service, name in names.items()}


def nats_address(settings: RelaySettings) -> NatsAddress:
    """Return where NATS is and who this process is there."""
    return NatsAddress(
        url=settings.nats_url,
        application=settings.application,
        user=settings.nats_user,
        password=settings.nats_password.get_secret_value() if settings.nats_password else None,
        ca_file=settings.nats_ca_file,
    )


def make_keeper(keeps_stream: bool, address: NatsAddress, settings: RelaySettings, reads: Reads) -> Keeper | None:
    """Return the keeper of the stream, or None if this process is not to be it."""
    if not keeps_stream:
        return None
    limits = StreamLimits(settings.stream_max_age_seconds, settings.stream_max_bytes, settings.duplicate_window_seconds)
    return Keeper(address, settings.partitions, limits, reads)


def make_relays(
    services: Sequence[ServiceInfo], urls: Mapping[str, str], broker: NatsBroker, settings: RelaySettings, reads: Reads
) -> dict[str, Relay]:
    """Return one relay for each database, by the service's name."""
    options = RelayOptions(
        partitions=settings.partitions,
        outbox_retention=timedelta(seconds=settings.outbox_retention_seconds),
        stream_max_age=timedelta(seconds=settings.stream_max_age_seconds),
        wal_sender_timeout=settings.wal_sender_timeout_seconds,
        readers=readers_of(reads),
    )
    return {each.name: Relay(each, urls[each.name], broker, options) for each in services}


def make_replays(
    services: Sequence[ServiceInfo],
    urls: Mapping[str, str],
    address: NatsAddress,
    relays: Mapping[str, Relay],
    settings: RelaySettings,
    reads: Reads,
) -> dict[str, Replays]:
    """Return what answers readers that are built anew, or that miss something, by the service's name."""
    replays = {}
    for service in services:
        url, active = urls[service.name], relays[service.name].status.publishes
        sent = SentFromOutbox(service, url, settings.partitions, readers_of(reads), active)
        replays[service.name] = Replays(service, url, address, active, sent)
    return replays


def make_app(relays: Mapping[str, Relay], keeper: Keeper | None) -> Starlette:
    """Return the HTTP application with `/ping`, `/readyz` and `/metrics`."""

    async def ping(_: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def readyz(_: Request) -> Response:
        statuses = {service: relay.status for service, relay in relays.items()}
        waiting = {
            service: status.waiting_for
            for service, status in statuses.items()
            if status.waiting_for and not status.stands_by
        }
        if keeper is not None and keeper.waiting_for is not None:
            waiting["the stream"] = keeper.waiting_for
        if not waiting:
            return JSONResponse({"status": "ready"})
        detail = "; ".join(f"{service}: {reason}" for service, reason in waiting.items())
        problem = {"type": "about:blank", "title": "Service Unavailable", "status": 503, "detail": detail}
        return JSONResponse(problem | {"databases": waiting}, 503, media_type="application/problem+json")

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    routes = [Route("/ping", ping), Route("/readyz", readyz), Route("/metrics", metrics)]
    return Starlette(routes=routes, middleware=[Middleware(SecurityHeaders)])


class RelayContainer(containers.DeclarativeContainer):
    """What a relay process is made of. `services` are those whose outboxes it publishes."""

    application = providers.Dependency(instance_of=Application)
    services = providers.Dependency(instance_of=tuple)
    reads: providers.Provider[Reads] = providers.Dependency()
    keeps_stream = providers.Dependency(instance_of=bool)
    settings = providers.Singleton(RelaySettings, application=application)
    urls = providers.Singleton(relay_urls, application, services)
    address = providers.Singleton(nats_address, settings)
    keeper = providers.Singleton(make_keeper, keeps_stream, address, settings, reads)
    broker = providers.Singleton(NatsBroker, address, settings.provided.partitions)
    relays = providers.Singleton(make_relays, services, urls, broker, settings, reads)
    replays = providers.Singleton(make_replays, services, urls, address, relays, settings, reads)
    app = providers.Singleton(make_app, relays, keeper)


async def serve(
    keeper: Keeper | None,
    relays: Mapping[str, Relay],
    replays: Mapping[str, Replays],
    app: Starlette,
    listener: socket.socket,
    shutdown_seconds: float,
) -> int:
    """Run until SIGTERM or SIGINT, or until a task fails; then end in good order. Return the process's exit status."""
    tasks = Tasks()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, tasks.ended.set)
    server = Server(app, lifespan=False)
    serving = tasks.start("the server", server.serve(sockets=[listener]))
    others = []
    if keeper is not None:
        others.append(tasks.start("the keeper", keeper.run()))
        # The relays begin when there is a stream: otherwise they would log that there is none.
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


def run_relays(
    application: Application,
    services: Sequence[ServiceInfo],
    reads: Reads,
    arguments: Sequence[str] | None = None,
    program: str | None = None,
) -> int:
    """Publish the outboxes of an application's services to NATS until a signal comes.

    `arguments`, by default those of the process, name the services whose relays this process runs, and say whether it
    keeps the stream: `--help` tells more. `reads` has the routes that each service reads: a relay links what it sends
    to the same reader, and where NATS has users, the keeper lets nobody read more. `program` is how help texts call
    the process. To send stored events again to a read model that is rebuilt, the events' modules must be imported.

    Returns the exit status: 0 after a signal, 1 after a fault, 2 for what is wrong with the settings. Raises SystemExit
    for what is wrong with the arguments.
    """
    publishing = {service.name: service for service in services if service.publishes}
    parser = argparse.ArgumentParser(
        prog=program,
        description="Publish the outboxes of these services' databases"
        f" ({application.environment_prefix}RELAY_URL_<SERVICE>) to NATS.",
    )
    parser.add_argument("services", nargs="*", help=f"of: {', '.join(publishing)}; all of them by default")
    parser.add_argument(
        "--keep-stream",
        action="store_true",
        help="make the stream and open its readers; without services, only that",
    )
    given = parser.parse_args(arguments)
    names = given.services or ([] if given.keep_stream else list(publishing))
    if unknown := set(names) - set(publishing):
        parser.error(f"no such service, or it publishes nothing: {', '.join(sorted(unknown))}")

    container = RelayContainer(
        application=application,
        services=tuple(publishing[name] for name in dict.fromkeys(names)),
        reads=reads,
        keeps_stream=given.keep_stream,
    )
    try:
        settings = container.settings()
        container.urls()
    except ValidationError as invalid:
        print(*what_is_wrong(application, invalid), sep="\n", file=sys.stderr)  # noqa: T201 - there is no log yet
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
