"""Runs programs as children: starts them in order, restarts what dies, and stops them in the reverse order.

Any failure meanwhile is reported and the work is retried, so that no program stays down: see `Supervisor._persist`. It
knows nothing of FTGO: `tools.system.system` says which programs there are.
"""

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.text import Text

from shared.core.printable import printable
from tools.system.forks import ForkedProcess, Forks, can_fork
from tools.system.process import LaunchError, Program, birth_of, require_free_port
from tools.system.run_state import end_orphans, locked, write_state

# Returns why a program isn't ready; "" when it is.
Probe = Callable[[], Awaitable[str]]

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 10.0
# A program that has run this long is restarted with the shortest pause.
STABLE_SECONDS = 20.0
STUCK_SECONDS = 10.0
"""How long a program may be stuck until it is ended: also what starts or ends looks so for a moment."""
_LOOK_SECONDS = 2.0
STOP_SECONDS = 0.2
"""Who stops the system may stop all its processes at once. So an end is no news before this: then we are told too."""
PORT_SECONDS = 5.0
"""How long a port may still be in use when the system starts."""
LOG_BYTES = 10 << 20


@dataclass(frozen=True)
class Part:
    """A program of the system: where it listens, when it's ready, and the address to show to the user.

    `program` is called at each start. The log file has the part's name. `stuck` is for a program that may keep running
    without ever being ready again: it returns the reason, or "" when the program isn't stuck.
    """

    name: str
    program: Callable[[], Program]
    port: int
    probe: Probe
    url: str
    host: str = "127.0.0.1"
    stuck: Probe | None = None


@dataclass(frozen=True)
class Group:
    """Parts that start and stop together.

    With `essential` the next group starts when these are ready, and the system doesn't start when one of them ends
    instead. `prepare` is called before they start, and returns a message for the user; `finish` is called when
    they're ready, in a thread.
    """

    parts: Sequence[Part]
    essential: bool = False
    prepare: Callable[[], str | None] | None = None
    finish: Callable[[], None] | None = None


@dataclass
class Child:
    """A part as it runs now."""

    part: Part
    log: Path
    program: Program | None = None
    process: ForkedProcess | asyncio.subprocess.Process | None = None
    birth: str | None = None
    restarts: int = 0
    keeper: asyncio.Task[None] | None = None
    scanned: int = field(default=0, init=False)

    @property
    def alive(self) -> bool:
        """Tell whether its process runs."""
        return self.process is not None and self.process.returncode is None

    def signal(self, number: signal.Signals) -> None:
        """Send its process a signal; with SIGKILL, also the processes that it may have forked."""
        if self.process is not None and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                if number is signal.SIGKILL:
                    os.killpg(self.process.pid, number)
                else:
                    self.process.send_signal(number)

    def last_line(self) -> str:
        """Return the last line that it has written, for an error message."""
        with contextlib.suppress(OSError):
            lines = self.log.read_bytes()[-4096:].decode(errors="replace").split("\n")
            lines = [line.strip() for line in lines if line.strip()]
            fatal = [line for line in lines if _FATAL.search(line)]  # servers log their stop after the cause
            return next((summary(line)[1] for line in reversed(fatal or lines)), "it wrote nothing")
        return "it wrote nothing"


