"""The relay by itself: the time from a message's commit to a subscriber, and how fast a backlog is published."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from random import Random

from kernel.topology import BY_NAME, FTGO, SERVICES
from kernel.values import Address, ConsumerId, LineItem, MenuItemId, Money, OrderId, RestaurantId
from order.contracts import OrderCreated
from shared.adapters.nats.broker import NatsBroker, NatsBrokerConnection
from shared.adapters.nats.connection import NatsAddress
from shared.adapters.postgres.database import PostgresDatabase
from shared.core.clock import utc_now
from shared.core.ids import new_id
from shared.core.serialization import to_json
from shared.messaging.broker import Feed
from shared.messaging.envelope import Envelope
from tools.bench.figures import Latency
from tools.bench.running import Running
from tools.bench.schedule import at_rate
from tools.system.process import LaunchError
from tools.system.system import RELAY

READER = "order_history"
"""The service that reads the events."""
PATIENCE = 120.0
ROWS_A_COMMIT = 20
"""The number of a backlog's rows per commit."""
_LOOK_SECONDS = 0.02

# Each block is a transaction, as a service's would be.
_BACKLOG = """
do $$ begin
    for number in 1..{commits} loop
        insert into outbox (subject, key, headers, data)
        select subject, key, headers, data from outbox, generate_series(1, {rows}) where id = {like};
        commit;
    end loop;
end $$
"""

_clock = time.perf_counter


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The results of one run. `commit` is how long PostgreSQL took for it; `cpu` is in microseconds per message."""

    number: int
    commit: Latency | None
    to_subscriber: Latency | None
    drained: int
    a_second: float
    headers: int
    bytes: int
    cpu: dict[str, float]


async def measure(running: Running, number: int, seed: int, rate: float, seconds: float, backlog: int) -> Measured:
    """Measure latency and backlog once, on a system whose services are down. LaunchError when messages don't come."""
    random = Random(f"{seed} {number}")  # noqa: S311 - the same numbers must make the same messages
    envelopes = [_event(random) for _ in range(max(1, round(rate * seconds)))]
    try:
        commit, to_subscriber = await _latencies(running, envelopes, rate)
        drained, a_second, cpu = await _drain(running, backlog)
    except TimeoutError:
        raise LaunchError(f"what was committed was not published within {PATIENCE:g} s") from None
    return Measured(
        number=number,
        commit=Latency.of(commit),
        to_subscriber=Latency.of(to_subscriber),
        drained=drained,
        a_second=a_second,
        headers=len(envelopes[-1].to_headers()) + 1,  # and the row's id
        bytes=len(to_json(envelopes[-1].to_headers())) + len(envelopes[-1].data),
        cpu=cpu,
    )


async def take_services_down(running: Running) -> None:
    """Leave only the servers and the relay running: nothing handles what is published."""
    for service in SERVICES:
        await running.supervisor.take_down(service.name)


def _event(random: Random) -> Envelope:
    """An OrderCreated with all the data that such an event carries."""
    event = OrderCreated(
        order_id=OrderId(new_id()),
        consumer_id=ConsumerId(new_id()),
        restaurant_id=RestaurantId(new_id()),
        restaurant_name="Ajanta",
        line_items=(
            LineItem(
                menu_item_id=MenuItemId("chicken-vindaloo"), name="Chicken Vindaloo", price=Money(1234), quantity=2
            ),
        ),
        order_total=Money(2468),
        deliver_at=utc_now() + timedelta(hours=1),
        deliver_to=Address(street1="9 Amazing View", city="Oakland", state="CA", zip="94612"),
    )
    return Envelope(
        id=new_id(),
        type=event.type_name,
        kind="event",
        source="order",
        key=event.order_id,
        data=to_json(event),
        time=utc_now(),
        correlation_id=new_id(),
        causation_id=new_id(),
        subject=event.order_id,
        sequence=1,
        traceparent=f"00-{random.randbytes(16).hex()}-{random.randbytes(8).hex()}-01",
    )


