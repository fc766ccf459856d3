"""The runbooks' commands do what their pages say: each trouble is made in a running system, and mended by its page."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psycopg2
import pytest
from prometheus_client.parser import text_string_to_metric_families
from psycopg2.extensions import parse_dsn

from kernel.topology import BY_NAME, SERVICES
from shared.adapters.nats.connection import connect
from shared.core.ids import new_id
from tests.api import Api, until
from tests.support.infra import wait_until
from tools.chaos import rot
from tools.system.embedded.installation import binaries
from tools.system.run_state import read_state
from tools.system.system import ROOT, SystemSettings, on_free_ports, remove_data

RUNBOOKS = ROOT / "docs" / "runbooks"
_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
PAGES = ("parked-messages", "stuck-saga", "slot-lost", "broker-lost", "messages-missing", "database-restored")
# What a service waits for before it gives up is shortened; what must not happen by itself is not.
SETTINGS = {
    "FTGO_GRACE_SECONDS": "1",
    "FTGO_RETRY_SECONDS": "0.1",
    "FTGO_SAGA_ATTEMPTS": "3",
    "FTGO_STEP_TIMEOUT_SECONDS": "60",
}


class Page:
    """A runbook: its blocks of commands by the headings that they stand under."""

    def __init__(self, name: str) -> None:
        text = (RUNBOOKS / f"{name}.md").read_text()
        sections = re.split(r"^## ", text, flags=re.MULTILINE)
        blocks = {
            each.partition("\n")[0]: re.findall(r"^```sh\n(.*?)^```", each, re.MULTILINE | re.DOTALL)
            for each in sections
        }
        self.left = {heading: commands for heading, commands in blocks.items() if commands}

    def blocks(self, heading: str) -> list[str]:
        """Those under a heading, which are to be asked for once."""
        return self.left.pop(heading)


class Ftgo:
    """`./ftgo up` in a folder of its own, and the shell of whoever looks after it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.system = on_free_ports(SystemSettings(data_dir=folder))
        admin = parse_dsn(self.system.postgres.admin_url)
        login = {"PGHOST": "host", "PGPORT": "port", "PGUSER": "user", "PGPASSWORD": "password"}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("FTGO_", "PG"))}
        self._environment = {
            **inherited,
            **SETTINGS,
            **{name: admin[key] for name, key in login.items()},
            "PATH": f"{binaries()}{os.pathsep}{inherited['PATH']}",
            "FTGO_DATA_DIR": str(folder),
            "FTGO_PORT_OFFSET": str(self.system.settings.port_offset),
            "COLUMNS": "250",
        }
        self._up: subprocess.Popen[bytes] | None = None

    def up(self) -> None:
        """Start it, and wait until all is ready."""
        with (self.folder / "up.log").open("wb") as output:
            self._up = subprocess.Popen(
                ["./ftgo", "up"],
                cwd=ROOT,
                env=self._environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        wait_until(lambda: read_state(self.folder) is not None, seconds=120)
        self.shell("./ftgo status --wait 120")

    def down(self) -> None:
        """End it."""
        if self._up is not None:
            self._up.send_signal(signal.SIGINT)
            self._up.wait(90)

    def shell(self, commands: str, **words: str) -> str:
        """What commands print, `words` being what an operator has read before. AssertionError when one fails."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=ROOT,
            env={**self._environment, **words},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=240,
        )
        assert done.returncode == 0, f"{commands}\n{done.stdout}"
        return done.stdout

    def log(self, part: str) -> str:
        """What a part has written."""
        return (self.folder / "logs" / f"{part}.log").read_text(errors="replace")

    def signal(self, part: str, number: signal.Signals) -> None:
        """Send a part a signal."""
        state = read_state(self.folder)
        assert state is not None
        pid = state["parts"][part]["pid"]
        assert pid is not None
        os.kill(pid, number)

    def api(self) -> Api:
        """A client of all services."""
        return Api({each.name: self.system.url(self.system.port(each)) for each in SERVICES})

    def sql(self, database: str, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """A statement of the superuser's."""
        url = f"{self.system.postgres.admin_url.rpartition('/')[0]}/{database}"
        with closing(psycopg2.connect(url)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement, values)
                return cursor.fetchall() if cursor.description else []

    def metric(self, part: str, name: str) -> float:
        """The sum of a metric's series."""
        port = self.system.relay_port() if part == "relay" else self.system.port(BY_NAME[part])
        text = httpx.get(f"{self.system.url(port)}/metrics", trust_env=False, timeout=10).text
        samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
        return sum(sample.value for sample in samples if sample.name == name)

    async def publish(self, type_: str, data: str) -> str:
        """A message that nobody of ours has sent; its id."""
        id_ = new_id()
        async with connect(self.system.nats_address) as connection:
            stream = connection.client.jetstream()
            await stream.publish(f"ftgo.0.event.{type_}", data.encode(), headers={"ce-id": id_, "ce-type": type_})
        return id_


@pytest.fixture(scope="module")
def ftgo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ftgo]:
    """The whole system, ready."""
    running = Ftgo(tmp_path_factory.mktemp("runbooks"))
    try:
        running.up()
        yield running
    finally:
        running.down()
        remove_data(running.folder)  # which may be elsewhere


