"""The composition root that all services share: each service's `main` adds what is its own."""

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from typing import Any, NoReturn

from dependency_injector import containers, providers
from fastapi import FastAPI
from pydantic import ValidationError
from sqlalchemy import Table

from shared.adapters.nats.broker import NatsBroker
from shared.adapters.nats.connection import NatsAddress
from shared.adapters.postgres.database import PostgresDatabase
from shared.core.clock import Clock, SteadyClock, utc_now
from shared.core.messages import Event
from shared.core.policy import Policy
from shared.core.service_info import ServiceInfo
from shared.eventsourcing.aggregate import Entity
from shared.host import garbage_collector
from shared.host.admin import http
from shared.host.admin.repairs import Repairs
from shared.host.event_loop import new_event_loop
from shared.host.housekeeping import Housekeeping, Retention
from shared.host.migrations import migrate
from shared.host.service import Service, serve
from shared.host.settings import ServiceSettings, what_is_wrong
from shared.messaging.broker import Broker
from shared.messaging.handlers import Handlers
from shared.processing.command_queue import CommandQueue
from shared.processing.dispatcher import Dispatcher
from shared.processing.shares import new_replica
from shared.processing.subscription import IDLE, Subscription
from shared.saga.saga import Saga
from shared.telemetry.logs import best_effort, configure_logging
from shared.telemetry.metrics import count_events
from shared.telemetry.traces import configure_traces
from shared.unit_of_work.unit_of_work import Database, UnitOfWork, Units
from shared.web.app import create_app
from shared.web.gate import Gate
from shared.web.routes import Routes
from shared.web.server import Server, listening

# On a transaction of the database's kind, which only the adapter knows.
MakeUnitOfWork = Callable[[Any, Clock, Policy], UnitOfWork]


def _policy(settings: ServiceSettings) -> Policy:
    return Policy(
        grace=timedelta(seconds=settings.grace_seconds),
        retry=timedelta(seconds=settings.retry_seconds),
        attempts=settings.attempts,
        step_timeout=timedelta(seconds=settings.step_timeout_seconds),
        saga_attempts=settings.saga_attempts,
    )


def _postgres(info: ServiceInfo, settings: ServiceSettings, tables: Mapping[type[Entity], Table]) -> PostgresDatabase:
    return PostgresDatabase(
        str(settings.database_url),
        tables,
        # One for each partition's subscription; the rest is for the API.
        pool_size=settings.pool_size + settings.partitions,
        idle_seconds=settings.lease_seconds,
        application_name=info.application.session_name(info.name),
    )


def _nats_address(settings: ServiceSettings) -> NatsAddress:
    return NatsAddress(
        url=settings.nats_url,
        application=settings.application,
        user=settings.nats_user,
        password=settings.nats_password.get_secret_value() if settings.nats_password else None,
        ca_file=settings.nats_ca_file,
    )


def _migration(info: ServiceInfo, settings: ServiceSettings) -> Callable[[], None]:
    return partial(migrate, info, str(settings.migrations_url))


def _units(
    database: Database,
    unit_of_work: MakeUnitOfWork,
    clock: Clock,
    policy: Policy,
    count: Callable[[Sequence[Event]], None],
) -> Units[UnitOfWork]:
    def on_commit(events: Sequence[Event]) -> None:
        with best_effort("to count events"):
            count_events(events)
            count(events)

    return Units(database, lambda transaction: unit_of_work(transaction, clock, policy), on_commit)


def _subscriptions(
    info: ServiceInfo,
    settings: ServiceSettings,
    routes: Sequence[str],
    database: PostgresDatabase,
    broker: Broker,
    units: Units[UnitOfWork],
    dispatcher: Dispatcher[UnitOfWork],
    clock: Clock,
    steady: Clock,
    sagas: Sequence[type[Saga]],
) -> list[Subscription[UnitOfWork]]:
    replica = new_replica()
    return [
        Subscription(
            partition,
            routes,
            sessions=database,
            broker=broker,
            units=units.on,
            dispatcher=dispatcher,
            clock=clock,
            steady=steady,
            lease=timedelta(seconds=settings.lease_seconds),
            batch_size=settings.batch_size,
            max_parked=settings.max_parked,
            idle=min(IDLE, timedelta(seconds=settings.stream_max_age_seconds / 4)),
            partitions=settings.partitions,
            replica=replica,
            reader=info.name,
            senders=info.senders,
            has_sagas=bool(sagas),
        )
        for partition in range(settings.partitions if routes else 0)
    ]


def _routes(info: ServiceInfo, handlers: Handlers, sagas: Sequence[type[Saga]]) -> list[str]:
    return handlers.routes() + ([f"reply.{info.name}"] if sagas else [])


def _housekeeping(database: PostgresDatabase, settings: ServiceSettings, sagas: Sequence[type[Saga]]) -> Housekeeping:
    return Housekeeping(
        database.engine,
        Retention(
            inbox=timedelta(seconds=settings.inbox_retention_seconds),
            sagas=timedelta(seconds=settings.saga_retention_seconds) if sagas else None,
            idempotency=timedelta(seconds=settings.idempotency_retention_seconds),
        ),
    )


