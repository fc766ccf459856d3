"""The embedded PostgreSQL."""

import contextlib
import hashlib
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg2

from shared.runtime.embedded.installation import (
    POSTGRES_MAJOR,
    SHARED_FOLDER,
    binaries,
    environment,
    make_shared_folder,
    reachable,
    server_user,
)
from shared.runtime.process import LaunchError, Program, still_alive

ADMIN_ROLE = "ftgo_admin"
_STATUS_LINE = 7
"""Of postmaster.pid, from 0."""
_AT_WORK = ("postgres: startup", "postgres: walwriter")
"""The titles of processes of which one is there while the server recovers, and while it takes connections."""
_PREDECESSOR_SECONDS = 30.0
"""How long a server that still runs has for each way to end it."""
_LONGEST_SOCKET_FOLDER = 85
"""Bytes: with the socket's own name no more than the 103 that every system takes."""

# A physical replica is a copy of all databases: nobody's role may make one, though relays' roles have REPLICATION.
# Logical replication, which relays do, is a connection to a database, and falls under the second line.
ACCESS = """\
local replication all reject
host replication all all reject
local all all scram-sha-256
host all all 127.0.0.1/32 scram-sha-256
"""


@dataclass(frozen=True)
class Postgres:
    """A PostgreSQL server on 127.0.0.1 with its data in `folder`.

    `password` is the one of the superuser `ftgo_admin`. `settings` go to postgresql.conf after ours. `durable=False`
    turns fsync off, for tests.
    """

    folder: Path
    port: int
    password: str
    durable: bool = True
    settings: Mapping[str, str | int] = field(default_factory=dict)

    @property
    def admin_url(self) -> str:
        """The superuser's address of the database `postgres`."""
        return f"postgresql://{ADMIN_ROLE}:{quote(self.password, safe='')}@127.0.0.1:{self.port}/postgres"

    @property
    def socket_url(self) -> str:
        """The same through a Unix socket, which costs both sides a quarter less for each message than TCP."""
        return self.admin_url.replace("127.0.0.1", quote(str(self.socket_folder), safe=""))

    @property
    def socket_folder(self) -> Path:
        """Where the Unix socket is."""
        return socket_folder(self.folder)

    def prepare(self) -> None:
        """Make the data folder where there is none, and write its configuration. LaunchError when that can't be."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        user = server_user()
        if not self.folder.exists():
            self._make_data(user)
        self._check_version()
        self._end_predecessor()
        self._make_socket_folder(user)
        settings = "".join(f"{name} = '{value}'\n" for name, value in self.configuration().items())
        for name, text in (("postgresql.conf", settings), ("pg_hba.conf", ACCESS)):
            file = self.folder / name
            file.write_text(text)
            file.chmod(0o644)

    def program(self) -> Program:
        """Return the server's program, to be run after `prepare()`."""
        data = str(self.folder.resolve())
        return Program(
            name="postgres",
            argv=(str(binaries(server_user()) / "postgres"), "-D", data),
            env=environment(),
            cwd=Path(data),
            user=server_user(),
            # SIGINT is PostgreSQL's "fast" shutdown, SIGQUIT its "immediate" one; SIGKILL would leave shared memory.
            stop_signal=signal.SIGINT,
            force_signal=signal.SIGQUIT,
            # A fast shutdown that comes while it restarts after a crash never ends (seen with 18.4); nobody would help.
            orphan_signal=signal.SIGQUIT,
            stop_seconds=30.0,
        )

    def ready(self) -> bool:
        """Tell whether the server takes connections. LaunchError when it doesn't know our password."""
        try:
            psycopg2.connect(self.admin_url, connect_timeout=3).close()
        except psycopg2.OperationalError as error:
            if "password authentication failed" in str(error):
                raise LaunchError(
                    f"the data in {self.folder} has another password than secrets.json beside it says:"
                    " bring the file back, or remove the data with ./ftgo reset"
                ) from None
            return False
        return True

    def stuck(self) -> str:
        """Say why the server will never take connections again, though it runs; "" when it may.

        When the process that recovers it after a crash is killed itself, PostgreSQL 18.4 waits for it for ever. And one
        that was told to end waits for its clients, which don't know.
        """
        try:
            lines = (self.folder / "postmaster.pid").read_text().split("\n")
            children = psutil.Process(int(lines[0])).children()
        except (OSError, ValueError, psutil.Error):  # it is just starting, or has ended
            return ""
        if lines[_STATUS_LINE:] and lines[_STATUS_LINE].strip() == "stopping":
            return "it was told to end, and waits"
        titles = [_title(child) for child in children]
        return "" if any(title.startswith(_AT_WORK) for title in titles) else "it neither recovers nor works"

    def configuration(self) -> dict[str, str | int]:
        """Return what postgresql.conf says."""
        durable = "on" if self.durable else "off"
        return {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": str(self.socket_folder),
            "password_encryption": "scram-sha-256",
            "wal_level": "logical",
            "max_connections": 200,
            "max_wal_senders": 30,
            "max_replication_slots": 30,
            "wal_sender_timeout": "60s",
            # A relay that stays away must not fill the disk: past this its slot is lost, and it makes a new one from
            # the outbox.
            "max_slot_wal_keep_size": "4GB",
            "shared_buffers": "64MB",
            "max_wal_size": "512MB",
            "io_method": "sync",  # saves the worker processes; the working set is small
            "jit": "off",
            "fsync": durable,
            "full_page_writes": durable,
            "log_timezone": "UTC",
            "timezone": "UTC",
            "lc_messages": "C",
            "log_line_prefix": "%m [%p] %q%u@%d ",
            **self.settings,
        }

    def _make_data(self, user: pwd.struct_passwd | None) -> None:
        """Run initdb in a folder of another name first, so that an interrupted one leaves nothing half made."""
        where = self.folder.parent
        if user is not None and not reachable(where.resolve(), user):
            # For example below /root: only a symbolic link can be there.
            make_shared_folder()
            where = Path(tempfile.mkdtemp(prefix="data-", dir=SHARED_FOLDER))
            where.chmod(0o711)
        unfinished = where / f"{self.folder.name}.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        passwords, password_file = tempfile.mkstemp(prefix=".initdb-", dir=where)
        try:
            with os.fdopen(passwords, "w") as file:
                file.write(self.password)
            if user is not None:
                os.chown(unfinished, user.pw_uid, user.pw_gid)
                os.chown(password_file, user.pw_uid, user.pw_gid)
            self._initdb(unfinished, password_file, user)
        except BaseException:
            shutil.rmtree(unfinished if where == self.folder.parent else where, ignore_errors=True)
            raise
        finally:
            Path(password_file).unlink(missing_ok=True)
        finished = unfinished.rename(where / self.folder.name)
        if finished != self.folder:
            self.folder.unlink(missing_ok=True)
            self.folder.symlink_to(finished)

    def _initdb(self, folder: Path, password_file: str, user: pwd.struct_passwd | None) -> None:
        command = [
            str(binaries(user) / "initdb"),
            f"--pgdata={folder}",
            f"--username={ADMIN_ROLE}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--no-locale",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--no-instructions",
        ]
        if not self.durable:
            command.append("--no-sync")
        options = Program("initdb", tuple(command), environment(), folder, user).options()
        done = subprocess.run(  # noqa: S603 - our own binary
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False, **options
        )
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            raise LaunchError(f"initdb failed in {folder}: {lines[-1]}")

    def _make_socket_folder(self, user: pwd.struct_passwd | None) -> None:
        """Whose folder it is decides whom its users talk to, and anybody may make folders there."""
        owner = os.geteuid() if user is None else user.pw_uid
        if len(bytes(self.socket_folder)) > _LONGEST_SOCKET_FOLDER:
            raise LaunchError(f"{self.socket_folder} is too long a path for a socket: set TMPDIR to a shorter one")
        if user is not None:
            make_shared_folder()
        try:
            self.socket_folder.mkdir(mode=0o700)
            os.chown(self.socket_folder, owner, -1)
        except FileExistsError:
            found = self.socket_folder.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or stat.S_IMODE(found.st_mode) != 0o700:
                raise LaunchError(f"{self.socket_folder} is not ours: remove it") from None

    def _check_version(self) -> None:
        try:
            version = (self.folder / "PG_VERSION").read_text().strip()
        except FileNotFoundError:
            raise LaunchError(
                f"{self.folder} holds no PostgreSQL data: move it away, or remove it with ./ftgo reset"
            ) from None
        except PermissionError:
            raise LaunchError(f"{self.folder} belongs to another user: run as that user") from None
        if version != POSTGRES_MAJOR:
            raise LaunchError(
                f"{self.folder} holds data of PostgreSQL {version}, this is PostgreSQL {POSTGRES_MAJOR}:"
                " bring it over with pg_dump, or remove it with ./ftgo reset"
            )

    def _end_predecessor(self) -> None:
        """End the server that a killed supervisor left behind, and forget one that is dead.

        PostgreSQL refuses to start while any process of its user has the id in postmaster.pid, which after a restart
        of a container may well be another program.
        """
        pid_file = self.folder / "postmaster.pid"
        try:
            pid = int(pid_file.read_text().split("\n", 1)[0])
        except FileNotFoundError:
            return
        with contextlib.suppress(psutil.NoSuchProcess, IndexError):
            server = psutil.Process(pid)
            if Path(server.cmdline()[-1]) == self.folder.resolve():
                for number in (signal.SIGINT, signal.SIGQUIT):
                    server.send_signal(number)
                    if not still_alive([server], _PREDECESSOR_SECONDS):
                        break
                else:
                    raise LaunchError(f"a PostgreSQL (pid {pid}) still runs on {self.folder}: end it first")
        pid_file.unlink(missing_ok=True)


def _title(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error, IndexError):
        return str(process.cmdline()[0])
    return ""


def socket_folder(data: Path) -> Path:
    """Where the server of a data folder has its Unix socket: not in there, as that path may be too long for one."""
    own = hashlib.sha256(bytes(data.absolute())).hexdigest()[:8]
    where = SHARED_FOLDER if os.geteuid() == 0 else Path(tempfile.gettempdir())
    return where / f"ftgo-{os.geteuid()}-{own}"