@contextmanager
def page(name: str) -> Iterator[Page]:
    """A page, all of whose commands are run."""
    found = Page(name)
    yield found
    assert found.left == {}, "these commands were not run"


async def becomes(condition: Callable[[], bool]) -> None:
    """Waits for what the databases or the processes show."""

    async def met() -> bool:
        try:
            return await asyncio.to_thread(condition)
        except (httpx.HTTPError, psycopg2.OperationalError):  # just now it is away
            return False

    await until(met, lambda: "it has not come about")


async def town(api: Api) -> tuple[str, str]:
    """A consumer and a restaurant to order from, and a courier."""
    await api.courier()
    return await api.register_consumer(), await api.open_restaurant()


def test_the_index_names_every_page() -> None:
    index = (RUNBOOKS / "README.md").read_text()
    assert sorted(file.stem for file in RUNBOOKS.glob("*.md") if file.stem != "README") == sorted(PAGES)
    assert all(f"({name}.md)" in index for name in PAGES)


@pytest.mark.time_limit(180)
async def test_parked_messages(ftgo: Ftgo) -> None:
    def break_kitchen() -> None:
        ftgo.sql("kitchen", "alter table tickets rename to tickets_gone")

    def mend_kitchen() -> None:
        ftgo.sql("kitchen", "alter table tickets_gone rename to tickets")

    async with ftgo.api() as api:
        consumer, restaurant = await town(api)
        with page("parked-messages") as runbook:
            break_kitchen()
            order = await api.place_order(consumer, restaurant)
            await becomes(lambda: ftgo.metric("kitchen", "parked_messages") == 1)
            assert "message parked" in ftgo.log("kitchen")
            ((id_,),) = ftgo.sql("kitchen", "select message_id from set_aside where parked_at is not null")
            (look,) = runbook.blocks("Look")
            shown = ftgo.shell(look, id=id_, service="kitchen")
            assert all(each in shown for each in ("kitchen.CreateTicket", 'relation "tickets" does not exist', order))

            mend_kitchen()
            one, alike = runbook.blocks("Mend what makes it fail, and redrive")
            assert "1 message will be handled again" in ftgo.shell(one, id=id_)
            await api.order_becomes(order, "Approved")

            break_kitchen()
            orders = [await api.place_order(consumer, restaurant) for _ in range(2)]
            await becomes(lambda: ftgo.metric("kitchen", "parked_messages") == 2)
            mend_kitchen()
            assert "2 messages will be handled again" in ftgo.shell(alike, service="kitchen")
            for each in orders:
                await api.order_becomes(each, "Approved")

            poison = await ftgo.publish("order.OrderRevised", "not json")
            await becomes(lambda: ftgo.metric("order_history", "parked_messages") == 1)
            with pytest.raises(AssertionError, match=r"Drop for good: 1 order.OrderRevised in order_history\?"):
                ftgo.shell('echo n | ./ftgo parked drop "$poison" --reason no', poison=poison)
            (give_up,) = runbook.blocks("Or give it up")
            assert "1 message dropped" in ftgo.shell(give_up, poison=poison)
            (good,) = runbook.blocks("It is good again when")
            well = ftgo.shell(good)
            assert "No message is parked." in well
            assert [well.count(each) for each in (" redrive ", " drop ", poison)] == [3, 1, 1]
            assert ftgo.metric("order_history", "parked_messages") == 0


