"""Runs programs as children: starts them in order, restarts what dies, and stops them in the reverse order.

It knows nothing of FTGO: `shared.runtime.system` says which programs there are.
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
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.text import Text

from shared.runtime.forks import ForkedProcess, can_fork, fork
from shared.runtime.process import LaunchError, Program, birth_of, require_free_port
from shared.runtime.run_state import end_orphans, locked, write_state

# Says why a program isn't ready, "" when it is.
Probe = Callable[[], Awaitable[str]]

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
# One that has lived this long starts again with the shortest pause.
STABLE_SECONDS = 60.0
LOG_BYTES = 10 << 20


@dataclass(frozen=True)
class Part:
    """A program of the system: where it listens, when it's ready, and the address to show to people.

    `program` is asked each time that it starts. Its log file has the part's name.
    """

    name: str
    program: Callable[[], Program]
    port: int
    probe: Probe
    url: str
    host: str = "127.0.0.1"


@dataclass(frozen=True)
class Group:
    """Parts that start and stop together.

    With `essential` the next group starts when these are ready, and the system doesn't start when one of them ends
    instead. `prepare` is called before they start, and returns what a person should know; `finish` is called when
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
        """Send its process a signal, and what it may have forked SIGKILL along with it."""
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
            fatal = [line for line in lines if _FATAL.search(line)]  # servers go on to say that they have stopped
            return next((summary(line)[1] for line in reversed(fatal or lines)), "it wrote nothing")
        return "it wrote nothing"


