"""Real PostgreSQL and NATS for tests: started once a session from the wheels, on free ports, in a temporary folder."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import IO, Protocol

import psutil
import psycopg2
from psycopg2 import sql

from kernel.topology import BY_NAME
from shared.core.service_info import ServiceInfo
from shared.host.provision import Database, provision, roles_of
from tools.system.embedded.nats import Nats
from tools.system.embedded.postgres import Postgres
from tools.system.process import Program, free_port, still_alive

PASSWORD = "test"
_numbers = count(1)
# A process dies with the thread that started it, not with that thread's process: so one thread starts them all.
_starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="starter")


class AnyServer(Protocol):
    """What a test may do to a server, be it a process (`Server`) or a container: its port and data stay the same."""

    def start(self) -> None:
        """Start it and wait until it answers. RuntimeError with its last lines when it ends instead."""

    def stop(self) -> None:
        """End it in good order; nothing happens where it isn't running."""

    def kill(self) -> None:
        """End it at once, as a crash would."""

    def pause(self) -> None:
        """Let it stand still, as a machine that is overloaded or suspended would."""

    def resume(self) -> None:
        """Let it go on where it was paused."""

    def restart(self) -> None:
        """Stop and start it."""


class Server:
    """One running server that a test may kill, pause and start again, on the same port with the same data."""

    def __init__(self, program: Program, ready: Callable[[], bool], log: Path) -> None:
        """Describe it; `start()` starts it."""
        self.log = log
        self._program = program
        self._ready = ready
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The running process's id."""
        assert self._process is not None, f"{self._program.name} is not running"
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it answers. RuntimeError with its last lines when it ends instead."""
        self.launch()
        self.wait_until_ready()

    def launch(self) -> None:
        """Start it without waiting: several that start at the same time are ready sooner."""
        assert self._process is None, f"{self._program.name} runs already"
        with self.log.open("ab") as output:
            self._process = _starter.submit(self._popen, output).result()

    def _popen(self, output: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._program.argv, stdout=output, stderr=subprocess.STDOUT, **self._program.options())

    def wait_until_ready(self) -> None:
        """Wait until it answers. RuntimeError with its last lines when it ends instead."""
        assert self._process is not None, f"{self._program.name} is not running"
        wait_until(lambda: self._process is None or self._process.poll() is not None or self._ready(), seconds=120)
        if self._process.poll() is not None:
            lines = self.log.read_text(errors="replace").splitlines()[-5:]
            raise RuntimeError(f"{self._program.name} did not start: {' | '.join(lines)}")

    def stop(self) -> None:
        """End it in good order; nothing happens where it isn't running."""
        self._end(kill=False)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self._end(kill=True)

    def wait(self) -> int:
        """Wait until it ends by itself; return its exit code."""
        assert self._process is not None, f"{self._program.name} is not running"
        return self._process.wait(self._program.stop_seconds)

    def pause(self) -> None:
        """Let it stand still, as a machine that is overloaded or suspended would."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on where it was paused."""
        os.kill(self.pid, signal.SIGCONT)

    def restart(self) -> None:
        """Stop and start it."""
        self.stop()
        self.start()

    def _end(self, kill: bool) -> None:
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        children = psutil.Process(process.pid).children(recursive=True)
        if kill:
            process.kill()
        else:
            process.send_signal(self._program.stop_signal)
        try:
            process.wait(self._program.stop_seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(self._program.force_signal)
            process.wait()
        # PostgreSQL doesn't start again while a process of its former self holds the shared memory.
        still_alive(children, 10)


@dataclass
class NatsServer:
    """A nats-server and where it is."""

    url: str
    server: AnyServer


@dataclass
class Infra:
    """The session's servers.

    `admin_url` is the superuser's address of the database `postgres`; `nats_url` a broker that all tests share: one
    that needs a stream of its own asks for `nats()`.
    """

    folder: Path
    admin_url: str
    postgres: AnyServer
    nats_url: str
    nats_server: AnyServer

    @contextlib.contextmanager
    def database(self, service: str | ServiceInfo) -> Iterator[Database]:
        """Give a fresh, empty database with the service's roles and rights; the caller migrates it.

        Its name is new each time, the roles are those of production.
        """
        info = BY_NAME[service] if isinstance(service, str) else service
        passwords = dict.fromkeys(roles_of(info), PASSWORD)
        name = f"{info.database}_{next(_numbers)}"
        database = provision(self.admin_url, passwords, [info], database=name)[info.name]
        try:
            yield database
        finally:
            drop_database(self.admin_url, name)

    @contextlib.contextmanager
    def nats(self, settings: str = "", passwords: Mapping[str, str] | None = None) -> Iterator[NatsServer]:
        """Give an empty nats-server of the test's own, with further lines of configuration, and users if need be."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            described = Nats(Path(folder), free_port(), passwords, settings=settings)
            server = _nats(described)
            try:
                yield NatsServer(described.url, server)
            finally:
                server.stop()


@contextlib.contextmanager
def running_infra() -> Iterator[Infra]:
    """Start PostgreSQL and NATS; end them and remove their data afterwards."""
    with (
        tempfile.TemporaryDirectory(prefix="ftgo-test-", ignore_cleanup_errors=True) as name,
        contextlib.ExitStack() as stack,
    ):
        folder = Path(name)
        folder.chmod(0o711)  # PostgreSQL's own user passes through, where we are root
        postgres = described_postgres(folder)
        postgres.prepare()
        stack.callback(shutil.rmtree, postgres.socket_folder, ignore_errors=True)
        nats = Nats(folder / "nats", free_port())
        server = Server(postgres.program(), postgres.ready, folder / "postgres.log")
        server.start()
        stack.callback(server.stop)
        broker = _nats(nats)
        stack.callback(broker.stop)
        yield Infra(folder, postgres.admin_url, server, nats.url, broker)


def described_postgres(folder: Path) -> Postgres:
    """Describe the session's PostgreSQL: each relay of a test takes a replication slot."""
    return Postgres(
        folder / "postgres",
        free_port(),
        PASSWORD,
        durable=False,
        settings={"max_replication_slots": 100, "max_wal_senders": 100},
    )


def drop_database(admin_url: str, name: str) -> None:
    """Drop a database with the connections and replication slots that use it."""
    with closing(psycopg2.connect(admin_url)) as admin:
        admin.autocommit = True
        with admin.cursor() as cursor:

            def unused() -> bool:
                cursor.execute(
                    "select count(pg_terminate_backend(active_pid)) from pg_replication_slots"
                    " where database = %s and active_pid is not null",
                    [name],
                )
                return cursor.fetchone() == (0,)

            wait_until(unused, seconds=10)
            cursor.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))


def wait_until(condition: Callable[[], object], seconds: float = 30.0, what: str = "the condition") -> None:
    """Return as soon as `condition()` is true. TimeoutError after `seconds`."""
    give_up = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > give_up:
            raise TimeoutError(f"{what} did not come true within {seconds:g} s")
        time.sleep(0.02)


def _nats(described: Nats) -> Server:
    described.prepare()
    server = Server(described.program(), described.ready, described.folder / "nats.log")
    server.start()
    return server
