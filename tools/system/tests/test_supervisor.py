"""The supervisor, with small programs instead of services and servers."""

import asyncio
import errno
import io
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from random import Random
from socket import create_server
from typing import Protocol, TypeVar

import httpx
import psutil
import pytest
from rich.console import Console

from tests.support.infra import wait_until
from tools.system import supervisor
from tools.system.process import LaunchError, Program, free_port
from tools.system.run_state import read_state
from tools.system.supervisor import Supervisor, local_client, summary
from tools.system.system import ROOT
from tools.system.tests.supervise import NAMES, groups

_numbers = count(1)
R = TypeVar("R")


class Start(Protocol):
    def __call__(self, terminal: int | None = None) -> "Running": ...


class Running:
    """A supervisor that runs as a process."""

    def __init__(self, folder: Path, ports: list[int], terminal: int | None) -> None:
        self.folder = folder
        self.ports = ports
        self.output = folder / f"terminal-{next(_numbers)}"
        command = [sys.executable, "-m", "tools.system.tests.supervise", str(folder), *map(str, ports)]
        with self.output.open("w") as output:
            self.process = subprocess.Popen(command, stdout=terminal or output, stderr=output, cwd=ROOT)

    def said(self) -> str:
        return self.output.read_text()

    def wait_ready(self) -> "Running":
        wait_until(lambda: "READY" in self.said() or self.process.poll() is not None)
        assert "READY" in self.said(), self.said()
        return self

    def pids(self) -> dict[str, int]:
        state = read_state(self.folder)
        return {name: part["pid"] or 0 for name, part in state["parts"].items()} if state else {}

    def descendants(self) -> list[psutil.Process]:
        """All its processes: its own children, and what those have forked."""
        return list(psutil.Process(self.process.pid).children(recursive=True))

    def terminate_all(self) -> None:
        """As systemd stops a unit: SIGTERM for every process of it at once."""
        for process in [*self.descendants(), self.process]:
            process.send_signal(signal.SIGTERM)

    def end(self, *signals: signal.Signals) -> int:
        for each in signals:
            self.process.send_signal(each)
        return self.process.wait(30)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    ports = [free_port() for _ in NAMES]
    with ExitStack() as stack:

        def run(terminal: int | None = None) -> Running:
            running = Running(tmp_path, ports, terminal)
            stack.callback(running.process.wait)
            stack.callback(running.process.kill)
            return running

        yield run


def events(folder: Path) -> list[str]:
    return (folder / "events").read_text().split()


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_starts_in_order_and_one_signal_stops_in_reverse_order(
    start: Start, tmp_path: Path, number: signal.Signals
) -> None:
    running = start().wait_ready()
    started = events(tmp_path)
    assert started[0] == "+server"
    assert sorted(started) == ["+one", "+relay", "+server", "+two"]
    assert running.end(number) == 0
    stopped = events(tmp_path)[4:]
    assert sorted(stopped[:2]) == ["-one", "-two"]
    assert stopped[2:] == ["-relay", "-server"]
    assert read_state(tmp_path) is None


def test_a_child_that_dies_is_started_again_with_one_line(start: Start, tmp_path: Path) -> None:
    running = start().wait_ready()
    before = running.pids()
    os.kill(before["one"], signal.SIGKILL)
    wait_until(lambda: running.pids().get("one") != before["one"] and events(tmp_path).count("+one") == 2)
    lines = [line for line in running.said().splitlines() if "ended (signal SIGKILL), starts again in 0.5 s" in line]
    assert len(lines) == 1
    assert {name for name, pid in running.pids().items() if pid != before[name]} == {"one"}
    assert running.end(signal.SIGINT) == 0


def test_children_die_with_a_killed_supervisor_and_the_next_one_starts(start: Start) -> None:
    running = start().wait_ready()
    orphans = running.pids()
    running.end(signal.SIGKILL)
    wait_until(lambda: not any(map(alive, orphans.values())))
    again = start().wait_ready()
    assert again.pids().keys() == orphans.keys()
    assert again.end(signal.SIGINT) == 0


