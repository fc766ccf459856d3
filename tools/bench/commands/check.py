"""`./ftgo bench --check`."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from tools.bench.report import console, new_table

if TYPE_CHECKING:
    from collections.abc import Mapping


def group(
    context: typer.Context,
    check: Annotated[
        bool,
        typer.Option("--check", help="Hold ratios, measured in one short run, to docs/benchmarks/ratios.json."),
    ] = False,
) -> None:
    """Measure a new system on this machine. Everything runs on it, the load generator included."""
    if not check:
        return
    if context.invoked_subcommand is not None:
        raise typer.BadParameter("it is a run of its own, without a command", param_hint="--check")
    from tools.bench.check import check as measure
    from tools.bench.check import fallen, kept_ratios

    kept = kept_ratios()
    ratios = asyncio.run(measure(kept, lambda name, ratio: console.print(f"[dim]{name}:[/] {ratio:.3g}")))
    too_small = fallen(ratios, kept)
    _show(ratios, kept, too_small)
    if too_small:
        raise typer.Exit(1)


def _show(ratios: "Mapping[str, float]", kept: "Mapping[str, float]", too_small: list[str]) -> None:
    table = new_table("Ratios")
    for title in ("", "now", "kept", ""):
        table.add_column(title, justify="left" if not title else "right")
    for name, ratio in ratios.items():
        verdict = "[red]fallen by more than half[/]" if name in too_small else "[green]holds[/]"
        table.add_row(name, f"{ratio:.3g}", f"{kept[name]:.3g}", verdict)
    console.print(table)
