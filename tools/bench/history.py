"""The order history's search: how long a page takes among very many orders, by filter, for near and far pages."""

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from itertools import islice
from random import Random
from typing import Any, cast
from urllib.parse import urlencode

from kernel.topology import BY_NAME
from kernel.values import ConsumerId, LineItem, MenuItemId, Money, RestaurantId
from order_history.adapters.postgres import TABLES, unit_of_work
from order_history.history import (
    Criteria,
    OrderRecord,
    OrderStatus,
    Place,
    find_orders,
)
from order_history.words import words_in_search
from shared.adapters.postgres.database import PostgresDatabase, PostgresTransaction
from shared.adapters.postgres.rows import RowMapping
from shared.core.clock import utc_now
from shared.core.policy import Policy
from shared.unit_of_work.unit_of_work import Units
from tools.bench.figures import Latency
from tools.bench.http import Connections, request
from tools.bench.running import Running
from tools.system.process import LaunchError
from tools.system.system import System

SERVICE = "order_history"
LARGE = 10
"""How many consumers have very many orders: each has 2 % of all orders. Only their lists have a hundredth page."""
ORDERS_OF_EACH = 10
"""The number of orders of each other consumer."""
RESTAURANTS = 100
PAGE = 20
FAR = 100
"""The number of the far page."""
FEW = 300
"""How many consumers with few orders are searched for."""
TIMES = 10
"""How often each first and hundredth page of a long list is read."""
_TEMPLATES = 5000
_CHUNK = 20_000
_YEARS = timedelta(days=2 * 365)
_BEGIN = datetime(2024, 1, 1, tzinfo=UTC)

DISHES = [
    *(
        f"{meat} {way}"
        for meat in ("Chicken", "Lamb", "Prawn", "Vegetable")
        for way in ("Vindaloo", "Korma", "Biryani")
    ),
    *(f"{kind} Naan" for kind in ("Garlic", "Plain", "Cheese")),
    *("Saag Paneer", "Dal Makhani", "Masala Dosa", "Aloo Gobi", "Onion Bhaji", "Basmati Rice", "Mango Lassi"),
]
COMMON = "chicken"
RARE = "truffle"
"""A word that occurs in one order in a thousand."""
STATUSES = {
    OrderStatus.APPROVED: 80,
    OrderStatus.CANCELLED: 15,
    OrderStatus.REJECTED: 4,
    OrderStatus.APPROVAL_PENDING: 1,
}

_clock = time.perf_counter


@dataclass(frozen=True, kw_only=True)
class Filter:
    """A filter, in the form that the service takes and in the form that its search takes."""

    since: datetime | None = None
    status: OrderStatus | None = None
    words: str = ""

    def criteria(self, consumer: str) -> Criteria:
        """The filter on a consumer's orders, as the service's search takes it."""
        words = words_in_search(self.words)
        return Criteria(consumer_id=ConsumerId(consumer), since=self.since, status=self.status, words=words)

    def query(self, consumer: str) -> dict[str, str]:
        """The filter on a consumer's orders, as parameters of a request."""
        given = {
            "filter[since]": self.since and self.since.isoformat(),
            "filter[status]": self.status,
            "filter[keywords]": self.words,
        }
        return {"consumerID": consumer, "limit": str(PAGE), **{name: value for name, value in given.items() if value}}


