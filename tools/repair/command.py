"""`./ftgo parked` and `./ftgo sagas`: shows what waits for a person, and lets it continue.

They work directly on the services' databases, which are there even when a service is not. A missing service may be
the reason why something waits.
"""

import asyncio
import getpass
import importlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from dependency_injector import providers
from rich.console import Console
from rich.table import Table

from kernel.topology import BY_NAME, FTGO, SERVICES
from kernel.traffic import reads
from shared.core.errors import DomainError, TechnicalFault
from shared.core.printable import printable
from shared.host.provision import Database
from shared.host.settings import ServiceSettings
from shared.messaging.repair_log import ON_MESSAGES, ON_SAGAS, Action, Repair
from shared.messaging.set_aside import ParkedFilter
from shared.saga.instance import SagaFilter, SagaInstance
from tools.system.process import LaunchError
from tools.system.system import attached_system
from tools.terminal import as_text, terminal

if TYPE_CHECKING:  # so that `--help` does not load all the code that services are made of
    from shared.host.admin.repairs import By, ParkedMessage, Repairs, SagaState
    from shared.host.container import ServiceContainer

parked = typer.Typer(no_args_is_help=True, help="Messages that failed too often, and those that wait behind them.")
sagas = typer.Typer(no_args_is_help=True, help="Sagas that have not ended, and those that are stuck.")

ORCHESTRATORS = tuple(service.name for service in SERVICES if f"reply.{service.name}" in reads(service.name))
"""Services that run sagas: replies come to them."""
_DEFAULT_LIMIT = 100

Service = Annotated[str | None, typer.Option(help=f"Of one service only: {', '.join(BY_NAME)}.")]
MessageId = Annotated[str, typer.Argument(help="The message's id, as `list` shows it.")]
SagaId = Annotated[str, typer.Argument(help="The saga's id, as `list` shows it.")]
OptionalMessageId = Annotated[str | None, typer.Argument(help="A message's id, as `list` shows it.")]
OptionalSagaId = Annotated[str | None, typer.Argument(help="A saga's id, as `list` shows it.")]
Key = Annotated[str | None, typer.Option(help="Those of this key only.")]
MessageType = Annotated[str | None, typer.Option("--type", help="Those of this type only: kitchen.CreateTicket.")]
SagaType = Annotated[str | None, typer.Option("--type", help="Those of this type only: order.CreateOrderSaga.")]
Error = Annotated[str | None, typer.Option(help="Those with this in their error only.")]
Everything = Annotated[bool, typer.Option("--all", help="All there are.")]
Limit = Annotated[int, typer.Option(help="How many at most.", min=1, max=10_000)]
Reason = Annotated[str, typer.Option(help="Why: it is written down with your name, the time and what it was about.")]


@parked.command("list")
def list_parked(
    service: Service = None,
    key: Key = None,
    type_: MessageType = None,
    error: Error = None,
    limit: Limit = _DEFAULT_LIMIT,
) -> None:
    """List the messages that wait for a person, in order. Messages behind one (same key, same sender) wait with it.

    Examples: `./ftgo parked list`   `./ftgo parked list --service kitchen --error "division by zero"`
    """
    table = _table("service", "id", "message", "key", "sender", "since", "tries", "behind", "error")
    wanted = ParkedFilter(key=key, type=type_, error=error)

    async def look(name: str, repairs: "Repairs[Any]") -> None:
        for found in await repairs.parked(wanted, limit):
            message = found.message
            row = (
                name,
                message.message_id,
                message.received.headers.get("ce-type", "?"),
                message.line.key,
                message.line.source,
                _time(message.parked_at),
                str(message.attempts),
                str(found.behind),
                message.error,
            )
            table.add_row(*map(as_text, row))

    asyncio.run(_each(_services(service), look))
    terminal().print(table if table.row_count else "No message is parked.")


