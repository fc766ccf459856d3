"""Child processes that die with their parent, and the errors that are shown to the user in one line."""

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
    """An expected failure, such as a port in use. Its text is one line that says what to do about it."""


@dataclass(frozen=True)
class Program:
    """A process to run. `env` is its whole environment; `user` is the user it runs as, if not the parent's.

    It is asked to end with `stop_signal`, and gets `force_signal` after `stop_seconds`. The kernel sends
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
    """Have the kernel signal this process when its parent dies. The parent's id is given: it may be dead already."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, int(with_signal), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)


def birth_of(pid: int) -> str | None:
    """Return a value that no later process with this id has, even after a reboot or in another container.

    None when there is no such process. It's counted in ticks since the machine's start: the clock may be changed.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    # The name, in parentheses, may contain any character.
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
    """Return a TCP port of 127.0.0.1 that is free at this moment. Raises LaunchError when there is none."""
    for port in SystemRandom().sample(_OWN_PORTS, len(_OWN_PORTS)):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise LaunchError("there are no free ports")


def require_free_port(port: int, purpose: str, host: str = "127.0.0.1") -> None:
    """Raise LaunchError when `port` is in use; it names the process that holds the port, if known."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        raise LaunchError(f"port {port} ({purpose}) can't be used: {holder_of(port) or error.strerror}") from None


def holder_of(port: int) -> str | None:
    """Return which process listens on `port`, or None when that is unknown."""
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                return f"{' '.join(psutil.Process(connection.pid).cmdline()[:4])} (pid {connection.pid}) listens there"
    except psutil.Error:
        pass
    return None


def memory_of(pid: int) -> int:
    """Return the proportional set size of a process and its children: shared memory counts once."""
    total = 0
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                total += each.memory_full_info().pss
    return total
