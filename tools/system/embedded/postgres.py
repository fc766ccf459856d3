"""The embedded PostgreSQL."""

import contextlib
import os
import pwd
import re
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

from tools.system.embedded.installation import (
    POSTGRES_MAJOR,
    SHARED_FOLDER,
    binaries,
    binaries_for_initdb,
    environment,
    make_shared_folder,
    reachable,
    server_user,
)
from tools.system.owner import Owner, claim, owner_of, remove, take_into_use
from tools.system.process import LaunchError, Program, still_alive

ADMIN_ROLE = "ftgo_admin"
_STATUS_LINE = 7
"""Of postmaster.pid, from 0."""
_AT_WORK = ("postgres: startup", "postgres: walwriter")
"""The titles of processes of which one is there while the server recovers, and while it takes connections."""
_PREDECESSOR_SECONDS = 30.0
"""How long a server that still runs has for each way to end it."""
SOCKETS = "sockets"
"""The link, beside the data, to the folder of the Unix socket."""
_DATA_PREFIX = "data-"
_INITDB_PREFIX = ".initdb-"
_REASON = re.compile("(error|FATAL|PANIC): ")
_PASSING = ("the database system is", "too many", "connection slots", "terminating connection")
"""What a server that is well may answer for a while."""
_PID_FILE = "postmaster.pid"
_CONTROL_BYTES = 8192
"""Of the file without which PostgreSQL knows nothing of its data."""
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
        login = f"{ADMIN_ROLE}:{quote(self.password, safe='')}"
        # It says that there is no TLS, or clients would look for certificates in the environment and the home folder.
        return f"postgresql://{login}@127.0.0.1:{self.port}/postgres?sslmode=disable"

    @property
    def socket_url(self) -> str:
        """The same through a Unix socket, which costs both sides a quarter less for each message than TCP."""
        return self.admin_url.replace("127.0.0.1", quote(str(self.socket_folder), safe=""))

    @property
    def socket_folder(self) -> Path:
        """Where the Unix socket is, after `prepare()`: not in the data folder, whose path may be too long for one."""
        return (self.folder.parent / SOCKETS).readlink()

    def prepare(self) -> str | None:
        """Make the data folder where there is none, and write its configuration. LaunchError when that can't be.

        Returns what a person should know of the data.
        """
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        user = server_user()
        try:
            self.folder.stat()
        except FileNotFoundError:
            self._make_data(user)
        self._check_data(user)
        copied_from = take_into_use(self.folder)
        warning = None
        if copied_from is not None and (self.folder / _PID_FILE).exists():
            warning = (
                f"{self.folder} was copied from {copied_from.path} while PostgreSQL ran there, or after it was killed:"
                " what was copied while it ran may be damaged, so stop it there and copy again"
            )
        self._end_predecessor()
        self._make_socket_folder(user)
        # A list of names: each may be quoted, and the whole is once more.
        sockets = f'"{str(self.socket_folder).replace(chr(34), chr(34) * 2)}"'
        configuration = {"unix_socket_directories": sockets, **self.configuration()}
        settings = "".join(f"{name} = {_quoted(value)}\n" for name, value in configuration.items())
        for name, text in (("postgresql.conf", settings), ("pg_hba.conf", ACCESS)):
            file = self.folder / name
            file.write_text(text)
            file.chmod(0o644)
        return warning

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
        """Tell whether the server takes connections. LaunchError when it never will, as with another password."""
        try:
            psycopg2.connect(self.admin_url, connect_timeout=3).close()
        except psycopg2.OperationalError as error:
            said = str(error)
            if "password authentication failed" in said:
                raise LaunchError(
                    f"the data in {self.folder} has another password than secrets.json beside it says:"
                    " bring the file back, or remove the data with ./ftgo reset"
                ) from None
            if "FATAL:" in said and not any(each in said for each in _PASSING):
                reason = said.partition("FATAL:")[2].strip().partition("\n")[0]
                raise LaunchError(
                    f"PostgreSQL can't use the data in {self.folder}: {reason}: bring the data back from a backup,"
                    " or remove all with ./ftgo reset"
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
        if self.folder.is_symlink():
            where = Path(os.path.realpath(self.folder)).parent
            if not where.is_dir():
                raise LaunchError(
                    f"{self.folder} leads to {self.folder.readlink()}, which is no more: bring that back,"
                    " or start with empty databases after ./ftgo reset"
                )
        elif user is not None and not reachable(where.resolve(), user):
            # For example below /root: only a symbolic link can be there. It's made first, so that what an interrupted
            # start leaves is found again.
            make_shared_folder()
            where = Path(tempfile.mkdtemp(prefix=_DATA_PREFIX, dir=SHARED_FOLDER))
            where.chmod(0o711)
            self.folder.symlink_to(where / self.folder.name)
        unfinished = where / f"{self.folder.name}.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        passwords, password_file = tempfile.mkstemp(prefix=_INITDB_PREFIX, dir=where)
        try:
            with os.fdopen(passwords, "w") as file:
                file.write(self.password)
            if user is not None:
                os.chown(unfinished, user.pw_uid, user.pw_gid)
                os.chown(password_file, user.pw_uid, user.pw_gid)
            self._initdb(unfinished, password_file, user)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        finally:
            Path(password_file).unlink(missing_ok=True)
        unfinished.rename(where / self.folder.name)

    def _initdb(self, folder: Path, password_file: str, user: pwd.struct_passwd | None) -> None:
        arguments = [
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
            arguments.append("--no-sync")
        with binaries_for_initdb(user) as where:
            program = Program("initdb", (str(where / "initdb"), *arguments), environment(), folder, user)
            done = subprocess.run(  # noqa: S603 - our own binary
                program.argv,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                check=False,
                **program.options(),
            )
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            reasons = [line for line in lines if _REASON.search(line)]  # then it tells of its cleaning up
            raise LaunchError(f"initdb failed in {folder}: {(reasons or lines[-1:])[0]}")

    def _make_socket_folder(self, user: pwd.struct_passwd | None) -> None:
        """Whose folder it is decides whom its users talk to, and anybody may make folders there."""
        uid = os.geteuid() if user is None else user.pw_uid
        owner, link = Owner.of(self.folder.parent), self.folder.parent / SOCKETS
        if link.is_symlink() and _is_private(link, uid) and owner_of(link) == owner:
            return
        if user is not None:
            make_shared_folder()
        made = Path(tempfile.mkdtemp(prefix="ftgo-", dir=None if user is None else SHARED_FOLDER))
        reason = ""
        if "," in str(made):
            reason = "can't hold a socket, as a comma ends a path for libpq: set TMPDIR to another folder"
        elif len(bytes(made)) > _LONGEST_SOCKET_FOLDER:
            reason = "is too long a path for a socket: set TMPDIR to a shorter one"
        if reason:
            made.rmdir()
            raise LaunchError(f"{made} {reason}")
        claim(made, owner)
        os.chown(made, uid, -1)
        remove(link)
        link.symlink_to(made)

    def _check_data(self, user: pwd.struct_passwd | None) -> None:
        bring_back = "bring the data back from a backup, or remove all with ./ftgo reset"
        try:
            version = (self.folder / "PG_VERSION").read_text(errors="replace").strip()
        except NotADirectoryError:
            raise LaunchError(f"{self.folder} is a file, not PostgreSQL's data: {bring_back}") from None
        except FileNotFoundError:
            raise LaunchError(f"{self.folder} holds no PostgreSQL data: {bring_back}") from None
        if version != POSTGRES_MAJOR:
            raise LaunchError(
                f"{self.folder} holds data of PostgreSQL {version or '(unknown)'}, this is PostgreSQL {POSTGRES_MAJOR}:"
                " bring it over with pg_dump, or remove it with ./ftgo reset"
            )
        control = self.folder / "global" / "pg_control"
        if not control.is_file() or control.stat().st_size != _CONTROL_BYTES:
            raise LaunchError(f"{control} is damaged: {bring_back}")
        uid, owner = os.geteuid() if user is None else user.pw_uid, self.folder.stat().st_uid
        if owner != uid:
            raise LaunchError(
                f"{self.folder} belongs to the user {_name_of(owner)}, and PostgreSQL runs as {_name_of(uid)}:"
                f" give it to that user with chown -R {_name_of(uid)}"
            )
        if user is not None and not reachable(self.folder.resolve().parent, user):
            raise LaunchError(
                f"{self.folder} can't be reached by {user.pw_name}, as whom PostgreSQL runs: move it, or let others"
                " pass through the folders above it with chmod o+x"
            )
        self.folder.chmod(0o700)  # PostgreSQL insists, and not every backup keeps it

    def _end_predecessor(self) -> None:
        """End the server that a killed supervisor left behind, and forget one that is dead.

        PostgreSQL refuses to start while any process of its user has the id in postmaster.pid, which after a restart
        of a container, or in a copy of the folder, may well be another program.
        """
        pid_file = self.folder / _PID_FILE
        try:
            pid = int(pid_file.read_text().split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            pid_file.unlink(missing_ok=True)
            return
        with contextlib.suppress(psutil.Error, OSError):
            server = psutil.Process(pid)
            if Path(server.cwd()).samefile(self.folder):  # a server works in its data folder
                for number in (signal.SIGINT, signal.SIGQUIT):
                    server.send_signal(number)
                    if not still_alive([server], _PREDECESSOR_SECONDS):
                        break
                else:
                    raise LaunchError(f"a PostgreSQL (pid {pid}) still runs on {self.folder}: end it first")
        pid_file.unlink(missing_ok=True)


def remove_databases(home: Path) -> Path | None:
    """Remove the data in `home` and the socket's folder, also where they're elsewhere. Return data that is another's.

    It can be repeated where it was interrupted.
    """
    folder = home / "postgres"
    elsewhere = folder.readlink() if folder.is_symlink() else None
    remove(home / SOCKETS)  # of another's there is nothing to tell: it holds no data
    left = remove(folder)
    if elsewhere is not None and elsewhere.parent.match(f"{SHARED_FOLDER}/{_DATA_PREFIX}*") and not elsewhere.exists():
        shutil.rmtree(elsewhere.parent, ignore_errors=True)
    for interrupted in (home / "postgres.unfinished", *home.glob(f"{_INITDB_PREFIX}*")):
        remove(interrupted)
    return left


def _is_private(folder: Path, uid: int) -> bool:
    try:
        found = Path(os.path.realpath(folder)).lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == uid and stat.S_IMODE(found.st_mode) == 0o700


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _quoted(value: str | int) -> str:
    """Return a value as postgresql.conf has it."""
    return "'" + str(value).replace("\\", "\\\\").replace("'", "''").replace("\n", "\\n") + "'"


def _title(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error, IndexError):
        return str(process.cmdline()[0])
    return ""
