"""`./ftgo parked` and `./ftgo sagas`: what waits for a person, and how it goes on."""

import asyncio
import importlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from dependency_injector import providers
from rich.console import Console
from rich.table import Table

from shared.core.context import Cause
from shared.core.errors import TechnicalFault
from shared.core.ids import new_id
from shared.messaging.set_aside import Line, SetAside
from shared.runtime.process import LaunchError
from shared.runtime.provision import Database
from shared.runtime.settings import ServiceSettings
from shared.runtime.system import attached_system
from shared.runtime.topology import BY_NAME, SERVICES

if TYPE_CHECKING:  # a command line that only prints its help need not load all that services are made of
    from shared.runtime.container import ServiceContainer
    from shared.saga.instance import SagaInstance
    from shared.unit_of_work import UnitOfWork

parked = typer.Typer(no_args_is_help=True, help="Messages that failed too often, and those that wait behind them.")
sagas = typer.Typer(no_args_is_help=True, help="Sagas that have not ended, and those that are stuck.")
console = Console(highlight=False)

ServiceName = Annotated[str, typer.Argument(help=", ".join(BY_NAME))]


@parked.command("list")
def list_parked() -> None:
    """List the messages of all services that wait for a person, in order.

    Example: `./ftgo parked list`
    """
    table = Table("service", "key", "sender", "message", "id", "failed", "error", box=None)
    for service in SERVICES:
        for message in asyncio.run(_parked(service.name)):
            failed = f"{message.attempts} ×" if message.parked_at else "waits behind it"
            type_ = message.received.headers.get("ce-type", "?")
            row = (message.line.key, message.line.source, type_, message.message_id, failed, message.error)
            table.add_row(service.name, *row)
    console.print(table if table.row_count else "No message is parked.")


@parked.command()
def redrive(
    service: ServiceName,
    key: Annotated[str, typer.Argument(help="The key, as `list` shows it.")],
    sender: Annotated[str, typer.Argument(help="The sender, as `list` shows it.")],
) -> None:
    """Have a line's messages handled again, from the first that is parked, in order.

    Example: `./ftgo parked redrive accounting 01980c2e-5d3c-7a41-b6a4-2f1f0c9b7d11 order`
    """
    count = asyncio.run(_redrive(service, Line(key, sender)))
    if count == 0:
        raise LaunchError(f"no message of {key} from {sender} waits in {service}: see ./ftgo parked list")
    console.print(f"{count} {'message' if count == 1 else 'messages'} will be handled again.")


@sagas.command("list")
def list_sagas() -> None:
    """List the sagas that have not ended, the oldest first.

    Example: `./ftgo sagas list`
    """
    table = Table("saga", "id", "of", "step", "way", "waits for", "since", "last refusal", box=None)
    for saga in asyncio.run(_unfinished()):
        waits_for = "a person" if saga.stuck else saga.command or "its next try"
        since = f"{saga.updated_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
        table.add_row(saga.type, saga.id, saga.key, str(saga.step + 1), saga.phase, waits_for, since, saga.error)
    console.print(table if table.row_count else "Every saga has ended.")


@sagas.command()
def resume(saga: Annotated[str, typer.Argument(help="The saga's id, as `list` shows it.")]) -> None:
    """Have a stuck saga try its step again.

    Example: `./ftgo sagas resume 8fac8390-5e37-511a-9054-296c2afe5e95`
    """
    if not asyncio.run(_resume(saga)):
        raise LaunchError(f"no saga {saga} is stuck: see ./ftgo sagas list")
    console.print("It goes on.")


async def _parked(service: str) -> Sequence[SetAside]:
    async with _unit_of_work(service) as uow:
        return await uow.transaction.waiting_room.parked()


async def _redrive(service: str, line: Line) -> int:
    async with _unit_of_work(service) as uow:
        return await uow.transaction.waiting_room.redrive(line, datetime.now(UTC))


async def _unfinished() -> "Sequence[SagaInstance]":
    async with _unit_of_work("order") as uow:
        return await uow.transaction.saga_timers.unfinished()


async def _resume(saga_id: str) -> bool:
    async with _unit_of_work("order") as uow:
        id_ = new_id()
        with uow.attempt(Cause(correlation_id=id_, id=id_, causation_id=id_)):
            return await uow.sagas.resume(saga_id)


@asynccontextmanager
async def _unit_of_work(service: str) -> "AsyncIterator[UnitOfWork]":
    """A unit of work of the running system's service. LaunchError when there is none."""
    if service not in BY_NAME:
        raise LaunchError(f"there is no service {service!r}: {', '.join(BY_NAME)}")
    container = _container(attached_system().database(BY_NAME[service]))
    try:
        async with container.units().begin() as uow:
            yield uow
    except TechnicalFault as fault:
        raise LaunchError(str(fault)) from None
    finally:
        await container.database().close()


def _container(database: Database) -> "ServiceContainer":
    container: ServiceContainer = importlib.import_module(f"{database.service.name}.main").container()
    settings = ServiceSettings.model_validate(
        {"port": database.service.port, "database_url": database.url, "migrations_url": database.migrations_url}
    )
    container.settings.override(providers.Object(settings))
    return container
