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
from tools.system.embedded import installation
from tools.system.embedded import postgres as embedded
from tools.system.embedded.nats import Nats
from tools.system.embedded.postgres import SOCKETS, Postgres
from tools.system.owner import remove
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


def test_data_without_its_control_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("18\n")
    with pytest.raises(LaunchError, match="pg_control is damaged: bring the data back"):
        Postgres(tmp_path / "postgres", free_port(), "secret").prepare()


def test_a_file_in_the_datas_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "postgres").touch()
    with pytest.raises(LaunchError, match="postgres is a file, not PostgreSQL's data: bring the data back"):
        Postgres(tmp_path / "postgres", free_port(), "secret").prepare()


def test_a_link_that_leads_nowhere_is_refused_and_stays(tmp_path: Path) -> None:
    link = tmp_path / "postgres"
    link.symlink_to(tmp_path / "unmounted" / "postgres")
    with pytest.raises(LaunchError, match="unmounted/postgres, which is no more: bring that back"):
        Postgres(link, free_port(), "secret").prepare()
    assert link.is_symlink()


def test_an_interrupted_start_is_taken_up(postgres: Postgres, tmp_path: Path) -> None:
    unfinished = postgres.folder.resolve().with_name("postgres.unfinished")
    shutil.move(postgres.folder.resolve(), unfinished)
    (unfinished / "PG_VERSION").unlink()
    postgres.prepare()
    assert not unfinished.exists()
    running(postgres, tmp_path / "log").stop()


def test_data_that_postgresql_can_not_use_is_told_at_once(postgres: Postgres, tmp_path: Path) -> None:
    base, hidden = postgres.folder / "base", postgres.folder / "base.hidden"
    base.rename(hidden)
    server = Server(postgres.program(), postgres.ready, tmp_path / "log")
    try:
        with pytest.raises(LaunchError, match=r"PostgreSQL can't use the data in \S+: .* does not exist: bring"):
            server.start()
    finally:
        server.stop()
        hidden.rename(base)


@pytest.mark.parametrize("name", ["it's", 'a"b', "back\\slash", "new\nline", "ünï 🍕", "per%cent"])
def test_the_sockets_folder_may_have_any_name(postgres: Postgres, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as short:
        where = Path(short) / name
        where.mkdir()
        for each in (Path(short), where):
            each.chmod(0o711)
        with monkeypatch.context() as elsewhere:
            elsewhere.setattr(tempfile, "tempdir", str(where))
            elsewhere.setattr(embedded, "SHARED_FOLDER", where)
            remove(postgres.folder.parent / SOCKETS)
            postgres.prepare()
        assert postgres.socket_folder.parent == where
        server = running(postgres, Path(short) / "log")
        try:
            psycopg2.connect(postgres.socket_url).close()
        finally:
            server.stop()
        remove(postgres.folder.parent / SOCKETS)
    postgres.prepare()


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
            assert postgres.stuck() == "it was told to end, and waits"
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


async def test_certificates_for_other_servers_do_not_matter(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".postgresql").mkdir()
    for name in ("postgresql.crt", "root.crt", "root.crl"):
        (tmp_path / ".postgresql" / name).write_text("no certificate")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    server = running(postgres, tmp_path / "log")
    try:
        psycopg2.connect(postgres.admin_url).close()
        await (await asyncpg.connect(postgres.admin_url)).close()
        engine = create_async_engine(engine_url(postgres.admin_url, "asyncpg"))
        async with engine.connect() as connection:
            assert await connection.scalar(text("select 1")) == 1
        await engine.dispose()
    finally:
        server.stop()


def test_a_socket_folder_that_others_reach_is_not_used_again(postgres: Postgres) -> None:
    before = postgres.socket_folder
    before.chmod(0o777)
    postgres.prepare()
    assert postgres.socket_folder != before
    assert not before.exists()
    assert postgres.socket_folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(("name", "reason"), [("deep" * 20, "is too long a path for a socket"), ("a,b", "comma")])
def test_a_temporary_folder_that_can_not_hold_a_socket_is_refused(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, reason: str
) -> None:
    unfit = tmp_path / name
    unfit.mkdir()
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(tempfile, "tempdir", str(unfit))
        elsewhere.setattr(embedded, "SHARED_FOLDER", unfit)  # where root's sockets are
        remove(postgres.folder.parent / SOCKETS)
        with pytest.raises(LaunchError, match=rf"{unfit}/\S+ .*{reason}.*: set TMPDIR to a"):
            postgres.prepare()
    assert list(unfit.iterdir()) == []
    postgres.prepare()


def test_another_password_than_the_datas_is_one_line(postgres: Postgres, tmp_path: Path) -> None:
    server = running(postgres, tmp_path / "log")
    try:
        with pytest.raises(LaunchError, match=r"has another password than secrets\.json"):
            Postgres(postgres.folder, postgres.port, "wrong").ready()
    finally:
        server.stop()


def test_initdb_is_called_by_a_path_that_a_shell_takes_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "binaries", lambda _user: Path("/projects/$HOME/bin"))
    with installation.binaries_for_initdb(None) as copied:
        assert "$" not in str(copied)
        subprocess.run([copied / "initdb", "--version"], check=True, stdout=subprocess.DEVNULL)
    assert not copied.exists()


def test_nats_keeps_its_store_below_a_path_of_any_name(tmp_path: Path) -> None:
    nats = Nats(tmp_path / 'say "hi" $HOME \\ #1' / "nats", free_port())
    nats.prepare()
    server = Server(nats.program(), nats.ready, tmp_path / "log")
    server.start()
    server.stop()
    assert (nats.folder / "store" / "jetstream").is_dir()


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
