"""The load generator, `python -m tools.bench.generator`: a separate process, so that its CPU is measured separately.

It reads a `Plan` from its standard input and writes an `Outcome` to its standard output.
"""

import asyncio
import json
import math
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from typing import Any

from nats.aio.msg import Msg

from kernel.topology import FTGO
from shared.adapters.nats.connection import UNLIMITED, NatsAddress, connect
from shared.core.ids import new_id
from shared.host.event_loop import new_event_loop
from tools.bench.http import Connections, request
from tools.bench.plan import MEASURED, MEASURING, Outcome, Plan
from tools.bench.schedule import at_rate
from tools.demo.town import address

ENDS = (
    "OrderApproved",
    "OrderRejected",
    "OrderCancelled",
    "OrderCancellingUndone",
    "OrderRevised",
    "OrderRevisingUndone",
)
"""The events that a saga of an order can end with."""
MIX = {"create": 60, "cancel": 15, "revise": 15, "reject": 10}
PATIENCE = 30.0
"""Seconds after which a saga counts as one that doesn't end."""
_CONCURRENCY = 50
"""The number of simultaneous requests while restaurants and consumers are created."""
_PAUSE = 0.1
"""Seconds before a refused user asks again, and between polls."""

_clock = time.perf_counter


class Refused(Exception):
    """The service didn't take a request. Its text is the status."""


class Ends:
    """Receives the ends of sagas, as they are published."""

    def __init__(self) -> None:
        self._waiting: dict[str, asyncio.Future[tuple[str, float]]] = {}
        self._early: dict[str, tuple[str, float]] = {}

    async def note(self, message: Msg) -> None:
        """Take in an event. It may be published before the request that began its saga is answered."""
        end = (message.subject.rpartition(".")[2], _clock())
        order = json.loads(message.data)["order_id"]
        if (waiting := self._waiting.pop(order, None)) is None:
            self._early[order] = end
        elif not waiting.done():
            waiting.set_result(end)

    async def of(self, order: str) -> tuple[str, float]:
        """Return the event that the order's saga ends with, and when it came. Raises TimeoutError."""
        if (early := self._early.pop(order, None)) is not None:
            return early
        waiting: asyncio.Future[tuple[str, float]] = asyncio.get_running_loop().create_future()
        self._waiting[order] = waiting
        try:
            async with asyncio.timeout(PATIENCE):
                return await waiting
        finally:
            self._waiting.pop(order, None)


