"""PostgreSQL and NATS for tests in containers, by testcontainers: the same images as docker-compose.yml's.

Their ports are published on 127.0.0.1, so the Docker engine has to be on this machine. Whatever becomes of the tests,
no container stays: as a module, this is the program that removes those of a session that has died.
"""

import contextlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docker.errors import DockerException
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.docker_client import DockerClient
from testcontainers.core.labels import LABEL_SESSION_ID, SESSION_ID

from tests.support.infra import PASSWORD, Infra, NatsServer, described_postgres, wait_until
from tools.system.embedded.nats import Nats
from tools.system.embedded.postgres import ADMIN_ROLE, Postgres
from tools.system.process import free_port

ROOT = Path(__file__).parents[2]
CONFIG = "/etc/nats/ftgo.conf"
# A container has a network and file system of its own: there PostgreSQL keeps to the image's places.
PLACES = {"listen_addresses", "port", "unix_socket_directories"}

# Our own program removes what is left: testcontainers' would be a privileged container with the engine's socket.
testcontainers_config.ryuk_disabled = True


class ContainerServer:
    """A server in a container, which a test may kill, pause and start again, on the same port with the same data."""

    def __init__(self, container: DockerContainer, inside: int, port: int, ready: Callable[[], bool]) -> None:
        """Describe it: its port `inside` is published as `port`. `start()` makes and starts it."""
        container.ports[f"{inside}/tcp"] = ("127.0.0.1", port)  # type: ignore[assignment] # the engine's API takes it
        self._container = container
        self._ready = ready
        self._made = False

    def start(self) -> None:
        """Start it and wait until it answers. RuntimeError with its last lines when it ends instead."""
        if self._made:
            self._docker.start()
        else:
            self._container.start()
            self._made = True
        wait_until(
            lambda: not self._is_running() or self._ready(), seconds=120, what=f"{self._container.image}'s start"
        )
        if not self._is_running():
            lines = self._docker.logs(tail=5).decode(errors="replace").splitlines()
            raise RuntimeError(f"{self._container.image} did not start: {' | '.join(lines)}")

    def stop(self) -> None:
        """End it in good order; nothing happens where it isn't running."""
        if self._made:
            self._docker.stop(timeout=30)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._made and self._is_running():
            self._docker.kill()
            self._docker.wait()

    def pause(self) -> None:
        """Let it stand still, as a machine that is overloaded or suspended would."""
        self._docker.pause()

    def resume(self) -> None:
        """Let it go on where it was paused."""
        self._docker.unpause()

    def restart(self) -> None:
        """Stop and start it."""
        self.stop()
        self.start()

    def remove(self) -> None:
        """Remove the container and its data."""
        self._container.stop()

    @property
    def _docker(self) -> Any:
        return self._container.get_wrapped_container()

    def _is_running(self) -> bool:
        self._docker.reload()
        return self._docker.status in {"running", "paused"}


@dataclass
class ContainerInfra(Infra):
    """The session's servers, in containers."""

    @contextlib.contextmanager
    def nats(self, settings: str = "", passwords: Mapping[str, str] | None = None) -> Iterator[NatsServer]:
        """Give an empty nats-server of the test's own, with further lines of configuration, and users if need be."""
        described = Nats(self.folder, free_port(), passwords, settings=settings)
        with _running(_nats(described)) as server:
            yield NatsServer(described.url, server)


@contextlib.contextmanager
def containers() -> Iterator[Infra]:
    """Start PostgreSQL and NATS in containers; remove them afterwards."""
    with tempfile.TemporaryDirectory(prefix="ftgo-test-") as name, _removed_at_last():
        folder = Path(name)
        folder.chmod(0o711)
        postgres = described_postgres(folder)
        nats = Nats(folder, free_port())
        with _running(_postgres(postgres)) as server, _running(_nats(nats)) as broker:
            yield ContainerInfra(folder, postgres.admin_url, server, nats.url, broker)


def why_not() -> str | None:
    """Return why no Docker engine can be reached, in one line, or None where one can."""
    try:
        DockerClient().client.ping()
    except (DockerException, OSError) as error:
        return " ".join(str(error).split())
    return None


def _postgres(described: Postgres) -> ContainerServer:
    settings = {name: value for name, value in described.configuration().items() if name not in PLACES}
    container = DockerContainer(_image(ROOT / "docker-compose.yml", r"image: (postgres:\S+)"))
    container.with_command(["postgres", *(f"-c{name}={value}" for name, value in settings.items())])
    container.with_envs(
        POSTGRES_USER=ADMIN_ROLE,
        POSTGRES_PASSWORD=PASSWORD,
        POSTGRES_DB="postgres",
        POSTGRES_INITDB_ARGS="--encoding=UTF8 --no-locale --locale-provider=builtin --builtin-locale=C.UTF-8 --no-sync",
    )
    return ContainerServer(container, 5432, described.port, described.ready)


def _nats(described: Nats) -> ContainerServer:
    container = DockerContainer(_image(ROOT / "Dockerfile", r"FROM (nats:\S+)"))
    container.with_command(["nats-server", "--config", CONFIG])
    container.with_copy_into_container(described.configuration("0.0.0.0:4222", Path("/data")).encode(), CONFIG)
    return ContainerServer(container, 4222, described.port, described.ready)


def _image(file: Path, pattern: str) -> str:
    found = re.search(pattern, file.read_text())
    assert found, f"{file} names no image as in {pattern}"
    return found[1]


@contextlib.contextmanager
def _running(server: ContainerServer) -> Iterator[ContainerServer]:
    try:
        server.start()
        yield server
    finally:
        server.remove()


@contextlib.contextmanager
def _removed_at_last() -> Iterator[None]:
    """Have a process of its own wait for our end, which closes the pipe that it reads, and remove what we have left."""
    command = [sys.executable, "-m", "tests.support.containers", SESSION_ID]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, start_new_session=True):
        yield


def _remove_all(session: str) -> None:
    client = DockerClient().client
    for container in client.containers.list(all=True, filters={"label": f"{LABEL_SESSION_ID}={session}"}):
        container.remove(force=True, v=True)


if __name__ == "__main__":
    sys.stdin.read()
    _remove_all(sys.argv[1])