class Supervisor:
    """Runs groups of parts, with logs and state in `folder`. One supervisor a folder."""

    def __init__(
        self,
        groups: Sequence[Group],
        folder: Path,
        console: Console,
        *,
        settings: Mapping[str, Any] | None = None,
        longest_pause: float = LONGEST_PAUSE,
    ) -> None:
        """Describe what is to run; `start()` or `run()` runs it.

        `settings` are for those who read the state. What dies again and again starts again with pauses that double, up
        to the longest.
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
        self._watcher: asyncio.Task[None] | None = None
        self._ready = False
        self._stopping = False
        self._forced = False

    async def run(self, announce: Callable[[], None]) -> None:
        """Run until SIGINT, SIGTERM or SIGHUP, `announce()` when all is ready. A second signal ends it by force."""
        asked = asyncio.Event()

        def on_signal() -> None:
            if asked.is_set():
                self.force()
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
            if starting.done():
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
        """Start everything and return when all of it is ready. LaunchError when that can't be."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._held.enter_context(locked(self._folder))
        await asyncio.to_thread(end_orphans, self._folder)
        self._write_state()
        for child in self._children.values():
            require_free_port(child.part.port, child.part.name, child.part.host)
        self._logs.mkdir(exist_ok=True)
        for child in self._children.values():  # what an earlier run has written was told then
            child.scanned = child.log.stat().st_size if child.log.exists() else 0
        self._watcher = asyncio.create_task(self._watch_logs())
        for group in self._groups:
            if group.prepare is not None and (warning := group.prepare()):
                self._say(warning, "", "warning")
            children = [self._children[part.name] for part in group.parts]
            for child in children:
                await self._spawn(child)
            if group.essential:
                await asyncio.gather(*(self._until_ready(child, may_end=False) for child in children))
            for child in children:
                child.keeper = asyncio.create_task(self._keep(child))
            if group.finish is not None:
                await asyncio.to_thread(group.finish)
        await asyncio.gather(*(self._until_ready(child) for child in self._children.values()))
        self._scan_logs()
        self._ready = True

    async def stop(self) -> None:
        """Stop everything in good order: the last group first, the first one last."""
        self._stopping = True
        for group in reversed(self._groups):
            await asyncio.gather(*(self._end(self._children[part.name]) for part in group.parts))
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        self._held.close()

    def force(self) -> None:
        """Let nothing take its time any more: what is asked to end, and what is still to be asked, ends at once."""
        self._forced = True
        for child in self._children.values():
            if child.program is not None:
                child.signal(child.program.force_signal)

    @property
    def children(self) -> Mapping[str, Child]:
        """The parts as they run now, by name."""
        return self._children

    async def take_down(self, name: str) -> None:
        """End a part in good order, and leave it so until `bring_up`."""
        await self._end(self._children[name])

    async def bring_up(self, name: str) -> None:
        """Start a part that was taken down."""
        child = self._children[name]
        await self._spawn(child)
        child.keeper = asyncio.create_task(self._keep(child))

    async def _spawn(self, child: Child) -> None:
        program = child.program = child.part.program()
        child.process = await (fork if can_fork(program) else _run)(program, child.log)
        child.birth = birth_of(child.process.pid)
        self._write_state()

    async def _keep(self, child: Child) -> None:
        """Start the child again whenever it has died."""
        pause = FIRST_PAUSE
        while True:
            assert child.process is not None
            began = time.monotonic()
            status = await child.process.wait()
            if self._stopping:
                return
            if time.monotonic() - began > STABLE_SECONDS:
                pause = FIRST_PAUSE
            self._say(f"ended ({_how(status)}), starts again in {pause:g} s: {child.last_line()}", child.part.name)
            await asyncio.sleep(pause)
            pause = min(2 * pause, self._longest_pause)
            child.restarts += 1
            await self._spawn(child)

    async def _until_ready(self, child: Child, *, may_end: bool = True) -> None:
        told = time.monotonic()
        while reason := await child.part.probe():
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

    async def _watch_logs(self) -> None:
        """Repeat the children's warnings on the terminal, and keep their logs from growing for ever."""
        while True:
            await asyncio.sleep(0.5)
            self._scan_logs()

    def _scan_logs(self) -> None:
        for child in self._children.values():
            if child.log.exists():
                for level, text in self._warnings(child):
                    # While all start at once they wait for each other, and say so.
                    if self._ready or level != "warning":
                        self._say(text, child.part.name, level)
                self._rotate(child)

    def _warnings(self, child: Child, most: int = 5) -> Iterator[tuple[str, str]]:
        """Yield (level, text) of the different warnings written since the last time, `most` at once."""
        with child.log.open("rb") as file:
            file.seek(child.scanned)
            written = file.read(1 << 20)
        whole = written[: written.rfind(b"\n") + 1]
        child.scanned += len(whole) or (len(written) if len(written) == 1 << 20 else 0)
        found = list(dict.fromkeys(summary(line_at(whole, match.start())) for match in _WARNING.finditer(whole)))
        yield from found[:most]
        if len(found) > most:
            yield "warning", f"and {len(found) - most} more: see {child.log}"

    def _rotate(self, child: Child) -> None:
        """Move a large log to `.1`. The child goes on writing to the file it has open: so copy, then cut it."""
        if child.log.stat().st_size > LOG_BYTES:
            shutil.copyfile(child.log, f"{child.log}.1")
            os.truncate(child.log, 0)
            child.scanned = 0

    def _say(self, text: str, name: str, level: str = "") -> None:
        style = {"warning": "yellow", "error": "red", "critical": "bold red"}.get(level, "")
        line = Text.assemble((time.strftime("%H:%M:%S "), "dim"), (f"{name or 'ftgo':<14}", "bold"), (text, style))
        self._console.print(line, soft_wrap=True)

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
    """Return a probe of a function that blocks a little."""

    async def probe() -> str:
        return "" if await asyncio.to_thread(ready) else "it does not answer"

    return probe


@contextlib.asynccontextmanager
async def local_client() -> AsyncIterator[httpx.AsyncClient]:
    """Give a client for servers on this machine, which no proxy is to come between."""
    async with httpx.AsyncClient(trust_env=False, timeout=3) as client:
        yield client


# Structured lines of ours, and what the servers can only tell here: their other complaints reach their clients.
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
    return level, f"{text}: {details}"[:300] if details else text[:300]


async def _run(program: Program, log: Path) -> asyncio.subprocess.Process:
    with log.open("ab") as output:
        return await asyncio.create_subprocess_exec(
            *program.argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            **program.options(),
        )


def _how(status: int) -> str:
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
