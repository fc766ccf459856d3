"""Starts our own programs as forks of one process that has imported what they share: they start fast, and
share most of their memory.

That process is `fork_server`. It is separate, since a process with threads and an event loop can't be forked safely.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import psutil

from tools.system.process import Program, still_alive

FORK_SECONDS = 60.0
"""How long a fork may take. The first one waits for the imports, on a machine that may have much else to do."""
_END_SECONDS = 5.0
_LOOK_SECONDS = 0.02
_ROOT = Path(__file__).resolve().parents[2]


class ForkedProcess:
    """A running fork. It can be used like asyncio's `Process`, as far as the supervisor uses that."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    @property
    def returncode(self) -> int | None:
        """The exit status, a signal as a negative number; None while it runs."""
        return self.ended.result() if self.ended.done() else None

    async def wait(self) -> int:
        """Wait until it has ended; returns its `returncode`."""
        return await asyncio.shield(self.ended)

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if not self.ended.done():
            os.kill(self.pid, number)


class Forks:
    """Forks programs. The fork server is started when it is first needed, and again after it has ended."""

    def __init__(self, on_loss: Callable[[], None] = lambda: None) -> None:
        """Set it up; `on_loss` is called when a fork server has ended, and all its forks with it."""
        self._on_loss = on_loss
        self._server: _Server | None = None
        self._starting = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        """The fork server's process id; None while none runs."""
        return None if self._server is None or self._server.lost else self._server.process.pid

    async def fork(self, program: Program, log: Path) -> ForkedProcess:
        """Run a program's module in a fork that writes to the log. Raises OSError when that is not possible now."""
        async with self._starting:
            if self._server is None or self._server.lost:
                await self.close()
                self._server = await _start(self._on_loss)
        async with asyncio.timeout(FORK_SECONDS):
            return await self._server.fork(program, log)

    async def close(self) -> None:
        """End the fork server and all its forks."""
        if self._server is not None:
            server, self._server = self._server, None
            await server.close()


class _Server(asyncio.Protocol):
    """A fork server that runs, and the connection to it."""

    process: asyncio.subprocess.Process

    def __init__(self, on_loss: Callable[[], None]) -> None:
        self._on_loss = on_loss
        self._transport: asyncio.Transport | None = None
        self._begun = b""
        self._numbers = count()
        self._asked: dict[int, asyncio.Future[ForkedProcess]] = {}
        self._forks: dict[int, ForkedProcess] = {}
        self._closing = False
        self.lost = False

    async def fork(self, program: Program, log: Path) -> ForkedProcess:
        """Ask the server for a fork. Raises ConnectionError when it has ended."""
        if self.lost or self._transport is None:
            raise ConnectionError("the process that programs are forked from has ended")
        number = next(self._numbers)
        request = {
            "id": number,
            "name": program.name,
            "argv": program.argv[2:],
            "env": dict(program.env),
            "cwd": str(program.cwd),
            "log": str(log),
            "orphan_signal": program.orphan_signal,
        }
        asked: asyncio.Future[ForkedProcess] = asyncio.get_running_loop().create_future()
        self._asked[number] = asked
        self._transport.write(json.dumps(request).encode() + b"\n")
        try:
            return await asked
        finally:
            del self._asked[number]  # a process forked later has no owner: see `_answer`

    async def close(self) -> None:
        """End the server, which ends its forks: by SIGKILL when it takes too long."""
        self._closing = True
        if self._transport is not None:
            self._transport.close()
        try:
            async with asyncio.timeout(_END_SECONDS):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """From now on, requests can be sent to the server."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Each line answers a request, or says that a fork has ended."""
        *lines, self._begun = (self._begun + data).split(b"\n")
        for line in lines:
            self._answer(json.loads(line))

    def connection_lost(self, exc: Exception | None) -> None:
        """The forks die with the server: callers that wait for their ports are notified after that."""
        self.lost = True
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(ConnectionError("the process that programs are forked from has ended"))
        if not self._closing:
            self._on_loss()
        dying = []
        for pid in self._forks:
            with contextlib.suppress(psutil.NoSuchProcess):
                dying.append(psutil.Process(pid))
                dying[-1].kill()  # for systems whose kernel doesn't do that
        self._bury(dying)

    def _answer(self, answer: dict[str, Any]) -> None:
        if "status" in answer:
            if fork := self._forks.pop(answer["pid"], None):
                fork.ended.set_result(answer["status"])
            return
        asked = self._asked.get(answer["id"])
        if "error" in answer:
            if asked is not None and not asked.done():
                asked.set_exception(OSError(answer["error"]))
            return
        fork = self._forks[answer["pid"]] = ForkedProcess(answer["pid"])
        if asked is not None and not asked.done():
            asked.set_result(fork)
        else:  # the caller does not wait for it any more
            with contextlib.suppress(ProcessLookupError):
                fork.send_signal(signal.SIGKILL)

    def _bury(self, dying: list[psutil.Process]) -> None:
        dying = still_alive(dying, 0)
        left = {process.pid for process in dying}
        for pid in self._forks.keys() - left:
            self._forks.pop(pid).ended.set_result(-signal.SIGKILL)
        if dying:
            asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._bury, dying)


def can_fork(program: Program) -> bool:
    """Whether a program is a Python module, as which it can be forked."""
    return program.argv[:2] == (sys.executable, "-m") and program.user is None


async def _start(on_loss: Callable[[], None]) -> _Server:
    ours, its = socket.socketpair()
    with its:
        command = (sys.executable, "-m", "tools.system.fork_server", str(its.fileno()))
        program = Program("fork server", command, dict(os.environ), _ROOT)
        try:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.DEVNULL, pass_fds=[its.fileno()], **program.options()
            )
        except BaseException:
            ours.close()
            raise
    ours.setblocking(False)
    _, server = await asyncio.get_running_loop().create_connection(lambda: _Server(on_loss), sock=ours)
    server.process = process
    return server