class Supervisor:
    """Runs groups of parts, with logs and state in `folder`. One supervisor per folder."""

    def __init__(
        self,
        groups: Sequence[Group],
        folder: Path,
        console: Console,
        *,
        settings: Mapping[str, Any] | None = None,
        longest_pause: float = LONGEST_PAUSE,
    ) -> None:
        """Set up the groups; `start()` or `run()` runs them.

        `settings` are stored for readers of the state. A part that dies repeatedly is restarted with pauses that
        double, up to the longest.
        """
        self._folder = folder
        self._groups = groups
        self._console = console
        self._settings = settings or {}
        self._longest_pause = longest_pause
        self._logs = folder / "logs"
        self._children = {
            part.name: Child(part, self._logs / f"{part.name}.log") for group in groups for part in group.parts
        }
        self._held = contextlib.ExitStack()
        self._forks = Forks(self._tell_of_lost_forks)
        self._watchers: list[asyncio.Task[None]] = []
        self._changed = asyncio.Event()
        self._ready = False
        self._stopping = False
        self._forced = False

    async def run(self, announce: Callable[[], None]) -> None:
        """Run until SIGINT, SIGTERM or SIGHUP; call `announce` when all is ready. A second signal ends it by force."""
        asked = asyncio.Event()

        def on_signal() -> None:
            if asked.is_set():
                self.force()
            self._stopping = True
            asked.set()

        loop = asyncio.get_running_loop()
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(each, on_signal)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup wants it to be ignored
            loop.add_signal_handler(signal.SIGHUP, on_signal)
        starting = asyncio.create_task(self.start())
        waiting = asyncio.create_task(asked.wait())
        try:
            await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done() and starting.exception() is not None:
                await asyncio.wait(
                    {waiting}, timeout=STOP_SECONDS
                )  # a part that could not start may have been stopped as well
            if starting.done() and not asked.is_set():
                await starting
                announce()
                await waiting
            self._say("stopping; once more to end it by force", "")
        finally:
            for task in (starting, waiting):
                task.cancel()
            await asyncio.gather(starting, waiting, return_exceptions=True)
            await self.stop()

    async def start(self) -> None:
        """Start everything and return when all of it is ready. Raises LaunchError when that fails."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._held.enter_context(locked(self._folder))
        await asyncio.to_thread(end_orphans, self._folder)
        self._changed.set()
        self._watch(self._write_changes, "writing the state")
        await self._free_ports()
        for child in self._children.values():
            child.scanned = child.log.stat().st_size if child.log.exists() else 0  # an earlier run has reported that
            self._watch(partial(self._watch_log, child), "watching the log", child.part.name)
            if child.part.stuck is not None:
                self._watch(partial(self._end_when_stuck, child, child.part.stuck), "looking at it", child.part.name)
        for group in self._groups:
            if group.prepare is not None and (warning := group.prepare()):
                self._say(warning, "", "warning")
            children = [self._children[part.name] for part in group.parts]
            if group.essential:
                for child in children:
                    await self._spawn_first(child)
                for child in children:
                    await self._until_ready(child, may_end=False)
            for child in children:
                self._keep_up(child)
            if group.finish is not None:
                await asyncio.to_thread(group.finish)
        for child in self._children.values():
            await self._until_ready(child)
        for child in self._children.values():
            with contextlib.suppress(OSError):  # its watcher reports it
                self._tell_warnings(child)
        self._ready = True

    async def _free_ports(self) -> None:
        """Return when all ports are free. Raises LaunchError when one is still in use after a while.

        Processes left by a killed supervisor of another release end by themselves, and its state file can't be read.
        """
        give_up = time.monotonic() + PORT_SECONDS
        for child in self._children.values():
            while True:
                try:
                    require_free_port(child.part.port, child.part.name, child.part.host)
                except LaunchError:
                    if time.monotonic() > give_up:
                        raise
                    await asyncio.sleep(0.1)
                else:
                    break

    async def stop(self) -> None:
        """Stop everything in reverse order: the last group first, the first one last."""
        self._stopping = True
        for group in reversed(self._groups):
            ends = (self._end(self._children[part.name]) for part in group.parts)
            for part, failure in zip(group.parts, await asyncio.gather(*ends, return_exceptions=True), strict=True):
                if failure is not None:  # the others must still end in order
                    self._say(f"ending it failed: {_reason(failure)}", part.name, "error")
        await self._forks.close()
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        self._held.close()

    def force(self) -> None:
        """End everything by force: parts that are stopping now, or have not been stopped yet, end at once."""
        self._forced = True
        for child in self._children.values():
            if child.program is not None:
                child.signal(child.program.force_signal)

    @property
    def children(self) -> Mapping[str, Child]:
        """The parts as they run now, by name."""
        return self._children

    async def take_down(self, name: str) -> None:
        """Stop a part, and keep it stopped until `bring_up`."""
        await self._end(self._children[name])

    async def bring_up(self, name: str) -> None:
        """Start a part that was taken down."""
        child = self._children[name]
        child.process = None  # this is a fresh start, not a restart
        await self._spawn(child)
        self._keep_up(child)

    @property
    def fork_server(self) -> int | None:
        """The process that programs are forked from; None while none runs."""
        return self._forks.pid

    async def _persist(self, work: Callable[[], Awaitable[None]], what: str, name: str = "") -> None:
        """Run `work` until it returns. A failure is reported and retried, with pauses that double up to the longest.

        All long-lived tasks run through this: nothing awaits them, so a failure would otherwise go unnoticed.
        """
        pause = FIRST_PAUSE
        while True:
            began = time.monotonic()
            try:
                await work()
            except Exception as failure:
                if time.monotonic() - began > STABLE_SECONDS:
                    pause = FIRST_PAUSE
                self._say(f"{what} failed, is tried again in {pause:g} s: {_reason(failure)}", name, "error")
            else:
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, self._longest_pause)

    def _watch(self, work: Callable[[], Awaitable[None]], what: str, name: str = "") -> None:
        self._watchers.append(asyncio.create_task(self._persist(work, what, name)))

    def _keep_up(self, child: Child) -> None:
        child.keeper = asyncio.create_task(self._persist(partial(self._keep, child), "starting it", child.part.name))

    async def _keep(self, child: Child) -> None:
        """Start the child, and again whenever it has died."""
        pause = FIRST_PAUSE
        while True:
            if not child.alive:
                await self._spawn(child)
            assert child.process is not None
            began = time.monotonic()
            status = await child.process.wait()
            await asyncio.sleep(STOP_SECONDS)
            if self._stopping:
                return
            if time.monotonic() - began > STABLE_SECONDS:
                pause = FIRST_PAUSE
            self._say(f"ended ({_how(status)}), starts again in {pause:g} s: {child.last_line()}", child.part.name)
            await asyncio.sleep(pause - STOP_SECONDS)
            pause = min(2 * pause, self._longest_pause)

    async def _spawn(self, child: Child) -> None:
        again = child.process is not None
        program = child.program = child.part.program()
        child.log.parent.mkdir(exist_ok=True)
        child.process = await (self._forks.fork if can_fork(program) else _run)(program, child.log)
        child.restarts += again
        child.birth = birth_of(child.process.pid)
        self._changed.set()

    async def _spawn_first(self, child: Child) -> None:
        try:
            await self._spawn(child)
        except OSError as failure:
            raise LaunchError(f"{child.part.name} can't be started: {_reason(failure)}") from None

    def _tell_of_lost_forks(self) -> None:
        self._say("the process that programs are forked from has ended, and they with it", "", "error")

    async def _until_ready(self, child: Child, *, may_end: bool = True) -> None:
        told = time.monotonic()
        while reason := await _asked(child.part.probe):
            if not may_end and not child.alive:
                name = child.part.name
                raise LaunchError(f"{name} did not start: {child.last_line()}: ./ftgo logs {name} tells more")
            if time.monotonic() - told > 20:
                told = time.monotonic()
                self._say(f"not ready yet: {reason}", child.part.name)
            await asyncio.sleep(0.1)

    async def _end(self, child: Child) -> None:
        if child.keeper is not None:
            child.keeper.cancel()
            await asyncio.gather(child.keeper, return_exceptions=True)
        process, program = child.process, child.program
        if process is None or program is None:
            return
        child.signal(program.force_signal if self._forced else program.stop_signal)
        for then in (program.force_signal, signal.SIGKILL):
            try:
                async with asyncio.timeout(program.stop_seconds):
                    await process.wait()
                return
            except TimeoutError:
                self._say(f"does not end within {program.stop_seconds:g} s: {then.name}", child.part.name)
                child.signal(then)
        await process.wait()

    async def _end_when_stuck(self, child: Child, stuck: Probe) -> None:
        """Kill a program that is stuck for long, so that it is restarted."""
        since = time.monotonic()
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            kept_up = child.alive and child.keeper is not None and not child.keeper.done() and not self._stopping
            reason = await stuck() if kept_up else ""
            if not reason:
                since = time.monotonic()
            elif time.monotonic() - since > STUCK_SECONDS and child.program is not None:
                self._say(f"is stuck, and is ended: {reason}", child.part.name, "error")
                child.signal(child.program.force_signal)
                since = time.monotonic()

    async def _watch_log(self, child: Child) -> None:
        """Repeat the child's warnings on the terminal, and keep its log from growing for ever."""
        while True:
            await asyncio.sleep(0.5)
            self._tell_warnings(child)

    def _tell_warnings(self, child: Child) -> None:
        if child.log.exists():
            for level, text in self._warnings(child):
                # While all parts start, they wait for each other and log warnings about it.
                if self._ready or level != "warning":
                    self._say(text, child.part.name, level)
            self._rotate(child)

    def _warnings(self, child: Child, most: int = 5) -> Iterator[tuple[str, str]]:
        """Yield (level, text) of the different warnings written since the last time, `most` at once."""
        with child.log.open("rb") as file:
            if os.fstat(file.fileno()).st_size < child.scanned:  # the log was truncated
                child.scanned = 0
            file.seek(child.scanned)
            written = file.read(1 << 20)
        whole = written[: written.rfind(b"\n") + 1]
        child.scanned += len(whole) or (len(written) if len(written) == 1 << 20 else 0)
        found = list(dict.fromkeys(summary(line_at(whole, match.start())) for match in _WARNING.finditer(whole)))
        yield from found[:most]
        if len(found) > most:
            yield "warning", f"and {len(found) - most} more: see {child.log}"

    def _rotate(self, child: Child) -> None:
        """Move a large log to `.1`. The child keeps writing to its open file: so copy, then truncate it."""
        if child.log.stat().st_size > LOG_BYTES:
            copy = Path(f"{child.log}.1")
            try:
                shutil.copyfile(child.log, copy)
            except OSError:
                copy.unlink(missing_ok=True)  # an incomplete copy, on a full disk
                raise
            os.truncate(child.log, 0)
            child.scanned = 0

    def _say(self, text: str, name: str, level: str = "") -> None:
        """Print on the terminal. Text that can't be printed is dropped: a failure must not end anything here."""
        style = {"warning": "yellow", "error": "red", "critical": "bold red"}.get(level, "")
        line = Text.assemble(
            (time.strftime("%H:%M:%S "), "dim"), (f"{name or 'ftgo':<14}", "bold"), (printable(text), style)
        )
        with contextlib.suppress(Exception, SystemExit):  # a console without a reader would end the process
            self._console.print(line, soft_wrap=True)

    async def _write_changes(self) -> None:
        while True:
            await self._changed.wait()
            self._write_state()
            self._changed.clear()

    def _write_state(self) -> None:
        parts = {}
        for name, child in self._children.items():
            parts[name] = {
                "pid": child.process.pid if child.process else None,
                "birth": child.birth,
                "port": child.part.port,
                "url": child.part.url,
                "restarts": child.restarts,
            }
        write_state(self._folder, {"settings": self._settings, "parts": parts})