def _contact(info: ServiceInfo) -> str:
    return f"The maintainers of {info.application.name.upper()}"


def _count_nothing(_events: Sequence[Event]) -> None:
    """Count nothing: for a service without counters of its own."""


class ServiceContainer(containers.DeclarativeContainer):
    """What a service is made of. A service's `main` gives what is its own; tests override `database`, `clock`, …

    `unit_of_work` makes a unit of work from a transaction, the clock and the policy; `api` makes the routes from the
    commands and the units; `tables` says where rows are kept; `sagas` are those whose replies come here; `tags`
    says what the tags of its operations mean; `counters` is told of every event that was committed.
    """

    info: providers.Provider[ServiceInfo] = providers.Dependency(instance_of=ServiceInfo)
    description: providers.Provider[str] = providers.Dependency(instance_of=str)
    handlers: providers.Provider[Handlers] = providers.Dependency(instance_of=Handlers)
    unit_of_work: providers.Provider[MakeUnitOfWork] = providers.Dependency()
    api: providers.Provider[Callable[[CommandQueue[Any], Units[Any]], Routes]] = providers.Dependency()
    tables: providers.Provider[Mapping[type[Entity], Table]] = providers.Dependency(default={})
    sagas: providers.Provider[Sequence[type[Saga]]] = providers.Dependency(default=())
    tags: providers.Provider[Mapping[str, str]] = providers.Dependency(default={})
    counters: providers.Provider[Callable[[Sequence[Event]], None]] = providers.Dependency(default=_count_nothing)

    settings = providers.Singleton(ServiceSettings, application=info.provided.application)
    clock: providers.Provider[Clock] = providers.Object(utc_now)
    steady: providers.Provider[Clock] = providers.Singleton(SteadyClock)
    policy = providers.Singleton(_policy, settings)
    database: providers.Provider[Any] = providers.Singleton(_postgres, info, settings, tables)
    nats_address = providers.Singleton(_nats_address, settings)
    broker: providers.Provider[Broker] = providers.Singleton(NatsBroker, nats_address, settings.provided.partitions)
    units = providers.Singleton(_units, database, unit_of_work, clock, policy, counters)
    commands = providers.Singleton(CommandQueue, handlers, units, clock, settings.provided.batch_size)
    dispatcher: providers.Provider[Dispatcher[UnitOfWork]] = providers.Singleton(Dispatcher, handlers, policy, clock)
    repairs = providers.Singleton(Repairs, units, dispatcher, clock)
    routes = providers.Singleton(_routes, info, handlers, sagas)
    subscriptions = providers.Singleton(
        _subscriptions, info, settings, routes, database, broker, units, dispatcher, clock, steady, sagas
    )
    service = providers.Singleton(
        Service,
        migrate=providers.Singleton(_migration, info, settings),
        database=database,
        broker=broker,
        commands=commands,
        subscriptions=subscriptions,
        housekeeping=providers.Singleton(_housekeeping, database, settings, sagas),
        shutdown_seconds=settings.provided.shutdown_seconds,
    )
    router = providers.Singleton(lambda api, commands, units: api(commands, units), api, commands, units)
    gate = providers.Singleton(Gate, settings.provided.max_requests)
    app: providers.Provider[FastAPI] = providers.Singleton(
        create_app,
        title=info.provided.name,
        description=description,
        router=router,
        readiness=service,
        lifespan=service.provided.lifespan,
        gate=gate,
        tags=tags,
        contact=providers.Callable(_contact, info),
    )
    admin_app: providers.Provider[FastAPI] = providers.Singleton(
        create_app,
        title=providers.Callable("{}: repair".format, info.provided.name),
        description="What waits for a person, and how it goes on. For this machine only.",
        router=providers.Singleton(http.routes, repairs, settings.provided.admin_host),
        readiness=service,
    )


def run(container: ServiceContainer) -> NoReturn:
    """Run a service until a signal comes. The process ends with 0; 1 after a failure, 2 for wrong settings."""
    info = container.info()
    try:
        settings = container.settings()
    except ValidationError as invalid:
        print(*what_is_wrong(info.application, invalid), sep="\n", file=sys.stderr)  # noqa: T201 - there is no log yet
        raise SystemExit(2) from None
    configure_logging(info.name, settings.log_level, settings.log_format)
    traces = configure_traces(info.name, settings.trace_ratio)
    drain_seconds, shutdown_seconds = settings.drain_seconds, settings.shutdown_seconds
    try:
        with ExitStack() as stack:
            api = Server(container.app()), stack.enter_context(listening(settings.host, settings.port))
            admin = None
            if settings.admin_port:
                listener = stack.enter_context(listening(settings.admin_host, settings.admin_port))
                admin = Server(container.admin_app(), lifespan=False), listener
            runner = stack.enter_context(asyncio.Runner(loop_factory=new_event_loop))
            garbage_collector.tune_gc()
            status = runner.run(
                serve(api, admin, container.service(), container.gate(), drain_seconds, shutdown_seconds)
            )
    finally:
        if traces is not None:
            with best_effort("to export the last traces"):
                traces.shutdown()
    raise SystemExit(status)