@pytest.mark.time_limit(180)
async def test_a_stuck_saga(ftgo: Ftgo) -> None:
    rename = "update events set id = %s where aggregate = 'Ticket' and id = %s"
    async with ftgo.api() as api:
        consumer, restaurant = await town(api)
        with page("stuck-saga") as runbook:
            ftgo.signal("accounting", signal.SIGSTOP)
            try:
                order = await api.place_order(consumer, restaurant)
                waiting = "select id, data ->> 'ticket_id' from sagas where key = %s and command like '%%Authorize%%'"
                await becomes(lambda: bool(ftgo.sql("ordering", waiting, order)))
                ((saga, ticket),) = ftgo.sql("ordering", waiting, order)
                assert ftgo.metric("order", "oldest_unfinished_saga_seconds") > 0
                look, parked, retry = runbook.blocks("A saga that waits too long")
                shown = ftgo.shell(look, saga=saga)
                assert "accounting.AuthorizeOrder" in shown
                assert "4 authorize: now" in shown
                assert "No message is parked." in ftgo.shell(parked)
                assert "1 saga went on" in ftgo.shell(retry, saga=saga)
                assert "command sent again" not in ftgo.log("order"), "it has not done that by itself"
                sent = "select count(*), count(distinct headers::json ->> 'ce-id') from outbox where headers like %s"
                assert ftgo.sql("ordering", sent, f'%AuthorizeOrder%"{saga}"%') == [(2, 1)]
                ftgo.sql("kitchen", rename, "hidden", ticket)
            finally:
                ftgo.signal("accounting", signal.SIGCONT)

            await becomes(lambda: ftgo.metric("order", "stuck_sagas") == 1)
            assert "saga is stuck" in ftgo.log("order")
            look, resume = runbook.blocks("A saga that is stuck")
            shown = ftgo.shell(look, stuck=saga, order=order)
            assert "ticket not found" in shown
            assert "ConfirmCreateTicket" in shown
            ftgo.sql("kitchen", rename, ticket, "hidden")
            assert "1 saga will try again" in ftgo.shell(resume, stuck=saga)
            await api.order_becomes(order, "Approved")
            (good,) = runbook.blocks("It is good again when")
            well = ftgo.shell(good)
            assert "No saga is stuck." in well
            assert [well.count(each) for each in (" retry ", " resume ")] == [1, 1]
            assert ftgo.metric("order", "stuck_sagas") == 0


@pytest.mark.time_limit(180)
async def test_a_lost_slot(ftgo: Ftgo) -> None:
    async with ftgo.api() as api:
        consumer, restaurant = await town(api)
        ftgo.signal("relay", signal.SIGSTOP)
        try:
            ftgo.sql(
                "postgres", "select pg_terminate_backend(active_pid, 10000) from pg_replication_slots where active"
            )
            ftgo.sql("postgres", "select pg_drop_replication_slot('ftgo_ordering')")
        finally:
            ftgo.signal("relay", signal.SIGCONT)
        await becomes(lambda: ftgo.metric("relay", "relay_slot_rebuilt_total") == 1)
        assert "replication slot was missing or lost: made again" in ftgo.log("relay")
        await api.approved_order(consumer, restaurant)
        with page("slot-lost") as runbook:
            (look,) = runbook.blocks("Look")
            shown = ftgo.shell(look)
            assert re.search(r"ftgo_ordering +\| t +\| reserved", shown)
            assert '"rows_published"' in shown
            (verify,) = runbook.blocks("What to do")
            ftgo.shell(verify)


@pytest.mark.time_limit(180)
async def test_a_lost_broker(ftgo: Ftgo) -> None:
    async with ftgo.api() as api:
        consumer, restaurant = await town(api)
        await api.approved_order(consumer, restaurant)
        ftgo.signal("nats", signal.SIGKILL)
        shutil.rmtree(ftgo.system.nats.folder / "store")
        order = await api.place_order(consumer, restaurant)
        with page("broker-lost") as runbook:
            await becomes(lambda: ftgo.metric("relay", "relay_broker_tail_lost_total") > 0)
            (look,) = runbook.blocks("Look")
            assert "the broker has lost messages that it had acknowledged" in ftgo.shell(look)
            await api.order_becomes(order, "Approved")
            (good,) = runbook.blocks("It is good again when")
            ftgo.shell(good)
            assert ftgo.metric("order", "broker_lost_tail_total") == 1