@pytest.mark.parametrize("seed", range(2))
def test_whatever_is_killed_comes_back(start: Start, tmp_path: Path, seed: int) -> None:
    """Also the fork server, also several at once, also those that are just being started again."""
    running = start().wait_ready()
    random = Random(seed)
    for _ in range(6):
        descendants = running.descendants()
        for victim in random.sample(descendants, min(len(descendants), random.randint(1, 2))):
            with suppress(psutil.NoSuchProcess):
                victim.kill()
    wait_until(lambda: set(running.pids()) == set(NAMES) and all(map(answers, running.ports)), 60)
    assert running.end(signal.SIGTERM) == 0


def test_a_stop_of_all_processes_at_once_is_one_stop(start: Start, tmp_path: Path) -> None:
    running = start().wait_ready()
    running.terminate_all()
    assert running.process.wait(30) == 0
    assert "starts again" not in running.said()
    assert set(events(tmp_path)[4:]) == {"-one", "-relay", "-server", "-two"}


def test_a_stop_of_all_processes_while_they_start_is_a_stop(start: Start, tmp_path: Path) -> None:
    (tmp_path / "server.unready").touch()
    running = start()
    wait_until(lambda: (tmp_path / "events").exists())
    running.terminate_all()
    assert running.process.wait(30) == 0


def test_it_goes_on_when_nobody_reads_what_it_says(start: Start) -> None:
    read, written = os.pipe()
    running = start(written)
    os.close(written)
    with os.fdopen(read) as terminal:
        while terminal.readline().strip() != "READY":
            pass
    before = running.pids()
    os.kill(before["one"], signal.SIGKILL)
    wait_until(lambda: running.pids().get("one") not in (before["one"], None) and all(map(answers, running.ports)))
    assert running.end(signal.SIGTERM) == 0


def test_it_goes_on_when_what_it_says_waits_for_its_reader(start: Start) -> None:
    read, written = os.pipe()
    os.set_blocking(written, False)
    with suppress(BlockingIOError):
        while os.write(written, bytes(1000)):
            pass
    os.set_blocking(written, True)
    running = start(written)
    os.close(written)
    wait_until(lambda: all(map(answers, running.ports)))
    before = running.pids()
    os.kill(before["one"], signal.SIGKILL)
    wait_until(lambda: running.pids().get("one") not in (before["one"], None) and all(map(answers, running.ports)))
    assert running.end(signal.SIGTERM) == 0
    os.close(read)


def test_a_state_that_can_not_be_written_is_written_later(start: Start, tmp_path: Path) -> None:
    running = start().wait_ready()
    before = running.pids()
    (tmp_path / "run.json.new").mkdir()
    os.kill(before["one"], signal.SIGKILL)
    wait_until(lambda: events(tmp_path).count("+one") == 2 and "writing the state failed" in running.said())
    assert running.pids() == before
    (tmp_path / "run.json.new").rmdir()
    wait_until(lambda: running.pids()["one"] != before["one"])
    assert running.end(signal.SIGTERM) == 0


def test_a_log_that_can_not_be_read_keeps_nobody_else_from_being_watched(start: Start, tmp_path: Path) -> None:
    running = start().wait_ready()
    one, two = tmp_path / "logs" / "one.log", tmp_path / "logs" / "two.log"
    one.unlink()
    one.mkdir()
    wait_until(lambda: "watching the log failed" in running.said())
    with two.open("a") as log:
        log.write('{"level": "error", "message": "another error"}\n')
    wait_until(lambda: "another error" in running.said())
    os.kill(running.pids()["one"], signal.SIGKILL)
    wait_until(lambda: "ended (exit status 1)" in running.said())
    one.rmdir()
    wait_until(lambda: events(tmp_path).count("+one") == 2)
    assert running.end(signal.SIGTERM) == 0


def test_a_second_supervisor_of_the_folder_is_refused(start: Start) -> None:
    running = start().wait_ready()
    second = start()
    assert second.process.wait(30) == 1
    assert second.said() == f"refused: the system already runs (pid {running.process.pid}): ./ftgo status shows where\n"
    assert all(map(alive, running.pids().values()))