def http_probe(client: httpx.AsyncClient, url: str) -> Probe:
    """Return a probe that asks `url` for a 200."""

    async def probe() -> str:
        try:
            response = await client.get(url)
        except httpx.HTTPError:
            return "it does not answer"
        if response.status_code == httpx.codes.OK:
            return ""
        with contextlib.suppress(ValueError, AttributeError):
            return str(response.json().get("detail") or f"HTTP status {response.status_code}")
        return f"HTTP status {response.status_code}"

    return probe


def blocking_probe(ready: Callable[[], bool]) -> Probe:
    """Return a probe that calls a function which blocks briefly."""

    async def probe() -> str:
        return "" if await asyncio.to_thread(ready) else "it does not answer"

    return probe


@contextlib.asynccontextmanager
async def local_client() -> AsyncIterator[httpx.AsyncClient]:
    """Provide a client for servers on this machine; it uses no proxy."""
    async with httpx.AsyncClient(trust_env=False, timeout=3) as client:
        yield client


# Our structured lines, and server problems that appear only here: clients receive the other errors.
_WARNING = re.compile(rb'"level": ?"(?:warning|error|critical)"|\[(?:ERR|FTL)\]|PANIC: ')


_FATAL = re.compile(r"\[FTL\]|(?:FATAL|PANIC): ")


