"""Supervises stand-ins as a process of its own: `python -m tools.system.tests.supervise FOLDER PORT…`."""

import asyncio
import os
import sys
from pathlib import Path

import httpx
from rich.console import Console

from tools.printer import Printer
from tools.system.process import LaunchError, Program
from tools.system.supervisor import Group, Part, Supervisor, http_probe, local_client

STANDIN = Path(__file__).parent / "standin.py"
ROOT = STANDIN.parents[3]
NAMES = ("server", "relay", "one", "two")


def standin(name: str, port: int, folder: Path, client: httpx.AsyncClient) -> Part:
    """Return a stand-in as a part."""
    # The server is a program of its own, as PostgreSQL is; the others are modules of ours, and forked.
    standin = (str(STANDIN),) if name == "server" else ("-m", "tools.system.tests.standin")
    program = Program(name, (sys.executable, *standin, str(port), name, str(folder)), dict(os.environ), ROOT)
    url = f"http://127.0.0.1:{port}"
    return Part(name, lambda: program, port, http_probe(client, f"{url}/readyz"), url)


def groups(folder: Path, ports: list[int], client: httpx.AsyncClient) -> list[Group]:
    """Return a system of four: a server that the others need, a relay, two services."""
    server, relay, one, two = (standin(*each, folder, client) for each in zip(NAMES, ports, strict=True))
    return [Group([server], essential=True), Group([relay]), Group([one, two])]


async def supervise(folder: Path, ports: list[int]) -> None:
    """Run the four until a signal comes."""
    printer = Printer(sys.stdout.fileno())
    console = Console(width=200, file=printer)
    async with local_client() as client:
        await Supervisor(groups(folder, ports, client), folder, console).run(lambda: console.print("READY"))
    printer.finish()


if __name__ == "__main__":
    try:
        asyncio.run(supervise(Path(sys.argv[1]), [int(port) for port in sys.argv[2:]]))
    except LaunchError as error:
        sys.exit(f"refused: {error}")