FILTERS: Mapping[str, Filter] = {
    "none": Filter(),
    "since": Filter(since=_BEGIN + _YEARS / 4),
    "status": Filter(status=OrderStatus.CANCELLED),
    "common word": Filter(words=COMMON),
    "rare word": Filter(words=RARE),
    "common word, status": Filter(words=COMMON, status=OrderStatus.CANCELLED),
    "two words, status, since": Filter(words="lamb naan", status=OrderStatus.APPROVED, since=_BEGIN + _YEARS / 4),
}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The results of one run for a filter, by the service's search itself or over HTTP.

    `first` is for first pages, `far` for the hundredth ones, `any` for all up to there. `longest` is how many pages the
    longest list had, up to a hundred: where no list has that many, `far` is None.
    """

    number: int
    filter: str
    way: str
    longest: int
    first: Latency | None
    far: Latency | None
    any: Latency | None


Read = Callable[[Filter, str, Any], Awaitable[Any]]
"""Reads a page of a consumer's orders from a position; returns the next page's position, or a false value."""


class History:
    """A history with a number of orders. The same seed makes the same orders."""

    def __init__(self, orders: int, seed: int) -> None:
        self._orders = orders
        self._random = Random(seed)  # noqa: S311 - the same orders each time
        self.large = [self._uuid() for _ in range(LARGE)]
        self.small = [self._uuid() for _ in range(max(1, orders // ORDERS_OF_EACH))]

    def columns(self) -> list[str]:
        """The columns of its rows."""
        return list(TABLES[OrderRecord].columns.keys())

    def rows(self) -> Iterator[tuple[object, ...]]:
        """The orders as rows. They are like the service's own rows, except for ids and times."""
        columns = self.columns()
        id_, consumer, created, updated = map(columns.index, ("id", "consumer_id", "created_at", "updated_at"))
        arrays = RowMapping(OrderRecord, TABLES[OrderRecord]).to_arrays(self._templates())
        templates = [list(row) for row in zip(*arrays, strict=True)]
        for number in range(self._orders):
            row = self._random.choice(templates)
            row[id_] = self._uuid()
            row[consumer] = self._random.choice(self.large if self._random.random() < LARGE / 50 else self.small)
            row[created] = row[updated] = _BEGIN + _YEARS * (number / self._orders)
            yield tuple(row)

    def _templates(self) -> list[OrderRecord]:
        random = self._random
        menus = [random.sample(DISHES, 12) for _ in range(RESTAURANTS)]
        restaurants = [RestaurantId(self._uuid()) for _ in range(RESTAURANTS)]
        found = []
        for number in range(_TEMPLATES):
            place = random.randrange(RESTAURANTS)
            dishes = random.sample(menus[place], random.randint(1, 4))
            if number % 1000 == 0:
                dishes.append(f"{RARE.title()} Naan")
            items = tuple(
                LineItem(
                    menu_item_id=MenuItemId(dish.lower().replace(" ", "-")),
                    name=dish,
                    price=Money(random.randint(300, 1800)),
                    quantity=random.randint(1, 3),
                )
                for dish in dishes
            )
            order = OrderRecord(
                id="",
                version=random.randint(4, 6),
                order_version=2,
                status=random.choices([*STATUSES], [*STATUSES.values()])[0],
                restaurant_id=restaurants[place],
                restaurant_name=f"Restaurant {place}",
                ordered_items=items,
                ordered_total=Money(sum(item.price * item.quantity for item in items)),
                updated_at=_BEGIN,
            )
            order.index_words()
            found.append(order)
        return found

    def _uuid(self) -> str:
        digits = self._random.randbytes(16).hex()
        return f"{digits[:8]}-{digits[8:12]}-7{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


async def fill(running: Running, history: History) -> None:
    """Write the history into the service's tables, and leave them in the state that autovacuum would."""
    async with running.admin(SERVICE) as connection:
        rows, columns = history.rows(), history.columns()
        while chunk := list(islice(rows, _CHUNK)):
            await connection.copy_records_to_table("orders", records=chunk, columns=columns)
        await connection.execute("vacuum analyze orders")


async def measure(running: Running, history: History, number: int, seed: int) -> list[Measured]:
    """Search by each filter: first pages of many consumers, and pages 1 to 100 of consumers with many orders."""
    random = Random(f"{seed} {number}")  # noqa: S311 - the same searches each time
    few = [random.choice(history.small) for _ in range(FEW)]
    found = []
    async with _by_search(running.system) as search, _over_http(running.system) as http:
        for name, wanted in FILTERS.items():
            for way, read in {"search": search, "HTTP": http}.items():
                found.append(await _measure(read, wanted, few, history.large, number=number, filter=name, way=way))
    return found


async def _measure(read: Read, wanted: Filter, few: list[str], many: list[str], **what: Any) -> Measured:
    first = [(await _timed(read, wanted, consumer, None))[0] for consumer in few]
    between: list[float] = []
    far: list[float] = []
    longest = 0
    for consumer in many:
        place = None
        for page in range(1, FAR + 1):
            taken = []
            for _ in range(TIMES if page in (1, FAR) else 1):
                took, following = await _timed(read, wanted, consumer, place)
                taken.append(took)
            {1: first, FAR: far}.get(page, between).extend(taken)
            longest, place = max(longest, page), following
            if not following:
                break
    return Measured(
        **what,
        longest=longest,
        first=Latency.of(first),
        far=Latency.of(far),
        any=Latency.of([*first, *between, *far]),
    )


async def _timed(read: Read, wanted: Filter, consumer: str, place: Any) -> tuple[float, Any]:
    begun = _clock()
    following = await read(wanted, consumer, place)
    return _clock() - begun, following


@asynccontextmanager
async def _by_search(system: System) -> AsyncIterator[Read]:
    """Searches as the service does for a request, but without HTTP."""
    database = PostgresDatabase(system.database(BY_NAME[SERVICE]).url, TABLES)
    policy = Policy()
    units = Units(database, lambda each: unit_of_work(cast(PostgresTransaction, each), utc_now, policy))

    async def read(wanted: Filter, consumer: str, place: Place | None) -> Place | None:
        async with units.begin() as uow:
            return (await find_orders(wanted.criteria(consumer), uow, before=place, limit=PAGE))[1]

    try:
        yield read
    finally:
        await database.close()


@asynccontextmanager
async def _over_http(system: System) -> AsyncIterator[Read]:
    connections = Connections(system.url(system.port(BY_NAME[SERVICE])))

    async def read(wanted: Filter, consumer: str, place: str | None) -> str:
        query = urlencode({**wanted.query(consumer), **({"next": place} if place else {})})
        status, answer = await connections.ask(request("GET", f"/api/orders?{query}"))
        if status != HTTPStatus.OK:
            raise LaunchError(f"the history answers a search with {status}: {answer.decode()}")
        following: str = json.loads(answer)["next"]
        return following

    try:
        yield read
    finally:
        connections.close()
