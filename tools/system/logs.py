"""`./ftgo logs`: what the programs of the running system write."""

import sys
import time
from collections import deque
from pathlib import Path
from typing import Annotated

import typer

from shared.core.printable import printable
from tools.system.process import LaunchError
from tools.system.system import SystemSettings


def logs(
    service: Annotated[
        str | None, typer.Argument(help="A service, a replica such as order-2, 'relay', 'nats' or 'postgres'; or all.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is written from now on.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", help="How many of the last lines to show.", min=0)] = 30,
) -> None:
    """Show the last lines of one program's log, or of all.

    Examples: `./ftgo logs order`   `./ftgo logs --follow`
    """
    folder = SystemSettings().data_dir / "logs"
    files = sorted(folder.glob("*.log")) if service is None else [folder / f"{service}.log"]
    missing = [file for file in files if not file.exists()]
    if missing or not files:
        raise LaunchError(f"there is no log of {service or 'anything'} in {folder}")
    width = max(len(file.stem) for file in files) if len(files) > 1 else 0
    positions = {}
    for file in files:
        with file.open("rb") as opened:
            for line in deque(opened, maxlen=lines):
                _write_line(line, file.stem, width)
            positions[file] = opened.tell()
    while follow:
        for file in files:
            positions[file] = _write_new(file, positions[file], width)
        time.sleep(0.2)


def _write_new(file: Path, position: int, width: int) -> int:
    """Print the whole lines written since `position`, return the new position. A truncated log is read from 0."""
    with file.open("rb") as opened:
        opened.seek(position if file.stat().st_size >= position else 0)
        for line in opened:
            if not line.endswith(b"\n"):
                return opened.tell() - len(line)
            _write_line(line, file.stem, width)
        return opened.tell()


def _write_line(line: bytes, name: str, width: int) -> None:
    prefix = f"{name:<{width}}  " if width else ""
    text = line.removesuffix(b"\n").decode(errors="replace")
    sys.stdout.write(prefix + "\t".join(map(printable, text.split("\t"))) + "\n")
    sys.stdout.flush()