async def _latencies(running: Running, envelopes: list[Envelope], rate: float) -> tuple[list[float], list[float]]:
    """Commit each in its own transaction; returns how long the commits took, and the times until each was received."""
    system = running.system
    database = PostgresDatabase(system.database(BY_NAME["order"]).url)
    committed: dict[str, float] = {}
    commits: list[float] = []

    async def commit(envelope: Envelope) -> None:
        async with database.transaction() as transaction:
            await transaction.outbox.add([envelope])
            await transaction.flush()
            committed[envelope.id] = sent = _clock()
        commits.append(_clock() - sent)

    try:
        async with _broker(running) as broker, _reading(broker, envelopes[0].route) as feed:
            receiving = asyncio.create_task(_receive(feed, {envelope.id for envelope in envelopes}))
            async with asyncio.TaskGroup() as group:
                waiting = iter(envelopes)
                async for _ in at_rate(rate, len(envelopes) / rate, _clock):
                    group.create_task(commit(next(waiting)))
            received = await receiving
    finally:
        await database.close()
    return commits, [received[envelope.id] - committed[envelope.id] for envelope in envelopes]


async def _receive(feed: Feed, awaited: set[str]) -> dict[str, float]:
    """Return when each of these messages was received, by id. Raises TimeoutError."""
    received: dict[str, float] = {}
    while not awaited <= received.keys():
        messages = await feed.take(len(awaited), PATIENCE)
        now = _clock()
        if not messages:
            raise TimeoutError
        received |= {message.headers["ce-id"]: now for message in messages}
    return received


async def _drain(running: Running, backlog: int) -> tuple[int, float, dict[str, float]]:
    """Write a backlog while the relay is stopped, and let it publish that; returns number, rate and cost."""
    await running.supervisor.take_down(RELAY)
    commits = max(1, backlog // ROWS_A_COMMIT)
    count = commits * ROWS_A_COMMIT
    async with running.admin("order") as connection:
        like = await connection.fetchval("select max(id) from outbox")
        await connection.execute(_BACKLOG.format(commits=commits, rows=ROWS_A_COMMIT, like=like))
    async with _broker(running) as broker:
        begin = (await broker.bounds()).last
        await running.supervisor.bring_up(RELAY)
        async with asyncio.timeout(PATIENCE):
            first, cpu_at_first = await _look(running, broker, begin + 1)
            last, cpu_at_last = await _look(running, broker, begin + count)
        began, ended = await broker.message_at(begin + 1), await broker.message_at(begin + count)
    if last == first:
        raise LaunchError(f"{count} rows go out between two looks: it takes more to see what they cost")
    assert began is not None
    assert ended is not None
    took = (ended.at - began.at).total_seconds()
    cpu = {part: round(1e6 * (cpu_at_last[part] - cpu_at_first[part]) / (last - first), 1) for part in cpu_at_first}
    return count, round(count / took), cpu


async def _look(running: Running, broker: NatsBrokerConnection, position: int) -> tuple[int, dict[str, float]]:
    """Wait until the stream has reached a position; returns its position then, and what each part has used."""
    while (last := (await broker.bounds()).last) < position:  # noqa: ASYNC110 - can only be seen by polling
        await asyncio.sleep(_LOOK_SECONDS)
    return last, running.cpu()


@asynccontextmanager
async def _broker(running: Running) -> AsyncIterator[NatsBrokerConnection]:
    system = running.system
    address = NatsAddress(system.nats.url, FTGO, READER, system.secrets.nats[READER])
    async with NatsBroker(address, system.settings.partitions).connect() as connection:
        yield connection


@asynccontextmanager
async def _reading(broker: NatsBrokerConnection, route: str) -> AsyncIterator[Feed]:
    async with broker.read(0, after=(await broker.bounds()).last, filters=[route]) as feed:
        yield feed
