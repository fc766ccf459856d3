"""The supervisor, with small programs instead of services and servers."""

import asyncio
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from socket import create_server

import psutil
import pytest
from rich.console import Console

from shared.runtime import supervisor
from shared.runtime.process import LaunchError, free_port
from shared.runtime.run_state import read_state
from shared.runtime.supervisor import Supervisor, local_client, summary
from shared.runtime.system import ROOT
from shared.runtime.tests.supervise import NAMES, groups
from shared.testing.infra import wait_until

_numbers = count(1)

Start = Callable[[], "Running"]


class Running:
    """A supervisor that runs as a process."""

    def __init__(self, folder: Path, ports: list[int]) -> None:
        self.folder = folder
        self.output = folder / f"terminal-{next(_numbers)}"
        command = [sys.executable, "-m", "shared.runtime.tests.supervise", str(folder), *map(str, ports)]
        with self.output.open("w") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT)

    def said(self) -> str:
        return self.output.read_text()

    def wait_ready(self) -> "Running":
        wait_until(lambda: "READY" in self.said() or self.process.poll() is not None)
        assert "READY" in self.said(), self.said()
        return self

    def pids(self) -> dict[str, int]:
        state = read_state(self.folder)
        return {name: part["pid"] or 0 for name, part in state["parts"].items()} if state else {}

    def end(self, *signals: signal.Signals) -> int:
        for each in signals:
            self.process.send_signal(each)
        return self.process.wait(30)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    ports = [free_port() for _ in NAMES]
    with ExitStack() as stack:

        def run() -> Running:
            running = Running(tmp_path, ports)
            stack.callback(running.process.wait)
            stack.callback(running.process.kill)
            return running

        yield run


def events(folder: Path) -> list[str]:
    return (folder / "events").read_text().split()


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