@pytest.mark.time_limit(300)
async def test_messages_that_are_missing(ftgo: Ftgo) -> None:
    """The order history has not read two orders. Of both the stream loses the first message, of one the outbox too."""
    async with ftgo.api() as api:
        consumer, restaurant = await town(api)
        url = f"{ftgo.system.postgres.admin_url.rpartition('/')[0]}/order_history"
        with closing(psycopg2.connect(url)) as busy:
            busy.cursor().execute("lock table orders in access exclusive mode")
            orders = [(await api.approved_order(consumer, restaurant))[0] for _ in range(2)]
            await becomes(lambda: is_published(ftgo))
            created = "from outbox where subject = 'event.order.OrderCreated' and key = %s"
            ftgo.sql("ordering", f"delete {created}", orders[0])
            ftgo.down()
        [block] = rot.blocks(ftgo.system.nats.folder / "store")
        for message in rot.positions_of(block, "ftgo.0.event.order.OrderCreated")[-2:]:
            rot.flip_bit(block, message)
        ftgo.up()
        await api.becomes("order_history", f"/api/orders/{orders[1]}", lambda it: it["status"] == "Approved")
        await becomes(lambda: ftgo.metric("order_history", "missing_messages") == 1)
        assert ftgo.metric("order_history", "messages_sent_again_total") == 1
        with page("messages-missing") as runbook:
            log, verify = runbook.blocks("Look")
            assert "the stream lacked messages" in (said := ftgo.shell(log))
            assert "neither the stream nor their sender has them" in said
            assert "order_history has not had what order has sent between these rows" in ftgo.shell(verify)
            rebuild, forget = runbook.blocks("What to do")
            ftgo.shell(rebuild)
            assert ftgo.metric("order_history", "missing_messages") == 0
            ftgo.sql("kitchen", "insert into missing_messages values (0, 'order', 1, 3)")
            ftgo.shell(forget, database="kitchen", sender="order")
            (good,) = runbook.blocks("It is good again when")
            ftgo.shell(good)


def is_published(ftgo: Ftgo) -> bool:
    """Whether no slot would send again what is in the order service's outbox."""
    (newest,) = ftgo.sql("ordering", "select max(id) from outbox")[0]
    return bool(ftgo.sql("ordering", "select max(row_id) >= %s from relay_checkpoints", newest)[0][0])


@pytest.mark.time_limit(240)
async def test_a_database_that_is_restored_from_a_backup(ftgo: Ftgo, tmp_path: Path) -> None:
    """The last one: the system does not agree with itself any more."""
    backup = str(tmp_path / "ordering.dump")

    def none_left(drops: Sequence[str]) -> bool:
        """Gives up what is parked; what waited behind it has no error yet, and may be parked for the same one."""
        for drop in drops:
            (error,) = re.findall(r'--error "(.*?)"', drop)
            if ftgo.sql("ordering", "select true from set_aside where error = %s and parked_at is not null", error):
                ftgo.shell(drop)
        return not ftgo.sql("ordering", "select true from set_aside")

    async with ftgo.api() as api:
        consumer, restaurant = await town(api)
        kept, _ = await api.approved_order(consumer, restaurant)
        cancelled, _ = await api.approved_order(consumer, restaurant)
        ftgo.shell('pg_dump --format=custom --file="$backup" ordering', backup=backup)
        lost = [(await api.approved_order(consumer, restaurant))[0] for _ in range(2)]
        await api.call("order", "PUT", f"/api/orders/{cancelled}/cancel", headers={"Idempotency-Key": "once"})
        await api.order_becomes(cancelled, "Cancelled")
        await api.becomes("order_history", f"/api/orders/{cancelled}", lambda it: it["status"] == "Cancelled")
        tickets = ftgo.sql("kitchen", "select count(*) from tickets")

        with page("database-restored") as runbook:
            beside, swap = runbook.blocks("Restore beside the old one, and swap")
            ftgo.shell(beside, backup=backup)
            ftgo.shell(swap)
            placed = [(await api.approved_order(consumer, restaurant))[0] for _ in range(10)]
            assert (await api.refused("order", "GET", f"/api/orders/{lost[0]}"))[0] == 404
            unknown = "select distinct key from set_aside where error = 'saga not found' and parked_at is not null"
            await becomes(lambda: {key for (key,) in ftgo.sql("ordering", unknown)} == {*lost, cancelled})

            look, drop, rebuild = runbook.blocks("See what is missing")
            shown = ftgo.shell(look)
            assert all(order in shown for order in lost)
            await becomes(partial(none_left, drop.splitlines()))
            assert "No message is parked." in ftgo.shell("./ftgo parked list")
            ftgo.shell(rebuild)
            for order in (kept, cancelled, *placed):
                await api.becomes("order_history", f"/api/orders/{order}", lambda it: it["status"] == "Approved")
        assert ftgo.sql("kitchen", "select count(*) from tickets") == [(tickets[0][0] + len(placed),)]
        ftgo.shell("./ftgo status --wait 60")
