"""The examples as processes, on real PostgreSQL and NATS: with this Python, or with that of another environment."""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from shared import ServiceInfo
from shared.examples.lending import BOOKS, LENDING, MEMBERS
from tests.support.infra import Infra
from tests.support.old_data import run_sql
from tools.system.process import free_port

LOANS = ServiceInfo("loans", 8000, "loans", LENDING)
OWN_TABLES = "create table loans (book text, member text); create table notices (book text, member text)"


@dataclass(frozen=True)
class Python:
    """An interpreter, and the folder that its programs are run in. `path` is what they import from beside that."""

    executable: Path
    folder: Path
    path: str = ""

    @contextmanager
    def running(self, module: str, *arguments: str, **settings: str) -> Iterator[None]:
        """Run a module, with settings in its environment; end it in good order, with 0, afterwards."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        argv: list[str | Path] = [self.executable, "-m", module, *arguments]
        log = self.folder / f"{module}.log"
        with log.open("ab") as output:
            running = subprocess.Popen(
                argv,
                cwd=self.folder,
                env={**environment, "PYTHONPATH": self.path, **settings},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            yield
        except BaseException as failure:
            failure.add_note(f"{module}: {log.read_text()}")
            raise
        finally:
            running.terminate()
            running.wait()
        assert running.returncode in (0, -signal.SIGTERM), log.read_text()  # uvicorn's own way to end in good order


@asynccontextmanager
async def lending(python: Python, infra: Infra, nats_url: str) -> AsyncIterator[dict[str, httpx.AsyncClient]]:
    """Run both services and their relays; give a client of each service's API, by its name."""
    with ExitStack() as stack:
        databases = {each.name: stack.enter_context(infra.database(each)) for each in (MEMBERS, BOOKS)}
        ports = {name: free_port() for name in (*databases, "relays")}
        for name, database in databases.items():
            service = python.running(
                f"shared.examples.{name}.main",
                LENDING_PORT=str(ports[name]),
                LENDING_NATS_URL=nats_url,
                LENDING_DATABASE_URL=database.url,
                LENDING_MIGRATIONS_URL=database.migrations_url,
            )
            stack.enter_context(service)
        relays = python.running(
            "shared.examples.lending",
            "--keep-stream",
            *databases,
            LENDING_PORT=str(ports["relays"]),
            LENDING_NATS_URL=nats_url,
            **{f"LENDING_RELAY_URL_{name.upper()}": database.relay_url for name, database in databases.items()},
        )
        stack.enter_context(relays)
        clients = {name: httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") for name, port in ports.items()}
        try:
            for client in clients.values():
                await eventually(client, "/readyz", lambda answer: answer.status_code == 200)
            yield clients
        finally:
            for client in clients.values():
                await client.aclose()


async def lends_a_book(clients: Mapping[str, httpx.AsyncClient]) -> None:
    """Take a loan through both services."""
    members, books = clients["members"], clients["books"]
    ada = (await members.post("/api/members", json={"name": "Ada"})).json()["id"]
    dune = (await books.post("/api/books", json={"title": "Dune"})).json()["id"]
    assert (await books.post(f"/api/books/{dune}/loan", json={"member_id": ada})).status_code == 202
    await eventually(books, f"/api/books/{dune}", lambda answer: answer.json()["status"] == "lent")
    assert (await members.get(f"/api/members/{ada}")).json() == {"name": "Ada", "loans": 1}


async def publishes_and_receives(python: Python, infra: Infra, nats_url: str) -> None:
    """Run the FastAPI service with outbox, relay and inbox, and lend two books."""
    with infra.database(LOANS) as database:
        url = database.migrations_url
        run_sql(infra.admin_url, f"alter role {LOANS.owner_role} replication")  # one role does everything
        run_sql(url, OWN_TABLES)
        port = str(free_port())
        arguments = ("shared.examples.outbox:app", "--port", port)
        with python.running("uvicorn", *arguments, DATABASE_URL=url, NATS_URL=nats_url):
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
                await eventually(client, "/docs", lambda answer: answer.status_code == 200)
                for book in ("Dune", "Emma"):
                    lent = await client.post(f"/books/{book}/loans", params={"member": "Ada"})
                    assert lent.status_code == 204, lent.text
            while len(run_sql(url, "select * from notices")) < 2:
                await asyncio.sleep(0.05)
        assert run_sql(url, "select book, member from notices order by book") == [("Dune", "Ada"), ("Emma", "Ada")]


async def eventually(client: httpx.AsyncClient, path: str, wanted: Callable[[httpx.Response], Any]) -> None:
    """Ask again until the answer is as wanted; the test's time limit ends it otherwise."""
    while True:
        try:
            if wanted(await client.get(path)):
                return
        except httpx.TransportError:
            pass  # it does not listen yet
        await asyncio.sleep(0.05)