def test_a_second_signal_ends_by_force_what_does_not_stop(start: Start, tmp_path: Path) -> None:
    (tmp_path / "one.stubborn").touch()
    running = start().wait_ready()
    pids = running.pids()
    running.process.send_signal(signal.SIGINT)
    wait_until(lambda: "-two" in events(tmp_path))
    assert running.end(signal.SIGINT) == 0
    assert not any(map(alive, pids.values()))


def test_it_waits_for_what_is_not_ready(start: Start, tmp_path: Path) -> None:
    (tmp_path / "two.unready").touch()
    running = start()
    wait_until(lambda: (tmp_path / "events").exists() and len(events(tmp_path)) == 4)
    assert "READY" not in running.said()
    (tmp_path / "two.unready").unlink()
    running.wait_ready()


def test_errors_of_children_are_repeated(start: Start) -> None:
    running = start().wait_ready()
    wait_until(lambda: all(f"an error: of {name}" in running.said() for name in NAMES))


async def test_a_server_that_fails_ends_the_start_with_its_last_words(tmp_path: Path) -> None:
    (tmp_path / "server.broken").touch()
    async with local_client() as client:
        parts = groups(tmp_path, [free_port() for _ in NAMES], client)
        broken = Supervisor(parts, tmp_path, Console(file=io.StringIO()))
        with pytest.raises(LaunchError, match="server did not start: it is broken"):
            await broken.start()
        await broken.stop()
    assert not (tmp_path / "events").exists()


async def test_a_taken_port_is_named_with_its_holder(tmp_path: Path) -> None:
    with create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with local_client() as client:
            parts = groups(tmp_path, [free_port(), free_port(), free_port(), port], client)
            refused = Supervisor(parts, tmp_path, Console(file=io.StringIO()))
            with pytest.raises(LaunchError, match=rf"port {port} \(two\) can't be used: .*\(pid {os.getpid()}\)"):
                await refused.start()
            await refused.stop()
    assert not (tmp_path / "events").exists()


async def test_large_logs_are_moved_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "LOG_BYTES", 10)
    log = tmp_path / "logs" / "one.log"
    old = tmp_path / "logs" / "one.log.1"
    async with local_client() as client:
        running = Supervisor(
            groups(tmp_path, [free_port() for _ in NAMES], client), tmp_path, Console(file=io.StringIO())
        )
        try:
            await running.start()
            await asyncio.to_thread(wait_until, old.exists)
        finally:
            await running.stop()
    assert "an error" in old.read_text()
    assert log.read_text() == ""


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ('{"level": "error", "message": "lost", "error": "connection"}', ("error", "lost: connection")),
        ('{"level": "warning", "message": "slow"}', ("warning", "slow")),
        (
            '{"level": "error", "message": "bug", "exception": "Traceback\\n  x\\nValueError: no"}',
            ("error", "bug: ValueError: no"),
        ),
        ("[7] [FTL] no disk", ("error", "[7] [FTL] no disk")),
    ],
)
def test_a_log_line_is_shortened_for_the_terminal(line: str, shown: tuple[str, str]) -> None:
    assert summary(line) == shown


async def test_what_is_taken_down_stays_down_until_it_is_brought_up(tmp_path: Path) -> None:
    async def begun(times: int) -> None:
        await asyncio.to_thread(wait_until, lambda: events(tmp_path).count("+one") == times)

    async with local_client() as client:
        parts = groups(tmp_path, [free_port() for _ in NAMES], client)
        running = Supervisor(parts, tmp_path, Console(file=io.StringIO()))
        one = running.children["one"]
        try:
            await running.start()
            await running.take_down("one")
            assert events(tmp_path)[-1] == "-one"
            assert one.keeper is not None
            assert one.keeper.done()
            await running.bring_up("one")
            await begun(2)
            one.signal(signal.SIGKILL)
            await begun(3)
        finally:
            await running.stop()


class Gone(io.StringIO):
    """A terminal that nobody reads any more."""

    def write(self, _: str) -> int:
        raise BrokenPipeError


