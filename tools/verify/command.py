"""The command `./ftgo verify`."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from kernel.topology import SERVICES
from shared.adapters.nats.connection import NatsAddress
from shared.host.provision import Database
from tools.system.process import LaunchError
from tools.system.system import System, attached_system
from tools.terminal import Terminal, as_text

if TYPE_CHECKING:  # so that `--help` does not load all the code that services are made of
    from tools.verify.facts import Finding

_POLL_SECONDS = 1.0

console = Terminal()


def verify(
    wait: Annotated[float, typer.Option(help="Wait up to this many seconds for the system to come to rest.")] = 30,
    show: Annotated[int, typer.Option(help="How many findings of each invariant are shown.", min=1)] = 10,
) -> None:
    """Check what must hold in the running system's databases and stream. Nothing is written.

    It waits until no message is on its way and no saga is under way, because until then the services may differ. The
    exit code is 0 only when the system has come to rest and everything holds.

    Example: `./ftgo verify`
    """
    from tools.verify.invariants import INVARIANTS

    unrest, findings, mended = asyncio.run(_verify(attached_system(), wait))
    by_invariant = defaultdict(list)
    for finding in findings:
        by_invariant[finding.invariant].append(finding)
    table = Table(box=None, show_header=False)
    for name, text in INVARIANTS.items():
        count = len(by_invariant[name])
        table.add_row(name, text, "[green]holds[/]" if not count else f"[red]{count} found[/]")
    console.print(table)
    for name, found in sorted(by_invariant.items()):
        for finding in found[:show]:
            what = as_text(f"{finding.text}: {' '.join(finding.ids)}")
            console.print(f"[red]{name}[/] {what}", soft_wrap=True)
        if len(found) > show:
            console.print(f"[red]{name}[/] and {len(found) - show} more: --show {len(found)}")
    if mended:
        console.print(
            f"[yellow]The stream lacks {len(mended)} messages that were sent. Those who read them have had them,"
            " straight from their senders.[/]",
            soft_wrap=True,
        )
        for finding in mended[:show]:
            console.print(f"{finding.text}: {' '.join(finding.ids)}", soft_wrap=True, markup=False)
    if unrest:
        console.print(f"[red]The system has not come to rest within {wait:g} s:[/] {as_text(unrest)}.", soft_wrap=True)
    if findings or unrest:
        raise typer.Exit(1)


async def _verify(system: System, wait: float) -> "tuple[str, list[Finding], list[Finding]]":
    from asyncpg import PostgresError

    from shared.messaging.broker import BrokerUnavailable

    try:
        return await looked_at([system.database(service) for service in SERVICES], system.nats_address, wait)
    except (OSError, PostgresError, BrokerUnavailable) as error:
        raise LaunchError(f"the system can't be read: {error}") from None


async def when_at_rest(databases: Iterable[Database], nats: NatsAddress, wait: float) -> "tuple[str, list[Finding]]":
    """Returns why the system has not come to rest within `wait` seconds ("" if it has), and what does not hold."""
    unrest, findings, _ = await looked_at(databases, nats, wait)
    return unrest, findings


async def looked_at(
    databases: Iterable[Database], nats: NatsAddress, wait: float
) -> "tuple[str, list[Finding], list[Finding]]":
    """Like `when_at_rest`, and also returns findings that do not hold but have no consequences.

    A relay that has not published everything yet is only visible as messages that are missing from the stream. So the
    check is repeated until its findings stay the same, as long as there is time.
    """
    from tools.verify import invariants
    from tools.verify.running import running_state

    known = list(databases)
    give_up = time.monotonic() + wait
    before: list[Finding] | None = None
    while True:
        async with running_state(known, nats) as state:
            late = time.monotonic() >= give_up
            unrest = await invariants.unrest(state)
            if not unrest or late:
                found = await invariants.look(state)
                findings = [finding for finding in found if not finding.mended]
                if not findings or findings == before or late:
                    return unrest, findings, [finding for finding in found if finding.mended]
                before = findings
        await asyncio.sleep(_POLL_SECONDS)