class Generator:
    """Plays one plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._random = Random(plan.seed)  # noqa: S311 - the same plan must produce the same load
        self._services = {name: Connections(url) for name, url in plan.urls.items()}
        self._ends = Ends()
        self._bodies: list[bytes] = []
        self._refused_bodies: list[bytes] = []
        self._approved: list[str] = []
        """Orders that can be cancelled or revised."""
        self._measuring: tuple[float, float] = (0.0, 0.0)
        self._ended: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._unended = 0
        self._http: list[float] = []
        self._end_to_end: list[float] = []
        self._reads: dict[str, list[float]] = {"order": [], "history": []} if plan.reads else {}
        self._in_all = 0
        self.placed = 0
        """The number of orders that were requested."""

    async def run(self) -> Outcome:
        """Create restaurants and consumers, warm up, measure, and wait for what is still under way."""
        plan = self._plan
        async with self._in_town():
            begin = _clock() + plan.warm_up
            self._measuring = (begin, begin + plan.seconds)
            loading = asyncio.create_task(self._load())
            await asyncio.sleep(plan.warm_up)
            say(MEASURING)
            cpu, began = time.process_time(), _clock()
            await asyncio.sleep(plan.seconds)
            cpu, window = time.process_time() - cpu, _clock() - began
            say(MEASURED)
            await loading
        return Outcome(
            window=window,
            ended=dict(self._ended),
            http=self._http,
            end_to_end=self._end_to_end,
            reads=self._reads,
            cpu=cpu,
            in_all=self._in_all,
            unended=self._unended,
            failures=dict(+self._failures),
        )

    async def place(self, orders: int, users: int) -> Counter[str]:
        """Place this many orders in a closed loop, without a time limit; returns how often each failure occurred."""
        async with self._in_town():
            self._measuring = (_clock(), math.inf)
            await self._closed_loop(users, lambda: self.placed < orders)
        return +(self._failures + Counter({"did not end": self._unended}))

    @asynccontextmanager
    async def _in_town(self) -> AsyncIterator[None]:
        """Create the restaurants and consumers, and subscribe to the ends of sagas."""
        await self._open_town()
        nats = NatsAddress(self._plan.nats_url, FTGO, self._plan.nats_user, self._plan.nats_password)
        async with connect(nats) as connection:
            for end in ENDS:
                await connection.client.subscribe(
                    connection.names.log.to_wire(f"*.event.order.{end}"),
                    cb=self._ends.note,
                    pending_msgs_limit=UNLIMITED,
                    pending_bytes_limit=UNLIMITED,
                )
            await connection.client.flush()
            yield
        for connections in self._services.values():
            connections.close()

    async def _load(self) -> None:
        if self._plan.users is None:
            await self._open_loop()
        else:
            await self._closed_loop(self._plan.users, lambda: _clock() < self._measuring[1])

    async def _closed_loop(self, users: int, goes_on: Callable[[], bool]) -> None:
        async def user() -> None:
            while goes_on():
                if not await self._saga(_clock()):
                    await asyncio.sleep(_PAUSE)

        async with asyncio.TaskGroup() as group:
            for _ in range(users):
                group.create_task(user())

    async def _open_loop(self) -> None:
        assert self._plan.rate is not None
        async with asyncio.TaskGroup() as group:
            async for moment in at_rate(self._plan.rate, self._plan.warm_up + self._plan.seconds, _clock):
                group.create_task(self._saga(moment))

    async def _saga(self, intended: float) -> bool:
        """Begin a saga and see its end; returns whether there was one. Its times count from the intended moment."""
        begin, end = self._measuring
        counts = begin <= intended < end
        try:
            order, answered = await self._begin_saga()
            what, ended = await self._ends.of(order)
        except TimeoutError:  # TimeoutError is an OSError too
            self._unended += counts
            return False
        except (Refused, OSError, EOFError) as failure:
            self._failures[f"{type(failure).__name__} {failure}".strip()] += counts
            return False
        if what in ("OrderApproved", "OrderRevised", "OrderRevisingUndone", "OrderCancellingUndone"):
            self._keep(order)
        if counts:
            self._http.append(answered - intended)
            self._end_to_end.append(ended - intended)
        self._in_all += 1
        if begin <= ended < end:
            self._ended[what] += 1
        return await self._read(order, counts) if self._plan.reads else True

    async def _begin_saga(self) -> tuple[str, float]:
        """Request a saga; returns the order, and when the request was answered. Raises Refused."""
        what = self._random.choices([*MIX], [*MIX.values()])[0] if self._plan.mix else "create"
        if what in ("cancel", "revise") and self._approved:
            order = self._approved.pop(self._random.randrange(len(self._approved)))
            body = b'{"revised_quantities":{"a":%d}}' % self._random.randint(1, 3) if what == "revise" else b""
            await self._change("PUT", f"/api/orders/{order}/{what}", body)
            return order, _clock()
        self.placed += 1
        bodies = self._refused_bodies if what == "reject" else self._bodies
        answer = await self._change("POST", "/api/orders", self._random.choice(bodies))
        return json.loads(answer)["id"], _clock()

    def _keep(self, order: str) -> None:
        if self._plan.mix:
            self._approved.append(order)

    async def _read(self, order: str, counts: bool) -> bool:
        """Read the order and its consumer's history; returns whether both could be read."""
        try:
            began = _clock()
            answer = await self._ask("order", "GET", f"/api/orders/{order}")
            seen = _clock()
            consumer = json.loads(answer)["consumer_id"]
            await self._ask("order_history", "GET", f"/api/orders?consumerID={consumer}")
        except (Refused, OSError, EOFError) as failure:
            self._failures[f"reading: {type(failure).__name__} {failure}".strip()] += counts
            return False
        if counts:
            self._reads["order"].append(seen - began)
            self._reads["history"].append(_clock() - seen)
        return True

    async def _change(self, method: str, path: str, body: bytes) -> bytes:
        return await self._ask("order", method, path, body, new_id() if self._plan.keys else None)

    async def _ask(self, service: str, method: str, path: str, body: bytes = b"", key: str | None = None) -> bytes:
        status, answer = await self._services[service].ask(request(method, path, body, key))
        if not 200 <= status < 300:
            raise Refused(str(status))
        return answer

    # The restaurants and consumers

    async def _open_town(self) -> None:
        """Create restaurants and consumers for this run alone, and wait until all services know them."""
        menu = {"menu_items": [{"id": "a", "name": "A", "price": 1000}]}
        restaurants = await self._make(
            "restaurant",
            "/api/restaurants",
            {"name": "R", "address": address("1", "94612"), "menu": menu},
            self._plan.restaurants,
        )
        consumers = await self._make("consumer", "/api/consumers", {"name": "C"}, self._plan.consumers)
        refused = max(1, self._plan.consumers // 10) if self._plan.mix else 0
        disabled = await self._make("consumer", "/api/consumers", {"name": "D"}, refused)
        for service in ("order", "kitchen"):
            await _for_each(restaurants, partial(self._known, service, "restaurants"))
        await _for_each(consumers + disabled, partial(self._known, "accounting", "accounts"))
        await _for_each(disabled, lambda id_: self._ask("accounting", "PUT", f"/api/accounts/{id_}/disable"))
        self._bodies = [self._order(id_, restaurants) for id_ in consumers]
        self._refused_bodies = [self._order(id_, restaurants) for id_ in disabled]

    async def _make(self, service: str, path: str, body: dict[str, Any], count: int) -> list[str]:
        """Post the same request `count` times; returns the ids."""
        ids: list[str] = []
        data = json.dumps(body).encode()
        while len(ids) < count:
            posts = (self._ask(service, "POST", path, data) for _ in range(min(_CONCURRENCY, count - len(ids))))
            ids += [json.loads(answer)["id"] for answer in await asyncio.gather(*posts)]
        return ids

    async def _known(self, service: str, what: str, id_: str) -> None:
        """Wait until a service knows about something. Raises TimeoutError."""
        look = request("GET", f"/api/{what}/{id_}")
        async with asyncio.timeout(PATIENCE):
            while (await self._services[service].ask(look))[0] == 404:  # noqa: ASYNC110 - can only be seen by polling
                await asyncio.sleep(_PAUSE)

    def _order(self, consumer: str, restaurants: list[str]) -> bytes:
        body = {
            "consumer_id": consumer,
            "restaurant_id": self._random.choice(restaurants),
            "delivery_time": (datetime.now(UTC) + timedelta(days=1)).isoformat(timespec="seconds"),
            "delivery_address": address("9 Amazing View", "94612"),
            "line_items": {"a": 2},
        }
        return json.dumps(body).encode()


async def _for_each(ids: Sequence[str], work: Callable[[str], Awaitable[object]]) -> None:
    """Do the work for all ids, for a limited number at once."""
    for begin in range(0, len(ids), _CONCURRENCY):
        await asyncio.gather(*map(work, ids[begin : begin + _CONCURRENCY]))


def say(line: bytes) -> None:
    """Write a line for the process that started this one, without buffering."""
    with open(sys.stdout.fileno(), "wb", closefd=False) as output:
        output.write(line)  # all of it: with PYTHONUNBUFFERED, `sys.stdout.buffer` writes what a pipe takes just then


def main() -> None:
    """Play the plan from the standard input."""
    plan = Plan(**json.loads(sys.stdin.buffer.read()))
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        outcome = runner.run(Generator(plan).run())
    say(json.dumps(asdict(outcome)).encode() + b"\n")


if __name__ == "__main__":
    main()
