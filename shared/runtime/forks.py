"""Starts our own programs as forks of one process that has imported what they share: they start at once, and most of
their memory is one.

The fork server is the standard library's: a process of its own, since one with threads and an event loop can't be
forked safely.
"""

import asyncio
import os
import runpy
import signal
import sys
from collections.abc import Mapping
from multiprocessing import forkserver, get_context
from pathlib import Path

import setproctitle
import uuid_utils

from shared.runtime.process import Program, dies_with_parent

_context = get_context("forkserver")
_context.set_forkserver_preload(["shared.runtime.preloaded"])


class ForkedProcess:
    """A running fork. It can be used like asyncio's `Process`, as far as the supervisor uses that."""

    def __init__(self, pid: int, ended: "asyncio.Future[int]") -> None:
        self.pid = pid
        self._ended = ended

    @property
    def returncode(self) -> int | None:
        """How it has ended, a signal as a negative number; None while it runs."""
        return self._ended.result() if self._ended.done() else None

    async def wait(self) -> int:
        """Wait until it has ended; returns its `returncode`."""
        return await asyncio.shield(self._ended)

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if not self._ended.done():
            os.kill(self.pid, number)


def can_fork(program: Program) -> bool:
    """Whether a program is a Python module, as which it can be forked."""
    return program.argv[:2] == (sys.executable, "-m") and program.user is None


async def fork(program: Program, log: Path) -> ForkedProcess:
    """Run a program's module in a fork that writes to the log."""
    process = _context.Process(
        target=_run_module,
        args=(program.name, program.argv[2:], dict(program.env), program.cwd, log, program.orphan_signal),
        daemon=True,
    )
    forkserver.ensure_running()  # here, as it ends with the thread that starts it
    await asyncio.to_thread(process.start)  # the first one waits for the imports
    assert process.pid is not None
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int] = loop.create_future()

    def note_its_end() -> None:
        loop.remove_reader(process.sentinel)
        process.join()
        assert process.exitcode is not None
        ended.set_result(process.exitcode)

    loop.add_reader(process.sentinel, note_its_end)
    return ForkedProcess(process.pid, ended)


def _run_module(
    name: str,
    module_and_arguments: tuple[str, ...],
    environment: Mapping[str, str],
    folder: Path,
    log: Path,
    orphan_signal: signal.Signals,
) -> None:
    """Be `python -m module arguments…`."""
    setproctitle.setproctitle(f"ftgo: {name}")  # before the environment changes, beside which the title is kept
    os.setpgid(0, 0)
    dies_with_parent(os.getppid(), orphan_signal)
    _redirect(log)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    uuid_utils.reseed_rng()  # forks would make the same ids
    module, *arguments = module_and_arguments
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _redirect(log: Path) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(output)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
