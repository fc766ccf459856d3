"""Child processes that die with their parent, and the errors that are told to a person in one line."""

import ctypes
import os
import pwd
import signal
import socket
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import SystemRandom
from typing import Any

import psutil

# Loaded before any fork: between fork and exec a child must not import or allocate more than it has to.
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1
_START_TIME_FIELD = 19
"""In /proc/PID/stat, counted from the one behind the name."""

_OWN_PORTS = range(26_000, 32_768)
"""Below those that the kernel gives to outgoing connections: of these, one could take the port of a server that is down
for a moment."""


class LaunchError(Exception):
    """A failure that is expected, such as a taken port. Its text is one line that says what to do about it."""


@dataclass(frozen=True)
class Program:
    """A process to run. `env` is its whole environment; `user` is who it runs as, where that isn't the parent's user.

    It is asked to end with `stop_signal`, has `stop_seconds` for that, and gets `force_signal` then. The kernel sends
    `orphan_signal` when the parent dies.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path
    user: pwd.struct_passwd | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    force_signal: signal.Signals = signal.SIGKILL
    orphan_signal: signal.Signals = signal.SIGKILL
    stop_seconds: float = 15.0

    def options(self) -> dict[str, Any]:
        """Return the keyword arguments that `subprocess.Popen` or asyncio's equivalent starts this program with."""
        options: dict[str, Any] = {
            "env": dict(self.env),
            "cwd": self.cwd,
            "process_group": 0,  # a Ctrl-C at the terminal reaches the supervisor only, which stops things in order
            # Runs after Popen has changed the user: that change would have cleared the request.
            "preexec_fn": partial(dies_with_parent, os.getpid(), self.orphan_signal),
        }
        if self.user is not None:
            options |= {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []}
        return options


def dies_with_parent(parent: int, with_signal: signal.Signals) -> None:
    """Have the kernel send this process a signal when its parent dies, whose id is given: it may be dead already."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, int(with_signal), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)


def birth_of(pid: int) -> str | None:
    """Return what no process has that gets this id later, be it after a restart of the machine or in another container.

    None when there is no such process. It's counted in ticks since the machine's start: clocks may be set meanwhile.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    # The name, which stands in parentheses, may contain anything.
    ticks = stat.rpartition(")")[2].split()[_START_TIME_FIELD]
    return f"{ticks} {boot} {Path('/proc/self/ns/pid').readlink()}"


def still_alive(processes: Iterable[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Wait until the processes have ended; return those that haven't after `seconds`.

    A zombie has ended: in a container the first process may never reap it.
    """
    give_up = time.monotonic() + seconds
    alive = [process for process in processes if _is_alive(process)]
    while alive and time.monotonic() < give_up:
        time.sleep(0.02)
        alive = [process for process in alive if _is_alive(process)]
    return alive


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on at this moment. LaunchError when there is none."""
    for port in SystemRandom().sample(_OWN_PORTS, len(_OWN_PORTS)):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise LaunchError("there are no free ports")


def require_free_port(port: int, purpose: str, host: str = "127.0.0.1") -> None:
    """Raise LaunchError, naming the process that holds it where that can be known, when `port` is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        raise LaunchError(f"port {port} ({purpose}) can't be used: {holder_of(port) or error.strerror}") from None


def holder_of(port: int) -> str | None:
    """Return which process listens on `port`, or None where the system doesn't tell us."""
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                return f"{' '.join(psutil.Process(connection.pid).cmdline()[:4])} (pid {connection.pid}) listens there"
    except psutil.Error:
        pass
    return None


def memory_of(pid: int) -> int:
    """The proportional set size of a process and its children: what they share counts once."""
    total = 0
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                total += each.memory_full_info().pss
    return total
