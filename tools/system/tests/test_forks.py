"""Forks are processes like any other: nothing of one is another's."""

import asyncio
import errno
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.infra import wait_until
from tools.system import fork_server
from tools.system.forks import ForkedProcess, Forks, can_fork
from tools.system.process import Program
from tools.system.system import ROOT

FACTS = "tools.system.tests.fork_facts"


@asynccontextmanager
async def forking() -> AsyncIterator[Forks]:
    forks = Forks()
    try:
        yield forks
    finally:
        await forks.close()


def program(folder: Path, *arguments: str, **environment: str) -> Program:
    return Program("facts", (sys.executable, "-m", FACTS, *arguments), environment, folder)


def told(log: Path) -> dict[str, Any]:
    wait_until(lambda: log.exists() and log.read_text().endswith("\n"))
    facts: dict[str, Any] = json.loads(log.read_text())
    return facts


async def ended(process: ForkedProcess) -> int:
    async with asyncio.timeout(30):
        return await process.wait()


def is_dead(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)  # where nobody reaps it
    except psutil.NoSuchProcess:
        return True


async def test_a_fork_has_its_programs_arguments_environment_and_folder(tmp_path: Path) -> None:
    async with forking() as forks:
        process = await forks.fork(program(tmp_path, "a", "b", SOME="setting\udcff\n"), tmp_path / "log")
        assert await ended(process) == process.returncode == 3
    facts = told(tmp_path / "log")
    assert (facts["arguments"], facts["environment"]) == (["a", "b"], {"SOME": "setting\udcff\n"})
    assert (facts["pid"], facts["group"], facts["folder"]) == (process.pid, process.pid, str(tmp_path))
    assert facts["blocked"] == []


async def test_forks_make_ids_and_chances_of_their_own(tmp_path: Path) -> None:
    logs = [tmp_path / "one", tmp_path / "two"]
    async with forking() as forks:
        await asyncio.gather(*[ended(await forks.fork(program(tmp_path), log)) for log in logs])
    one, two = [told(log) for log in logs]
    assert one["id"] != two["id"]
    assert one["random"] != two["random"]


async def test_a_fork_can_be_ended_by_a_signal(tmp_path: Path) -> None:
    async with forking() as forks:
        process = await forks.fork(program(tmp_path, "wait"), tmp_path / "log")
        told(tmp_path / "log")
        process.send_signal(signal.SIGTERM)
        assert await ended(process) == -signal.SIGTERM
        process.send_signal(signal.SIGTERM)  # nobody is there, and nobody else may get it


async def test_a_fork_carries_its_name(tmp_path: Path) -> None:
    async with forking() as forks:
        process = await forks.fork(program(tmp_path, "wait"), tmp_path / "log")
        told(tmp_path / "log")
        assert psutil.Process(process.pid).cmdline()[0] == "ftgo: facts"
        process.send_signal(signal.SIGKILL)
        assert await ended(process) == -signal.SIGKILL


def test_only_modules_of_ours_can_be_forked(tmp_path: Path) -> None:
    assert can_fork(program(tmp_path))
    assert not can_fork(Program("nats", ("nats-server", "-m", "8222"), {}, tmp_path))


async def test_a_fork_server_that_was_killed_is_started_again_and_its_forks_have_ended(tmp_path: Path) -> None:
    async with forking() as forks:
        processes = [await forks.fork(program(tmp_path, "wait"), tmp_path / f"{number}") for number in range(2)]
        killed = forks.pid
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        assert [await ended(process) for process in processes] == [-signal.SIGKILL] * 2
        assert all(is_dead(process.pid) for process in processes)
        assert await ended(await forks.fork(program(tmp_path), tmp_path / "again")) == 3
        assert forks.pid not in (killed, None)


async def test_a_fork_server_that_dies_while_it_is_asked_is_an_os_error(tmp_path: Path) -> None:
    async with forking() as forks:
        assert await ended(await forks.fork(program(tmp_path), tmp_path / "first")) == 3
        assert forks.pid is not None
        os.kill(forks.pid, signal.SIGSTOP)
        asked = asyncio.create_task(forks.fork(program(tmp_path), tmp_path / "log"))
        await asyncio.sleep(0)
        os.kill(forks.pid, signal.SIGKILL)
        with pytest.raises(OSError, match="forked from has ended"):
            await asked


async def test_a_fork_that_nobody_waits_for_any_more_is_ended(tmp_path: Path) -> None:
    async with forking() as forks:
        assert await ended(await forks.fork(program(tmp_path), tmp_path / "first")) == 3
        assert forks.pid is not None
        server = psutil.Process(forks.pid)
        server.suspend()
        asked = asyncio.create_task(forks.fork(program(tmp_path, "wait"), tmp_path / "log"))
        await asyncio.sleep(0)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        server.resume()
        assert await ended(await forks.fork(program(tmp_path), tmp_path / "next")) == 3
        await asyncio.to_thread(wait_until, lambda: server.children() == [])


@pytest.mark.parametrize("number", sorted(fork_server.STOPS))
async def test_a_fork_server_outlives_signals_that_stop_everything(tmp_path: Path, number: signal.Signals) -> None:
    async with forking() as forks:
        assert await ended(await forks.fork(program(tmp_path), tmp_path / "first")) == 3
        server = forks.pid
        assert server is not None
        os.kill(server, number)
        assert await ended(await forks.fork(program(tmp_path), tmp_path / "second")) == 3
        assert forks.pid == server


def test_a_system_that_can_not_fork_is_answered_and_the_fork_server_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> int:
        raise BlockingIOError(errno.EAGAIN, "no more processes")

    monkeypatch.setattr(os, "fork", fail)
    ours, its = socket.socketpair()
    with ours, its:
        assert not fork_server.forked({"id": 7, "orphan_signal": signal.SIGKILL}, its)
        assert json.loads(ours.recv(1000)) == {"id": 7, "error": "no more processes"}


def test_a_fork_server_whose_supervisor_died_while_it_was_starting_forks_nothing(tmp_path: Path) -> None:
    """The request waits in the socket: nobody would know of what is forked."""
    log = tmp_path / "log"
    request = {"id": 0, "name": "x", "argv": [FACTS, "wait"], "env": {}, "cwd": str(tmp_path), "log": str(log)}
    starter = (
        "import json, os, socket, subprocess, sys\n"
        "ours, its = socket.socketpair()\n"
        "ours.sendall(sys.argv[1].encode() + b'\\n')\n"
        "from tools.system.process import Program\n"
        "command = (sys.executable, '-m', 'tools.system.fork_server', str(its.fileno()))\n"
        "options = Program('fork server', command, dict(os.environ), os.getcwd()).options()\n"
        "print(subprocess.Popen(command, pass_fds=[its.fileno()], stdout=2, **options).pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    command = [sys.executable, "-c", starter, json.dumps({**request, "orphan_signal": signal.SIGKILL})]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    wait_until(lambda: is_dead(int(done.stdout)))
    assert not log.exists()