@parked.command("show")
def show_parked(message_id: MessageId, service: Service = None, limit: Limit = _DEFAULT_LIMIT) -> None:
    """Show a parked message: what it says, why it failed, what waits behind it, and what was done about it before.

    Example: `./ftgo parked show 01980c2e-5d3c-7a41-b6a4-2f1f0c9b7d11`
    """

    async def look(name: str, repairs: "Repairs[Any]") -> None:
        try:
            _print_message(terminal(), name, await repairs.parked_message(message_id, limit))
            shown.append(name)
        except DomainError:
            pass

    shown: list[str] = []
    asyncio.run(_each(_services(service), look))
    if not shown:
        raise _none_parked()


@parked.command()
def redrive(
    message_id: OptionalMessageId = None,
    service: Service = None,
    key: Key = None,
    type_: MessageType = None,
    error: Error = None,
    everything: Everything = False,
    reason: Reason = "",
) -> None:
    """Have parked messages, and those behind them, handled again in order. Use it when the cause is fixed.

    Examples: `./ftgo parked redrive 01980c2e-5d3c-7a41-b6a4-2f1f0c9b7d11`
    `./ftgo parked redrive --type kitchen.CreateTicket --reason "kitchen 1.4 can read them"`
    """
    _require_selection(message_id or key or type_ or error or everything)
    wanted = ParkedFilter(message_id=message_id, key=key, type=type_, error=error)

    async def act(_name: str, repairs: "Repairs[Any]") -> int:
        return await repairs.redrive(wanted, _by(reason))

    count = sum(asyncio.run(_each(_services(service), act)))
    if count == 0:
        raise _none_parked()
    terminal().print(f"{_counted(count, 'message')} will be handled again.")


