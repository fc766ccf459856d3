"""/admin: what the command line can do, over HTTP."""

import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
import pytest

from shared.core.messages import Message
from shared.core.policy import Policy
from shared.host.admin.ask import ask
from shared.host.admin.http import routes
from shared.host.admin.repairs import Repairs
from shared.testing.system import MemorySystem
from shared.tests.contracts import Heard, Nudge, WalletId
from shared.tests.sagas import TransferSaga
from shared.tests.wallets import WalletService, WalletUnitOfWork, received
from shared.web.app import create_app
from shared.web.problems import MEDIA_TYPE

ADA = {"operator": "ada", "reason": "because"}


async def fails(_message: Message, _uow: WalletUnitOfWork) -> None:
    raise ValueError("division by zero")


class Ready:
    async def reasons(self) -> list[str]:
        return []

    async def measure(self) -> None:
        pass


@asynccontextmanager
async def admin(host: str = "127.0.0.1") -> AsyncIterator[tuple[httpx.AsyncClient, WalletService]]:
    """The admin API of a service on which two messages are parked and a saga is on its way."""
    service = WalletService(Policy(attempts=1, saga_attempts=1), nudge=fails, heard=fails)
    await service.open("w", balance=10)
    async with service.units.begin() as uow:
        await uow.sagas.start(TransferSaga(wallet_id=WalletId("w"), other=WalletId("o"), amount=1))
    command = received(Nudge(wallet_id=WalletId("w"), text="first"), "c1")
    behind = received(Nudge(wallet_id=WalletId("w"), text="second"), "c2")
    await service.handle(command, behind, received(Heard(wallet_id=WalletId("x")), "e/1"))
    repairs = Repairs(service.units, service.dispatcher, service.clock)
    app = create_app("wallets", "", routes(repairs, host), Ready())
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8055") as client:
        yield client, service


async def get(client: httpx.AsyncClient, path: str, **query: Any) -> Any:
    response = await client.get(f"/admin/{path}", params=query)
    assert response.status_code == 200, response.text
    return response.json()


async def refusal(response: httpx.Response) -> tuple[int, str]:
    assert response.headers["content-type"] == MEDIA_TYPE
    return response.status_code, response.json()["detail"]


async def test_parked_messages_are_listed_and_shown() -> None:
    async with admin() as (client, _):
        listed = (await get(client, "parked"))["parked"]
        assert [(each["id"], each["behind"], each["error"]) for each in listed] == [
            ("c1", 1, "division by zero"),
            ("e/1", 0, "division by zero"),
        ]
        assert [each["id"] for each in (await get(client, "parked", type=Heard.type_name))["parked"]] == ["e/1"]
        shown = await get(client, "parked/c1")
        assert ('"first"' in shown["data"], shown["headers"]["ce-id"]) == (True, "c1")
        assert [each["id"] for each in shown["behind"]] == ["c2"]
        assert (await get(client, "parked/e/1"))["id"] == "e/1"
        assert await refusal(await client.get("/admin/parked/c2")) == (404, "no such message is parked")


async def test_messages_are_redriven_and_dropped_and_that_is_recorded() -> None:
    async with admin() as (client, service):
        done = await client.post("/admin/parked/drop", json={"id": "c1", **ADA})
        assert (done.status_code, done.json()) == (200, {"count": 1})
        assert service.waiting() == ["c2", "e/1"]
        done = await client.post("/admin/parked/redrive", json={"error": "ZERO", "operator": "grace"})
        assert done.json() == {"count": 1}
        assert service.parked() == []
        redriven, dropped = (await get(client, "history"))["history"]
        assert (redriven["action"], redriven["id"], redriven["operator"]) == ("redrive", "e/1", "grace")
        assert (dropped["action"], dropped["id"], dropped["operator"], dropped["reason"]) == (
            "drop",
            "c1",
            "ada",
            "because",
        )
        for path, body in (("redrive", {"id": "c1"}), ("redrive", {"all": True}), ("drop", {"id": "c1"})):
            again = await client.post(f"/admin/parked/{path}", json={**ADA, **body})
            assert await refusal(again) == (404, "no such message is parked")


async def test_sagas_are_listed_shown_retried_and_resumed() -> None:
    async with admin() as (client, service):
        (saga,) = (await get(client, "sagas", stuck=False))["sagas"]
        assert (saga["step"], saga["step_name"], saga["stuck"]) == (2, "ask", False)
        shown = await get(client, f"sagas/{saga['id']}")
        assert (shown["data"]["amount"], shown["steps"][0]) == (1, {"name": "take", "state": "done"})
        none = (404, "no such saga is there to go on")
        assert await refusal(await client.post("/admin/sagas/resume", json={"all": True, **ADA})) == none
        assert (await client.post("/admin/sagas/retry", json={"id": saga["id"], **ADA})).json() == {"count": 1}
        async with service.units.begin() as uow:
            await uow.sagas.put_off(saga["id"], ValueError("broken"))
        assert await refusal(await client.post("/admin/sagas/retry", json={"all": True, **ADA})) == none
        assert (await client.post("/admin/sagas/resume", json={"error": "broken", **ADA})).json() == {"count": 1}
        assert (await get(client, "sagas", stuck=True))["sagas"] == []
        history = (await get(client, f"sagas/{saga['id']}"))["history"]
        assert [done["action"] for done in history] == ["resume", "retry"]
        assert await refusal(await client.get("/admin/sagas/nobody")) == (404, "saga not found")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("parked/redrive", ADA),
        ("parked/redrive", {"all": True}),
        ("parked/drop", {"id": "c1", "operator": "ada"}),
        ("parked/drop", {"id": "c1", "operator": "ada", "reason": ""}),
        ("sagas/resume", ADA),
        ("sagas/retry", {**ADA, "everything": True}),
    ],
)
async def test_who_does_not_say_which_and_who_is_refused(path: str, body: dict[str, Any]) -> None:
    async with admin() as (client, service):
        status, _ = await refusal(await client.post(f"/admin/{path}", json=body))
        assert status == 422
        assert service.database.repairs == []


async def test_a_web_page_can_do_nothing_here() -> None:
    """It can send a form without asking, and have its own name resolve to this machine."""
    async with admin() as (client, service):
        form = await client.post(
            "/admin/parked/redrive", content=b'{"operator":"x","all":true}', headers={"Content-Type": "text/plain"}
        )
        assert (await refusal(form))[0] == 422
        renamed = await client.get("/admin/parked", headers={"Host": "attacker.example:8055"})
        assert (await refusal(renamed))[0] == 403
        assert service.parked() == ["c1", "e/1"]
    async with admin(host="0.0.0.0") as (client, _):
        assert (await client.get("/admin/parked", headers={"Host": "order:8050"})).status_code == 200


async def test_the_api_for_everybody_has_none_of_this() -> None:
    async with MemorySystem(["order"]) as system:
        assert (await system.client("order").get("/admin/parked")).status_code == 404


@contextmanager
def answering(status: int, body: bytes) -> Iterator[int]:
    """A server that always answers this; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - http.server's name

        def log_message(self, *_arguments: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_containers_ask_without_curl() -> None:
    with answering(200, b'{"count": 1}') as port:
        assert ask(port, "/admin/sagas/retry", "{}") == (True, '{\n  "count": 1\n}')
    with answering(404, b'{"detail": "saga not found"}') as port:
        assert ask(port, "/admin/sagas/x") == (False, "saga not found")
    assert ask(port, "/admin/sagas")[1].startswith(f"the service does not answer on port {port}")
