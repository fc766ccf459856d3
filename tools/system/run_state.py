"""The run state of a data folder: written by its supervisor, read by other commands and by the next supervisor."""

import contextlib
import fcntl
import json
import os
import signal
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from tools.system.owner import Owner
from tools.system.process import LaunchError, birth_of, still_alive

STATE_FILE = "run.json"


class PartState(TypedDict):
    """A part: `pid` and `birth` are None until it has been started."""

    pid: int | None
    birth: str | None
    port: int
    url: str
    restarts: int


class RunState(TypedDict):
    """A system and its parts, by name. `owner` is the folder that it was written for, `pid` the supervisor's."""

    owner: Owner
    pid: int
    birth: str
    settings: dict[str, Any]
    parts: dict[str, PartState]


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock the folder; the kernel releases the lock when we die. Raises LaunchError while another process holds it."""
    with (folder / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            state = read_state(folder)
            who = f" (pid {state['pid']})" if state else ""
            raise LaunchError(f"the system already runs{who}: ./ftgo status shows where") from None
        try:
            yield
        finally:
            (folder / STATE_FILE).unlink(missing_ok=True)


def write_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Write `settings` and `parts` of the system that this process runs in the folder."""
    pid = os.getpid()
    whole = {"owner": asdict(Owner.of(folder)), "pid": pid, "birth": birth_of(pid), **state}
    unfinished = folder / f"{STATE_FILE}.new"
    unfinished.write_text(json.dumps(whole, indent=2) + "\n")
    unfinished.replace(folder / STATE_FILE)


def read_state(folder: Path) -> RunState | None:
    """Return the state that the folder's supervisor has written, if the supervisor still runs; None otherwise."""
    state = _written_state(folder)
    return state if state and process_of(state) else None


def end_orphans(folder: Path, patience: float = 30.0) -> None:
    """Wait until the children of a killed supervisor have ended and freed their ports; end those that don't."""
    state = _written_state(folder)
    entries = state["parts"].values() if state else ()
    orphans = [process for process in map(process_of, entries) if process is not None]
    for process in still_alive(orphans, patience / 6):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGQUIT)  # ends PostgreSQL at once, and leaves no shared memory
    for process in still_alive(orphans, patience):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    still_alive(orphans, patience)  # until the kernel has freed their ports


def _written_state(folder: Path) -> RunState | None:
    """Return the state written for this folder, not for the original of a copy. None also when it can't be parsed.

    It may be damaged, as after a power cut, or from another version: that system has ended then, or holds the lock.
    """
    try:
        state = TypeAdapter(RunState).validate_json((folder / STATE_FILE).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    return state if state["owner"].is_same(Owner.of(folder)) else None


def process_of(entry: PartState | RunState) -> psutil.Process | None:
    """Return the running process of an entry, but not another process that got the same id later."""
    if entry["pid"] is None or entry["birth"] is None:
        return None
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(entry["pid"])
        if birth_of(process.pid) == entry["birth"]:
            return process
    return None
