"""`./ftgo` as people use it, with the real PostgreSQL and NATS and without services."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from cdc.nats_users import OPERATOR
from kernel.topology import FTGO, SERVICES
from shared.adapters.nats.connection import NatsAddress, connect
from shared.adapters.nats.stream import StreamLimits, make_stream
from shared.host.settings import ServiceSettings
from tests.support.infra import wait_until
from tools import cli
from tools.cli import app
from tools.system.process import free_port
from tools.system.supervisor import read_state
from tools.system.system import RELAY, ROOT, remove_data

WITHOUT_SERVICES = [word for name in (*(each.name for each in SERVICES), RELAY) for word in ("--without", name)]


class Ftgo:
    """Runs the command line with a data folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            "FTGO_DATA_DIR": str(folder),
            "FTGO_POSTGRES_PORT": str(free_port()),
            "FTGO_NATS_PORT": str(free_port()),
            "FTGO_NATS_MONITOR_PORT": str(free_port()),
            "COLUMNS": "200",
        }
        self.command = [sys.executable, "-m", "tools"]

    def __call__(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [*self.command, *arguments],
            cwd=ROOT,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def up(self, *options: str) -> subprocess.Popen[bytes]:
        """Start PostgreSQL and NATS and wait until they are there."""
        command = [*self.command, "up", *WITHOUT_SERVICES, *options]
        process = subprocess.Popen(command, cwd=ROOT, env=self.environment, stdout=subprocess.DEVNULL)
        wait_until(lambda: process.poll() is not None or read_state(self.folder) is not None)
        assert self("status", "--wait", "30").returncode == 0
        return process


@pytest.fixture
def ftgo(tmp_path: Path) -> Iterator[Ftgo]:
    """With no data yet; what it makes may be elsewhere."""
    yield Ftgo(tmp_path / "data")
    remove_data(tmp_path / "data")


@pytest.mark.parametrize(
    ("arguments", "is_spread"), [((), True), (("-q",), True), (("-q", "order/tests"), False), (("-k", "revise"), False)]
)
def test_all_tests_run_in_several_processes_and_a_selection_in_one(
    arguments: tuple[str, ...], is_spread: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[tuple[str, ...]] = []
    monkeypatch.setattr(cli, "_become", lambda argv, _environment: ran.append(argv))
    assert CliRunner().invoke(app, ["test", *arguments]).exit_code == 0
    (argv,) = ran
    assert ("--numprocesses" in argv) is is_spread
    assert argv[len(argv) - len(arguments) :] == arguments


def failure(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line of an expected failure."""
    assert done.returncode != 0
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr.strip()


def test_up_keeps_its_data_also_when_it_is_killed(ftgo: Ftgo) -> None:
    def query(statement: str) -> list[tuple[object, ...]]:
        password = json.loads((ftgo.folder / "secrets.json").read_text())["roles"]["ordering_owner"]
        url = f"postgresql://ordering_owner:{password}@127.0.0.1:{ftgo.environment['FTGO_POSTGRES_PORT']}/ordering"
        with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

    first = ftgo.up()
    wait_until(lambda: query("create table if not exists kept (id int)") == [])
    assert failure(ftgo("up", *WITHOUT_SERVICES)).startswith(f"ftgo: the system already runs (pid {first.pid})")
    assert failure(ftgo("reset", "--yes")).startswith("ftgo: the system runs: stop it first")
    assert "ready for" not in failure(ftgo("logs", "order"))
    assert "database system is ready" in ftgo("logs", "postgres").stdout
    first.kill()
    first.wait()

    second = ftgo.up()
    assert query("select count(*) from kept") == [(0,)]
    second.send_signal(signal.SIGINT)
    assert second.wait(30) == 0
    assert failure(ftgo("status")) == "ftgo: nothing runs: ./ftgo up starts the system"

    assert ftgo("reset", "--yes").returncode == 0
    assert {file.name for file in ftgo.folder.iterdir()} == {"lock"}


def test_standard_files_that_were_closed_are_there_for_it_and_its_programs() -> None:
    program = (
        "import os, subprocess, sys\n"
        "from tools import cli\n"
        "cli._open_standard_files()\n"
        "look = 'import os; [os.fstat(number) for number in range(3)]'\n"
        "os._exit(subprocess.run([sys.executable, '-c', look]).returncode)\n"
    )
    command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", program]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def test_another_count_of_partitions_than_the_stream_has_is_refused(ftgo: Ftgo) -> None:
    async def make_a_stream() -> None:
        password = json.loads((ftgo.folder / "secrets.json").read_text())["nats"][OPERATOR]
        address = NatsAddress(f"nats://127.0.0.1:{ftgo.environment['FTGO_NATS_PORT']}", FTGO, OPERATOR, password)
        async with connect(address) as connection:
            await make_stream(connection, 3, StreamLimits(max_age=3600, max_bytes=1 << 20))

    first = ftgo.up()
    asyncio.run(make_a_stream())
    first.send_signal(signal.SIGINT)
    assert first.wait(30) == 0
    refusal = "ftgo: the stream was made with 3 partitions, not 2: start with --partitions 3, or drain it"
    assert failure(ftgo("up", *WITHOUT_SERVICES, "--partitions", "2")).startswith(refusal)
    second = ftgo.up("--partitions", "3")
    second.send_signal(signal.SIGINT)
    assert second.wait(30) == 0


def test_reset_asks(ftgo: Ftgo) -> None:
    ftgo.folder.mkdir()
    (ftgo.folder / "secrets.json").touch()
    assert ftgo("reset").returncode != 0
    assert (ftgo.folder / "secrets.json").exists()


@pytest.mark.parametrize(
    "command", ["up", "status", "logs", "reset", "repartition", "config", "service", "relay", "test", "chaos"]
)
def test_help_has_an_example(command: str) -> None:
    done = CliRunner().invoke(app, [command, "--help"], prog_name="./ftgo")
    assert done.exit_code == 0
    assert f"./ftgo {command}" in done.output.partition("Example")[2]


def test_config_shows_settings_and_hides_secrets(ftgo: Ftgo) -> None:
    done = ftgo(
        "config",
        FTGO_ADMIN_URL="postgresql://admin:hidden1@localhost/postgres",
        FTGO_NATS_PASSWORD="hidden2",
        FTGO_BATCH_SIZE="7",
        FTGO_DATABASE_URL="postgresql://u:hi@hidden3@h/d",
        FTGO_MIGRATIONS_URL="postgresql://h/d?user=u&password=hidden4",
        FTGO_NATS_URL="nats://u:hidden5@h",
        FTGO_ROLE_PASSWORDS='{"a": "hidden6"}',
    )
    rows = {line.split()[0]: line for line in done.stdout.splitlines() if line.startswith(" FTGO_")}
    assert rows["FTGO_BATCH_SIZE"].split()[1:3] == ["200", "7"]
    assert "postgresql://admin:********@localhost" in rows["FTGO_ADMIN_URL"]
    assert "hidden" not in done.stdout


def test_a_setting_that_is_wrong_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FTGO_PORT", "8000")
    monkeypatch.setenv("FTGO_DATABASE_URL", "http://user:hidden@host/database")
    with pytest.raises(ValidationError) as invalid:
        ServiceSettings(application=FTGO)
    assert "hidden" not in str(invalid.value)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["service", "nobody"], "there is no service 'nobody'"),
        (["service", "order"], "nothing runs that it could use"),
        (["relay", "order_history"], "no relay for order_history"),
        (["up", "--without", "nobody"], "there is no 'nobody'"),
        (["chaos", "earthquake"], "no fault is called 'earthquake'"),
        (["up", "--replicas", "order=0"], "--replicas is a list such as order=2,kitchen=2"),
        (["up", "--replicas", "nobody=2"], "there is no 'nobody'"),
        (["up", "--replicas", "order=2", "--without", "order"], "order can't be left out and have replicas"),
        (["logs"], "there is no log of anything"),
    ],
)
def test_expected_failures_are_one_line(ftgo: Ftgo, arguments: list[str], line: str) -> None:
    assert failure(ftgo(*arguments)).startswith(f"ftgo: {line}")


def test_a_bad_setting_is_named(ftgo: Ftgo) -> None:
    assert failure(ftgo("up", FTGO_NATS_PORT="x")).startswith("ftgo: FTGO_NATS_PORT: Input should be a valid integer")