async def test_what_fails_while_it_supervises_is_tried_again(tmp_path: Path) -> None:
    """Its own programs fail to start, their probes fail, and nobody reads what it says about it."""
    failures = {"program": 0, "probe": 0}

    def failing(what: str, does: Callable[[], R]) -> Callable[[], R]:
        def fail() -> R:
            failures[what] += 1
            if failures[what] < 3:
                raise OSError(errno.EAGAIN, "try again")
            return does()

        return fail

    async with local_client() as client:
        server, relay, services = groups(tmp_path, [free_port() for _ in NAMES], client)
        one, two = services.parts
        one = replace(one, program=failing("program", one.program), probe=failing("probe", one.probe))
        parts = [server, relay, replace(services, parts=[one, two])]
        running = Supervisor(parts, tmp_path, Console(file=Gone()), longest_pause=supervisor.FIRST_PAUSE)
        try:
            await running.start()
        finally:
            await running.stop()
    assert min(failures.values()) >= 3
    assert sorted(events(tmp_path)[:4]) == ["+one", "+relay", "+server", "+two"]


async def test_a_server_that_can_not_be_started_at_first_is_told_in_one_line(tmp_path: Path) -> None:
    def fail() -> Program:
        raise OSError(errno.EAGAIN, "no more processes")

    async with local_client() as client:
        server, *others = groups(tmp_path, [free_port() for _ in NAMES], client)
        parts = [replace(server, parts=[replace(server.parts[0], program=fail)]), *others]
        refused = Supervisor(parts, tmp_path, Console(file=io.StringIO()))
        with pytest.raises(LaunchError, match=r"server can't be started: .*no more processes"):
            await refused.start()
        await refused.stop()


async def test_a_log_that_can_not_be_moved_aside_leaves_no_half_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_the_disk(_: Path, copy: Path) -> None:
        copy.write_text("half")
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(supervisor, "LOG_BYTES", 10)
    monkeypatch.setattr(shutil, "copyfile", fill_the_disk)
    said = io.StringIO()
    async with local_client() as client:
        parts = groups(tmp_path, [free_port() for _ in NAMES], client)
        running = Supervisor(parts, tmp_path, Console(file=said, width=200))
        try:
            await running.start()
            await asyncio.to_thread(wait_until, lambda: "watching the log failed" in said.getvalue())
        finally:
            await running.stop()
    assert not (tmp_path / "logs" / "one.log.1").exists()
    assert "an error" in (tmp_path / "logs" / "one.log").read_text()


async def test_what_is_stuck_is_ended_and_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "STUCK_SECONDS", 0.0)
    monkeypatch.setattr(supervisor, "_LOOK_SECONDS", 0.01)
    said = io.StringIO()

    async def stuck() -> str:
        return "it waits for itself" if (tmp_path / "stuck").exists() else ""

    async with local_client() as client:
        *others, services = groups(tmp_path, [free_port() for _ in NAMES], client)
        one, two = services.parts
        parts = [*others, replace(services, parts=[replace(one, stuck=stuck), two])]
        running = Supervisor(parts, tmp_path, Console(file=said, width=200))
        try:
            await running.start()
            (tmp_path / "stuck").touch()
            await asyncio.to_thread(wait_until, lambda: "is ended: it waits for itself" in said.getvalue())
            (tmp_path / "stuck").unlink()
            await asyncio.to_thread(wait_until, lambda: events(tmp_path).count("+one") >= 2)
        finally:
            await running.stop()
    assert running.children["two"].restarts == 0


async def test_a_port_that_is_just_being_freed_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refusals = iter([True, True])

    def require(_port: int, _purpose: str, _host: str) -> None:
        if next(refusals, False):
            raise LaunchError("in use")

    monkeypatch.setattr(supervisor, "require_free_port", require)
    async with local_client() as client:
        running = Supervisor(groups(tmp_path, [1, 2, 3, 4], client), tmp_path, Console(file=io.StringIO()))
        await running._free_ports()
        assert next(refusals, None) is None
        refusals = iter([True] * 3)
        monkeypatch.setattr(supervisor, "PORT_SECONDS", -1.0)
        with pytest.raises(LaunchError, match="in use"):
            await running._free_ports()