def line_at(text: bytes, position: int) -> str:
    """Return the line of `text` around `position`."""
    end = text.find(b"\n", position)
    return text[text.rfind(b"\n", 0, position) + 1 : end if end >= 0 else None].decode(errors="replace").strip()


def summary(line: str) -> tuple[str, str]:
    """Return level and text of a log line, short enough for a terminal."""
    try:
        entry = json.loads(line)
        level, text = entry["level"], str(entry["message"])
        details = entry.get("error") or entry.get("reason") or str(entry.get("exception", "")).strip().split("\n")[-1]
    except (ValueError, KeyError, TypeError):
        return "error", line[:300]
    return str(level), f"{text}: {details}"[:300] if details else text[:300]


async def _run(program: Program, log: Path) -> asyncio.subprocess.Process:
    with log.open("ab") as output:
        return await asyncio.create_subprocess_exec(
            *program.argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            **program.options(),
        )


async def _asked(probe: Probe) -> str:
    """Return a probe's result, also when the probe fails. Raises LaunchError when asking again is useless."""
    try:
        return await probe()
    except LaunchError:
        raise
    except Exception as failure:
        return f"it can't be asked: {_reason(failure)}"


def _reason(failure: BaseException) -> str:
    return " ".join(str(failure).split()) or type(failure).__name__


def _how(status: int) -> str:
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
