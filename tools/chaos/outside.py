"""A supervisor that runs as a separate process, `./ftgo up`, so that it can be killed as well."""

import asyncio
import signal
from collections.abc import Mapping
from pathlib import Path

import psutil

from tools.system.system import System
from tools.system.up import start_up


class OutsideSupervisor:
    """`./ftgo up` on a system's folder; what it prints goes to a file."""

    def __init__(self, system: System, variables: Mapping[str, str], output: Path) -> None:
        self._system = system
        self._variables = variables
        self._output = output
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it, for the first time or again. It is not ready yet."""
        replicas = ",".join(f"{name}={number}" for name, number in self._system.arrangement.replicas.items())
        self._process = await start_up(self._system, self._output, "--replicas", replicas, **self._variables)

    def processes(self) -> list[psutil.Process]:
        """Return all that it has started, and what those have started."""
        if self._process is None or self._process.returncode is not None:
            return []
        return list(psutil.Process(self._process.pid).children(recursive=True))

    async def kill(self) -> None:
        """End it at once, as `kill -9` does."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def end(self) -> None:
        """Shut it down in an orderly way."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            await self._process.wait()
