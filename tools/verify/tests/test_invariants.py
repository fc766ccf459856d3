"""Each invariant catches the bugs it is there for: planted into the state of a system that has done nothing wrong."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest

from kernel.topology import BY_NAME
from shared.core.serialization import Json, decode_message
from shared.eventsourcing.snapshots import SnapshotFormat
from shared.messaging.chain import Missing
from shared.messaging.set_aside import Line, SetAside
from shared.saga.instance import SagaInstance
from shared.saga.machine import Phase
from shared.testing.system import MemorySystem
from shared.unit_of_work.idempotency import KeptAnswer
from tests.api import ADDRESS, CART, MENU
from tools.verify.facts import Finding
from tools.verify.invariants import INVARIANTS, look, unrest, verify
from tools.verify.memory import MemorySystemState
from tools.verify.models import model_of


class Town:
    """A system in memory in which one order is on its way, one is cancelled, one revised and one rejected."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self.runner = runner
        self.system = MemorySystem(BY_NAME)
        self.orders: dict[str, str] = {}

    async def live(self) -> None:
        """What happens in it."""
        restaurant = await self._post(
            "restaurant", "restaurants", {"name": "Ajanta", "address": ADDRESS, "menu": {"menu_items": MENU}}
        )
        consumer = await self._post("consumer", "consumers", {"name": "Ada"})
        await self.system.settle()
        for name in ("brought", "cancelled", "revised", "rejected"):
            if name == "rejected":
                await self._call("accounting", "PUT", f"accounts/{consumer}/disable")
            body = {
                "consumer_id": consumer,
                "restaurant_id": restaurant,
                "delivery_time": (self.system.clock() + timedelta(hours=1)).isoformat(),
                "delivery_address": ADDRESS,
                "line_items": CART,
            }
            self.orders[name] = await self._post("order", "orders", body, name)
            await self.system.settle()
        await self._call("accounting", "PUT", f"accounts/{consumer}/enable")
        await self._call("order", "PUT", f"orders/{self.orders['cancelled']}/cancel", headers={"Idempotency-Key": "c"})
        revision = {"revised_quantities": {"naan": 0}}
        await self._call("order", "PUT", f"orders/{self.orders['revised']}/revise", json=revision)
        await self.system.settle()

    def database(self, service: str) -> Any:
        """A service's database."""
        return self.system.services[service].database

    def row(self, service: str, table: str, id_: str) -> Any:
        """A row, to be changed."""
        return self.database(service).tables[model_of(service).row(table)][id_]

    def history(self, service: str, aggregate: str, order: str = "brought") -> Any:
        """The stored events of an order, its ticket or its account."""
        events = self.database(service).events
        return next(
            stream
            for (name, id_), stream in events.items()
            if name == aggregate and (aggregate == "Account" or self.orders[order] in (id_, *_named(stream[0].data)))
        )

    @property
    def state(self) -> MemorySystemState:
        """As the invariants see it."""
        databases = {name: service.database for name, service in self.system.services.items()}
        return MemorySystemState(databases, self.system.broker)

    def findings(self) -> list[Finding]:
        """What does not hold."""
        return self.runner.run(verify(self.state))

    async def _post(self, service: str, path: str, body: object, key: str | None = None) -> str:
        headers = {"Idempotency-Key": key} if key else {}
        return cast(str, (await self._call(service, "POST", path, json=body, headers=headers))["id"])

    async def _call(self, service: str, method: str, path: str, **arguments: Any) -> Any:
        response = await self.system.client(service).request(method, f"/api/{path}", **arguments)
        assert response.is_success, response.text
        return response.json()


def _named(data: str) -> list[str]:
    return data.split('"')


@pytest.fixture(scope="module")
def running() -> Iterator[Town]:
    """Made once: the APIs take long to make."""
    with asyncio.Runner() as runner:
        town = Town(runner)
        runner.run(town.system.__aenter__())
        yield town
        runner.run(town.system.__aexit__(None, None, None))


@pytest.fixture
def town(running: Town) -> Town:
    """One with which nothing is wrong yet."""
    running.runner.run(running.system.start_over())
    running.runner.run(running.live())
    return running


def test_nothing_is_wrong_with_it(town: Town) -> None:
    assert town.findings() == []
    assert town.runner.run(unrest(town.state)) == ""


Plant = Callable[[Town], object]


def _authorized_twice(town: Town) -> None:
    """A command that came twice was carried out twice."""
    account = town.history("accounting", "Account")
    again = next(event for event in account if event.type == "accounting.OrderAuthorized")
    account.append(replace(again, version=len(account) + 1))


def _wrong_reversal(town: Town) -> None:
    """An authorization was reversed by another amount than was authorized."""
    account = town.history("accounting", "Account")
    index = next(i for i, event in enumerate(account) if event.type == "accounting.OrderAuthorizationReversed")
    account[index] = replace(account[index], data=account[index].data.replace('"order_total":', '"order_total":1'))


def _snapshot_of_another_account(town: Town, amount: int = 100) -> None:
    """A snapshot that has another total than the events."""
    cls = model_of("accounting").aggregates["Account"]
    opened = town.history("accounting", "Account")[0]
    account: Any = cls(id=opened.id)
    account.replay(decode_message(opened.type, opened.data, opened.metadata.schema))
    account.authorized_total = amount
    town.database("accounting").snapshots["Account", account.id] = SnapshotFormat.of(cls).take(account)


