"""`./ftgo bench growth`."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from tools.bench.commands.orders import complain
from tools.bench.report import JsonFile, PlotFile, Seed, console, in_short, new_table, numbers, show, write_json

if TYPE_CHECKING:  # so that `--help` does not load all the code that services are made of
    from tools.bench.growth import Grown
    from tools.bench.machine import Surroundings

_MAX_ORDERS = 10_000_000


def growth(
    orders: Annotated[str, typer.Option(help="After how many orders it is measured again.")] = "10000,100000,500000",
    users: Annotated[int, typer.Option(help="Users of the closed loop, which fills the system too.", min=1)] = 100,
    seconds: Annotated[float, typer.Option(help="How long it is measured each time.", min=1)] = 20,
    warm_up: Annotated[float, typer.Option(help="How long the load runs before.", min=0)] = 3,
    seed: Seed = 1,
    json_file: JsonFile = None,
    plot: PlotFile = None,
) -> None:
    """Measure orders per second and CPU per order at the start, and again after many orders.

    One system takes all of them, and deletes nothing: outbox, inbox, sagas and stream keep their
    data for a day or longer. That is about 50 KB of disk per order, in the folder for temporary files.

    Example: `./ftgo bench growth --orders 1000,10000`
    """
    marks = sorted(int(each) for each in numbers(orders, "--orders", whole=True, most=_MAX_ORDERS))
    where, points = asyncio.run(_grow(marks, users, seed, warm_up, seconds))
    show(where, _table([each for each in points if each.mark is not None]))
    write_json(json_file, where, {"seed": seed, "warm_up": warm_up, "seconds": seconds, "users": users}, points)
    if plot is not None:
        from tools.bench.plot import draw_growth

        draw_growth(points, f"{users} users, more and more orders; {in_short(where)}", plot)
    if complain([each.measured for each in points]):
        raise typer.Exit(1)


async def _grow(
    marks: Sequence[int], users: int, seed: int, warm_up: float, seconds: float
) -> "tuple[Surroundings, list[Grown]]":
    from tools.bench.growth import ARRANGEMENT, grow
    from tools.bench.machine import surroundings
    from tools.bench.running import running

    points = []
    async with running(ARRANGEMENT) as system:
        where = await surroundings(system.system)
        async for each in grow(system, marks, users, seed, warm_up, seconds):
            points.append(each)
            console.print(f"[dim]after {each.orders:,} orders:[/] {each.measured.a_second:g}/s")
    return where, points


def _table(points: "Sequence[Grown]") -> Table:
    """The results at each mark, and how they compare with the start."""
    table = new_table("More and more orders; milliseconds; in brackets, compared with the start")
    for title in ("orders before", "approved/s", "CPU an order", "to Approved p50", "p99", "memory (PSS)"):
        table.add_column(title, justify="right")
    start = points[0].measured
    for point in points:
        now = point.measured
        table.add_row(
            f"{point.orders:,}",
            _compared(now.a_second, start.a_second),
            _compared(now.cpu_in_all, start.cpu_in_all),
            *(f"{getattr(now.end_to_end, share, 0.0):,.4g}" for share in ("p50", "p99")),
            f"{sum(now.memory.values()) / 1e6:.0f} MB",
        )
    return table


def _compared(now: float, start: float) -> str:
    return f"{now:,.4g} ({now / start:.2f})" if start else f"{now:,.4g}"