@parked.command()
def drop(
    reason: Annotated[str, typer.Option(help="Why: written down with your name, the time and the whole message.")],
    message_id: OptionalMessageId = None,
    service: Service = None,
    key: Key = None,
    type_: MessageType = None,
    error: Error = None,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """Give up parked messages, and have those behind them handled.

    A command is refused: the saga that sent it is undone or, after its pivot, tries that step again. An event is
    skipped for good: this service will never know of it. A reply that a saga waits for is not dropped.

    Example: `./ftgo parked drop 01980c2e-5d3c-7a41-b6a4-2f1f0c9b7d11 --reason "sent by a test"`
    """
    _require_selection(message_id or key or type_ or error)
    wanted = ParkedFilter(message_id=message_id, key=key, type=type_, error=error)

    async def look(name: str, repairs: "Repairs[Any]") -> Counter[str]:
        types = (
            each.message.received.headers.get("ce-type", "?") for each in await repairs.parked(wanted, MAX_SELECTED)
        )
        return Counter(f"{type_} in {name}" for type_ in types)

    from shared.host.admin.repairs import MAX_SELECTED

    names = _services(service)
    found = {name: types for name, types in zip(names, asyncio.run(_each(names, look)), strict=True) if types}
    if not found:
        raise _none_parked()
    if not yes:
        what = ", ".join(f"{count} {type_}" for types in found.values() for type_, count in types.items())
        typer.confirm(f"Drop for good: {printable(what)}?", abort=True)

    async def act(_name: str, repairs: "Repairs[Any]") -> int:
        return await repairs.drop(wanted, _by(reason))

    count = sum(asyncio.run(_each(list(found), act)))
    terminal().print(f"{_counted(count, 'message')} dropped. What waited behind will be handled.")


@parked.command("history")
def parked_history(service: Service = None, limit: Limit = _DEFAULT_LIMIT) -> None:
    """List what was done by hand about parked messages, the newest first.

    Example: `./ftgo parked history`
    """
    _print_history(_services(service), ON_MESSAGES, limit)


@sagas.command("list")
def list_sagas(
    stuck: Annotated[bool, typer.Option("--stuck", help="Those that wait for a person only.")] = False,
    type_: SagaType = None,
    error: Error = None,
    limit: Limit = _DEFAULT_LIMIT,
) -> None:
    """List the sagas that have not ended, the oldest first.

    Examples: `./ftgo sagas list`   `./ftgo sagas list --stuck`
    """
    from shared.host.admin.repairs import step_name

    table = _table("id", "saga", "of", "step", "way", "waits for", "started", "since", "last error")
    wanted = SagaFilter(stuck=stuck or None, type=type_, error=error)

    async def look(_name: str, repairs: "Repairs[Any]") -> None:
        for saga in await repairs.sagas(wanted, limit):
            row = (
                saga.id,
                saga.type,
                saga.key,
                f"{saga.step + 1} {step_name(saga)}",
                saga.phase,
                _waits_for(saga),
                _time(saga.started_at),
                _time(saga.updated_at),
                saga.error,
            )
            table.add_row(*map(as_text, row))

    asyncio.run(_each(ORCHESTRATORS, look))
    terminal().print(table if table.row_count else "No saga is stuck." if stuck else "Every saga has ended.")


@sagas.command("show")
def show_saga(saga_id: SagaId, limit: Limit = _DEFAULT_LIMIT) -> None:
    """Show a saga: what it knows, its steps, the command it waits for, and what was done about it before.

    Example: `./ftgo sagas show 8fac8390-5e37-511a-9054-296c2afe5e95`
    """

    async def look(_name: str, repairs: "Repairs[Any]") -> None:
        _print_saga(terminal(), await repairs.saga(saga_id, limit))

    asyncio.run(_each(ORCHESTRATORS, look))


@sagas.command()
def resume(
    saga_id: OptionalSagaId = None,
    type_: SagaType = None,
    error: Error = None,
    everything: Everything = False,
    reason: Reason = "",
) -> None:
    """Have stuck sagas try their step again, with a new command. Use it when the cause of the refusal is fixed.

    A saga is stuck when a step that must succeed was refused too often; it does nothing by itself any more. For a saga
    that is still under way, use `retry`.

    Examples: `./ftgo sagas resume 8fac8390-5e37-511a-9054-296c2afe5e95`   `./ftgo sagas resume --error "not found"`
    """
    _require_selection(saga_id or type_ or error or everything)
    wanted = SagaFilter(id=saga_id, type=type_, error=error)

    async def act(_name: str, repairs: "Repairs[Any]") -> int:
        return await repairs.resume(wanted, _by(reason))

    count = sum(asyncio.run(_each(ORCHESTRATORS, act)))
    if count == 0:
        raise LaunchError("no such saga is stuck: see ./ftgo sagas list")
    terminal().print(f"{_counted(count, 'saga')} will try again.")


@sagas.command()
def retry(
    saga_id: OptionalSagaId = None,
    type_: SagaType = None,
    error: Error = None,
    everything: Everything = False,
    reason: Reason = "",
) -> None:
    """Have sagas that are under way do now what they would do after their time-out.

    A saga that waits for a reply sends its command again, with the same id: a service that has already handled it only
    answers again. A saga whose step was refused tries it again. Without this command it happens by itself, within ten
    minutes at most. For a stuck saga, use `resume`.

    Examples: `./ftgo sagas retry 8fac8390-5e37-511a-9054-296c2afe5e95`   `./ftgo sagas retry --all`
    """
    _require_selection(saga_id or type_ or error or everything)
    wanted = SagaFilter(id=saga_id, type=type_, error=error)

    async def act(_name: str, repairs: "Repairs[Any]") -> int:
        return await repairs.retry(wanted, _by(reason))

    count = sum(asyncio.run(_each(ORCHESTRATORS, act)))
    if count == 0:
        raise LaunchError("no such saga is on its way: see ./ftgo sagas list")
    terminal().print(f"{_counted(count, 'saga')} went on.")


@sagas.command("history")
def sagas_history(limit: Limit = _DEFAULT_LIMIT) -> None:
    """List what was done by hand about sagas, the newest first.

    Example: `./ftgo sagas history`
    """
    _print_history(ORCHESTRATORS, ON_SAGAS, limit)


def _print_message(console: Console, service: str, found: "ParkedMessage") -> None:
    message = found.message
    facts = _facts(
        {
            "service": service,
            "id": message.message_id,
            "type": message.received.headers.get("ce-type", "?"),
            "key": message.line.key,
            "sender": message.line.source,
            "parked": _time(message.parked_at),
            "tries": str(message.attempts),
            "error": message.error,
            **message.received.headers,
        }
    )
    console.print(facts)
    console.print(_pretty(message.received.data), markup=False)
    console.print(f"Behind it: {_counted(len(found.behind), 'message')}." if found.behind else "Nothing is behind it.")
    for each in found.behind:
        console.print(f"  {as_text(each.message_id)}  {as_text(each.received.headers.get('ce-type', '?'))}")
    _print_repairs(console, [("", repair) for repair in found.repairs])


def _print_saga(console: Console, found: "SagaState") -> None:
    saga = found.instance
    facts = _facts(
        {
            "saga": saga.type,
            "id": saga.id,
            "of": saga.key,
            "way": saga.phase,
            "waits for": "nothing: it has ended" if saga.position.finished else _waits_for(saga),
            "command's id": saga.awaiting or "",
            "next try": _time(saga.due_at),
            "sent again": str(saga.resends),
            "refused": str(saga.attempts),
            "last error": saga.error,
            "started": _time(saga.started_at),
            "since": _time(saga.updated_at),
            "correlation id": saga.correlation_id,
        }
    )
    console.print(facts)
    for number, step in enumerate(found.steps, start=1):
        console.print(f"  {number} {step.name}: {step.state}", markup=False)
    console.print(_pretty(saga.data), markup=False)
    _print_repairs(console, [("", repair) for repair in found.repairs])


def _print_history(services: Sequence[str], actions: Collection[Action], limit: int) -> None:
    async def look(name: str, repairs: "Repairs[Any]") -> list[tuple[str, Repair]]:
        return [(name, repair) for repair in await repairs.history(actions, limit)]

    found = [each for of_service in asyncio.run(_each(services, look)) for each in of_service]
    found.sort(key=lambda each: each[1].at, reverse=True)
    if not _print_repairs(terminal(), found[:limit]):
        terminal().print("Nothing was done yet.")


def _print_repairs(console: Console, repairs: Sequence[tuple[str, Repair]]) -> bool:
    table = _table("when", "who", "did", "service", "id", "what", "key", "why")
    for service, done in repairs:
        row = (_time(done.at), done.operator, done.action, service, done.subject, done.type, done.key, done.reason)
        table.add_row(*map(as_text, row))
    if table.row_count:
        console.print(table)
    return bool(table.row_count)


def _facts(facts: dict[str, str]) -> Table:
    table = Table(box=None, show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        if value:
            table.add_row(as_text(name), as_text(value))
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column == "id")
    return table


def _pretty(text: str) -> str:
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        return printable(text)


def _time(at: datetime | None) -> str:
    return "" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _waits_for(saga: SagaInstance) -> str:
    return "a person" if saga.stuck else saga.command or "its next try"


def _require_selection(selection: object) -> None:
    if not selection:
        raise LaunchError("say which: an id, --key, --type or --error as far as the command has them, or --all")


def _none_parked() -> LaunchError:
    return LaunchError("no such message is parked: see ./ftgo parked list")


def _services(service: str | None) -> list[str]:
    if service is not None and service not in BY_NAME:
        raise LaunchError(f"there is no service {service!r}: {', '.join(BY_NAME)}")
    return [service] if service else list(BY_NAME)


def _by(reason: str) -> "By":
    from shared.host.admin.repairs import By

    return By(operator=getpass.getuser(), reason=reason)


async def _each(services: Sequence[str], work: Any) -> list[Any]:
    """Returns what `work(name, repairs)` returns for each of the services."""
    return [await _with_repairs(name, work) for name in services]


async def _with_repairs(service: str, work: Any) -> Any:
    async with _repairs(service) as repairs:
        try:
            return await work(service, repairs)
        except (DomainError, TechnicalFault) as error:
            raise LaunchError(str(error)) from None


@asynccontextmanager
async def _repairs(service: str) -> "AsyncIterator[Repairs[Any]]":
    """The repair operations on a service of the running system. Raises LaunchError when there is none."""
    container = _container(attached_system().database(BY_NAME[service]))
    try:
        yield container.repairs()
    finally:
        await container.database().close()


def _container(database: Database) -> "ServiceContainer":
    container: ServiceContainer = importlib.import_module(f"{database.service.name}.main").container()
    settings = ServiceSettings.model_validate(
        {
            "application": FTGO,
            "port": database.service.port,
            "database_url": database.url,
            "migrations_url": database.migrations_url,
        }
    )
    container.settings.override(providers.Object(settings))
    return container
