"""The command `./ftgo chaos`."""

import asyncio
import time
from random import SystemRandom
from statistics import median
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from tools.terminal import Terminal, as_text

if TYPE_CHECKING:  # printing the help must not load all the packages of the services
    from tools.chaos.run import Report

_SHOWN = 10
_WIDTH = 110
"""The width of the table, also where there is no terminal to give one."""

console = Terminal()


def chaos(
    faults: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FAULT]...", help="Which ones; all but the controls. --list says which there are."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Random choices follow from this number. It is printed; a random one by default."),
    ] = None,
    seconds: Annotated[float, typer.Option(help="How long orders come at the least, for each fault.", min=1)] = 20,
    rate: Annotated[float, typer.Option(help="Orders a second.", min=0.1, max=200)] = 10,
    times: Annotated[
        int | None, typer.Option(help="How often each fault is injected; by default it says so itself.", min=1)
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep data and logs also of what went well.")] = False,
    show: Annotated[bool, typer.Option("--list", help="Only say which faults there are.")] = False,
) -> None:
    """Break a running system while orders flow, and check that nothing is lost, doubled or stuck.

    For each fault it starts the whole system anew, in a temporary folder and on free ports, with short time-outs.
    Clients place, revise and cancel orders and write down what they are told, while the fault is injected at random
    moments. When the system has come to rest, `verify`'s invariants must hold, and what was acknowledged must be there.
    The exit code is 0 only when all checks pass; otherwise the folder with data and logs is kept.

    Examples: `./ftgo chaos kill pause --seed 7`   `./ftgo chaos --seconds 120 --rate 30 --times 20`
    """
    from tools.chaos.fault import all_faults, faults_called

    if show:
        table = Table(box=None, show_header=False)
        for fault in all_faults().values():
            table.add_row(f"[bold]{fault.name}[/]", f"{fault.summary}{' (a control)' if fault.control else ''}")
        console.print(table)
        return
    from tools.chaos.run import Options, run

    chosen, left_out = faults_called(faults or [])
    options = Options(SystemRandom().randrange(1_000_000) if seed is None else seed, seconds, rate, times, keep)
    console.print(f"Seed {options.seed}; {', '.join(fault.name for fault in chosen)}.")
    for line in left_out:
        console.print(f"[yellow]left out[/]: {as_text(line)}", soft_wrap=True)
    began = time.monotonic()
    reports = []
    for fault in chosen:
        reports.append(asyncio.run(run(fault, options, console)))
        console.print(f"[dim]{fault.name}[/] {_verdict(reports[-1])}")
    table = _table(reports, f"seed {options.seed}, {time.monotonic() - began:.0f} s")
    Terminal(width=max(console.width, _WIDTH)).print(table)
    for report in reports:
        _tell(report)
    if not all(report.passed for report in reports):
        raise typer.Exit(1)


def _table(reports: "list[Report]", title: str) -> Table:
    from tools.chaos.record import Outcome

    table = Table(title=title, title_justify="left", title_style="bold", box=None, header_style="dim")
    table.add_column("fault")
    for column in ("times", "accepted", "refused", "indeterminate", "duplicates", "recovered in"):
        table.add_column(column, justify="right")
    table.add_column("verdict")
    for report in reports:
        recovered = report.recovered
        table.add_row(
            report.fault.name,
            str(report.injected),
            *(str(report.record.count(outcome)) for outcome in Outcome),
            str(report.duplicates),
            f"{median(recovered):.1f} to {max(recovered):.1f} s" if recovered else "",
            _verdict(report),
        )
    return table


def _verdict(report: "Report") -> str:
    if report.fault.control:
        return "[green]breaks, as it must[/]" if report.passed else "[red]should have broken something[/]"
    return "[green]holds[/]" if report.passed else f"[red]{len(report.findings)} found[/]"


def _tell(report: "Report") -> None:
    """Prints what was found, and where to look further."""
    if report.passed and not report.fault.control:
        return
    for finding in report.findings[:_SHOWN]:
        text = ": ".join(
            filter(None, (report.fault.name, f"{finding.invariant} {finding.text}", " ".join(finding.ids)))
        )
        console.print(as_text(text), style="" if report.fault.control else "red", soft_wrap=True)
    if len(report.findings) > _SHOWN:
        console.print(f"{report.fault.name}: and {len(report.findings) - _SHOWN} more")
    if report.folder.exists():
        console.print(f"{report.fault.name}: data and logs are kept in {report.folder}", soft_wrap=True)
