"""`./ftgo status`: what runs, where, and whether it is ready."""

import asyncio
import time
from typing import Annotated, Any

import psutil
import typer
from rich.table import Table

from tools.system.process import LaunchError, memory_of
from tools.system.run_state import read_state
from tools.system.supervisor import http_probe, local_client
from tools.system.system import SystemSettings
from tools.terminal import Terminal, as_text

console = Terminal()


def status(
    wait: Annotated[float, typer.Option(help="Wait up to this many seconds until all is ready.", min=0)] = 0,
) -> None:
    """Show what runs, where, and whether it's ready. The exit code is 0 only when all parts are ready.

    Examples: `./ftgo status`   `./ftgo status --wait 60`
    """
    give_up = time.monotonic() + wait
    while True:
        state = read_state(SystemSettings().data_dir)
        reasons = asyncio.run(_reasons(state["parts"])) if state else {}
        ready = bool(reasons) and not any(reasons.values())
        if ready or time.monotonic() >= give_up:
            break
        time.sleep(0.3)
    if state is None:
        raise LaunchError("nothing runs: ./ftgo up starts the system")
    table = Table(box=None, header_style="dim")
    for column in ("", "state", "where", "pid", "memory", "restarts"):
        table.add_column(column, no_wrap=True)
    for name, part in state["parts"].items():
        shown = "[red]not ready[/]" if reasons[name] else "[green]ready[/]"
        pid = part["pid"]
        table.add_row(name, shown, part["url"], str(pid or ""), _memory(pid) if pid else "", str(part["restarts"]))
    console.print(table)
    if not ready:
        for name, reason in reasons.items():
            if reason:
                console.print(f"[red]{name}:[/] {as_text(reason)}", soft_wrap=True)
        raise typer.Exit(1)


async def _reasons(parts: dict[str, Any]) -> dict[str, str]:
    """Return by name why each part isn't ready; "" for a part that is."""
    async with local_client() as client:

        async def reason(part: dict[str, Any]) -> str:
            if part["pid"] is None:
                return "not started yet"
            if part["url"].startswith("http"):
                return await http_probe(client, f"{part['url']}/readyz")()
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", part["port"])
            except OSError:
                return "it does not answer"
            writer.close()
            return ""

        return dict(zip(parts, await asyncio.gather(*map(reason, parts.values())), strict=True))


def _memory(pid: int) -> str:
    """Return the proportional memory of a process and its children, in MB."""
    try:
        size = memory_of(pid)
    except (psutil.Error, AttributeError):  # no permission, or not Linux
        return ""
    return f"{size / 1e6:.0f} MB" if size else ""
