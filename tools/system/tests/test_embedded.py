"""PostgreSQL's data folder: what it may look like, and what is refused in one line."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import asyncpg
import psycopg2
import pytest
from nats.js.api import StreamConfig
from psycopg2.extras import PhysicalReplicationConnection
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from kernel.topology import FTGO
from shared.adapters.nats.connection import NatsAddress, connect
from shared.adapters.postgres.addresses import engine_url
from tests.support.infra import Server, wait_until
from tools.system.embedded.nats import Nats
from tools.system.embedded.postgres import Postgres
from tools.system.process import LaunchError, free_port
from tools.system.system import Secrets, remove_data


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A data folder below one that only its owner may enter, as /root is."""
    prepared = Postgres(tmp_path_factory.mktemp("private") / "postgres", free_port(), "secret", durable=False)
    prepared.prepare()
    yield prepared
    remove_data(prepared.folder.parent)


def running(postgres: Postgres, log: Path) -> Server:
    server = Server(postgres.program(), postgres.ready, log)
    server.start()
    return server


def test_it_starts_below_a_private_folder_also_as_root(postgres: Postgres, tmp_path: Path) -> None:
    server = running(postgres, tmp_path / "log")
    assert postgres.ready()
    server.stop()
    assert not postgres.ready()


def test_data_of_another_version_is_refused(postgres: Postgres) -> None:
    version = postgres.folder / "PG_VERSION"
    version.write_text("17\n")
    try:
        with pytest.raises(LaunchError, match="holds data of PostgreSQL 17, this is PostgreSQL 18"):
            postgres.prepare()
    finally:
        version.write_text("18\n")


def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    with pytest.raises(LaunchError, match="holds no PostgreSQL data"):
        Postgres(tmp_path / "postgres", free_port(), "secret").prepare()


def test_a_lock_file_that_names_another_program_is_forgotten(postgres: Postgres, tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as bystander:
        lock = postgres.folder / "postmaster.pid"
        lock.write_text(f"{bystander.pid}\n{postgres.folder.resolve()}\n")
        postgres.prepare()
        running(postgres, tmp_path / "log").stop()
        assert bystander.poll() is None


def test_a_server_left_behind_is_ended_first(postgres: Postgres, tmp_path: Path) -> None:
    left_behind = running(postgres, tmp_path / "log")
    try:
        postgres.prepare()
        assert not postgres.ready()
        assert left_behind.wait() == 0, "in good order"
    finally:
        left_behind.stop()
    running(postgres, tmp_path / "log").stop()


def test_a_server_that_waits_for_clients_to_leave_is_stuck(postgres: Postgres, tmp_path: Path) -> None:
    server = running(postgres, tmp_path / "log")
    try:
        with closing(psycopg2.connect(postgres.admin_url)):
            assert postgres.stuck() == ""
            os.kill(server.pid, signal.SIGTERM)
            wait_until(lambda: not postgres.ready())
            assert postgres.stuck() == "the database system is shutting down"
    finally:
        server.stop()
    assert postgres.stuck() == ""


async def test_its_socket_is_reached_by_all_drivers_and_asks_for_the_password(
    postgres: Postgres, tmp_path: Path
) -> None:
    server = running(postgres, tmp_path / "log")
    try:
        engine = create_async_engine(engine_url(postgres.socket_url, "asyncpg"))
        async with engine.connect() as connection:
            assert await connection.scalar(text("select inet_client_addr() is null"))
        await engine.dispose()
        psycopg2.connect(postgres.socket_url).close()
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(replace(postgres, password="wrong").socket_url)
        with pytest.raises(psycopg2.OperationalError, match="rejects replication connection"):
            psycopg2.connect(postgres.socket_url, connection_factory=PhysicalReplicationConnection)
    finally:
        server.stop()


def test_a_socket_folder_of_somebody_else_is_refused(postgres: Postgres) -> None:
    postgres.socket_folder.chmod(0o777)
    try:
        with pytest.raises(LaunchError, match="is not ours"):
            postgres.prepare()
    finally:
        postgres.socket_folder.chmod(0o700)


def test_a_temporary_folder_too_deep_for_a_socket_is_refused(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("deep" * 20)
    deep.mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)  # root's sockets are elsewhere
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with pytest.raises(LaunchError, match=rf"{deep}/\S+ is too long a path for a socket: set TMPDIR to a shorter one"):
        postgres.prepare()


def test_another_password_than_the_datas_is_one_line(postgres: Postgres, tmp_path: Path) -> None:
    server = running(postgres, tmp_path / "log")
    try:
        with pytest.raises(LaunchError, match=r"has another password than secrets\.json"):
            Postgres(postgres.folder, postgres.port, "wrong").ready()
    finally:
        server.stop()


def test_secrets_are_made_once_and_private(tmp_path: Path) -> None:
    made = Secrets.of(tmp_path)
    assert Secrets.of(tmp_path) == made
    assert (tmp_path / "secrets.json").stat().st_mode & 0o777 == 0o600
    assert len({made.admin, *made.nats.values(), *made.roles.values()}) == 1 + len(made.nats) + len(made.roles)


def test_the_brokers_configuration_is_private(tmp_path: Path) -> None:
    Nats(tmp_path / "nats", free_port(), Secrets.of(tmp_path).nats).prepare()
    assert (tmp_path / "nats" / "nats.conf").stat().st_mode & 0o777 == 0o600
    assert os.access(tmp_path / "nats", os.W_OK)


def test_jetstream_writes_to_disk_as_often_as_it_is_told(tmp_path: Path) -> None:
    nats = Nats(tmp_path, free_port())
    assert "sync_interval" not in nats.configuration("127.0.0.1:1", tmp_path)
    assert "64GB, sync_interval: always }" in replace(nats, sync_interval="always").configuration("h:1", tmp_path)


async def test_nats_says_that_it_has_to_start_again_after_a_write_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nats = Nats(tmp_path, free_port(), monitor_port=free_port())
    nats.prepare()
    assert nats.stuck() == ""  # it does not run: that is for others to see
    server = Server(nats.program(), nats.ready, tmp_path / "nats.log")
    server.start()
    try:
        async with connect(NatsAddress(nats.url, FTGO)) as connection:
            await connection.jetstream.add_stream(StreamConfig(name="S", subjects=["s"], max_bytes=1 << 20))
            assert nats.stuck() == ""
            shutil.rmtree(tmp_path / "store" / "jetstream" / "$G" / "streams" / "S" / "msgs")
            while not (reason := nats.stuck()):
                await connection.client.publish("s", b"x" * (1 << 19))
                await connection.client.flush()
        assert "write error" in reason
        with monkeypatch.context() as full:
            full.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=4096))
            assert nats.stuck() == ""  # it would not help
        server.kill()
        server.start()
        assert nats.stuck() == ""
    finally:
        server.stop()