def _never_approved(town: Town) -> None:
    """The last event of an order was lost, with its row in the history."""
    town.history("order", "Order").pop()


def _unfinished_saga(town: Town) -> None:
    saga = next(iter(town.database("order").tables[SagaInstance].values()))
    saga.phase, saga.stuck = Phase.FORWARD, False


def _parked_message(town: Town) -> None:
    received = town.system.broker.stored_at(1)
    assert received is not None
    now = town.system.clock()
    town.database("delivery").waiting[1] = SetAside(
        seq=1,
        partition=0,
        line=Line("", "restaurant"),
        message_id="m",
        received=received[1],
        set_aside_at=now,
        retry_at=now,
        parked_at=now,
    )


def _second_ticket(town: Town) -> None:
    """CreateTicket was carried out twice."""
    ticket = town.history("kitchen", "Ticket")
    town.database("kitchen").events["Ticket", "another"] = [replace(event, id="another") for event in ticket]


def _delivery_left(town: Town) -> None:
    """A rejected order's delivery stayed pending."""
    town.row("delivery", "Delivery", town.orders["rejected"]).status = "PENDING"


def _gap(town: Town) -> None:
    order = town.history("order", "Order", "revised")
    del order[1]


def _stale_view(town: Town) -> None:
    ticket = town.history("kitchen", "Ticket")[0].id
    town.row("kitchen", "TicketView", ticket).ready_by = town.system.clock()


def _history_missed_a_total(town: Town) -> None:
    town.row("order_history", "OrderRecord", town.orders["revised"]).revisions = ()


def _history_lost_an_order(town: Town) -> None:
    del town.database("order_history").tables[model_of("order_history").row("OrderRecord")][town.orders["brought"]]


def _history_made_an_order_up(town: Town) -> None:
    row = town.row("order_history", "OrderRecord", town.orders["brought"])
    town.database("order_history").tables[type(row)]["zz"] = replace(row, id="zz")


def _not_published(town: Town) -> None:
    outbox = town.database("order").outbox
    created = next(sent for sent in outbox if sent.subject.endswith("event.order.OrderCreated"))
    headers = {**created.headers, "ce-id": "never-published"}
    outbox.append(replace(created, row_id="order-unpublished", headers=headers))


def _lost_for_good(town: Town) -> None:
    missing = Missing(partition=0, sender="order", after_row=1, before_row=3)
    town.database("delivery").missing.append(missing)


def _not_handled(town: Town) -> None:
    town.database("delivery").inbox.popitem()


def _key_without_effect(town: Town) -> None:
    """A key was kept before the work was done, and the work then failed."""
    _keep(town, "POST /api/orders other", '{"id": "nowhere"}')


def _two_keys_for_one_order(town: Town) -> None:
    _keep(town, "POST /api/orders other", f'{{"id": "{town.orders["brought"]}"}}')


def _cancelled_by_a_key_in_vain(town: Town) -> None:
    _keep(town, f"PUT /api/orders/{town.orders['brought']}/cancel other", '{"status": "CancelPending"}')


def _keep(town: Town, id_: str, answer: str) -> None:
    kept = KeptAnswer(id=id_, body_hash="", answer=Json(answer), created_at=town.system.clock())
    town.database("order").tables[KeptAnswer][id_] = kept


PLANTED: dict[str, tuple[Plant, ...]] = {
    "I1": (_authorized_twice, _wrong_reversal, _snapshot_of_another_account, _never_approved),
    "I2": (_unfinished_saga, _parked_message, _never_approved),
    "I3": (_second_ticket, _delivery_left, _wrong_reversal),
    "I4": (_gap, _stale_view, _snapshot_of_another_account),
    "I5": (_history_missed_a_total, _history_lost_an_order, _history_made_an_order_up),
    "I6": (_not_published, _lost_for_good, _not_handled, _authorized_twice),
    "I7": (_key_without_effect, _two_keys_for_one_order, _cancelled_by_a_key_in_vain),
}


@pytest.mark.parametrize(
    ("invariant", "plant"), [(invariant, plant) for invariant, plants in PLANTED.items() for plant in plants]
)
def test_a_planted_bug_is_found(town: Town, invariant: str, plant: Plant) -> None:
    plant(town)
    assert invariant in {finding.invariant for finding in town.findings()}


def test_what_the_stream_has_lost_and_everybody_has_had_is_told_but_breaks_nothing(town: Town) -> None:
    broker = town.system.broker
    positions = [at for at in range(1, broker.last_position() + 1) if at % 5 == 0]
    for position in positions:
        broker.damage(position)
    assert town.findings() == []
    lacking = town.runner.run(look(town.state))
    assert len(lacking) == len(positions)
    assert all(finding.mended and finding.text.endswith("is not in the stream") for finding in lacking)


def test_every_invariant_has_its_bugs() -> None:
    assert PLANTED.keys() == INVARIANTS.keys()


@pytest.mark.parametrize("plant", [_unfinished_saga, lambda town: town.database("kitchen").positions.clear()])
def test_a_system_that_is_at_work_is_not_at_rest(town: Town, plant: Plant) -> None:
    plant(town)
    assert town.runner.run(unrest(town.state))
