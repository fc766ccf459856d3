"""What the users may not do in NATS, tried on a real one while the system runs. That they may do their work shows in
everything else that runs with these rights: the whole system in the other tests."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import nats.errors
import pytest
from nats.aio.client import Client

from cdc.nats_users import KEEPER, OPERATOR, nats_users, readable_routes, relay_user
from kernel.topology import FTGO, SERVICES
from shared.adapters.nats.broker import NatsBroker
from shared.adapters.nats.connection import NatsAddress
from shared.adapters.nats.keeper import Keeper
from shared.adapters.nats.stream import StreamLimits
from shared.messaging.broker import BrokerUnavailable, Publication
from tests.support.infra import PASSWORD, Infra, NatsServer

STREAM = "FTGO"
LIMITS = StreamLimits(max_age=3600, max_bytes=1 << 26)
SERVICE_NAMES = [each.name for each in SERVICES]
RELAYS = [relay_user(each.name) for each in SERVICES if each.publishes]
USERS = [*SERVICE_NAMES, *RELAYS]
API = "$JS.API"


@pytest.fixture(scope="module")
def server(infra: Infra) -> Iterator[NatsServer]:
    """A NATS with the users of production."""
    with infra.nats(passwords={user.name: PASSWORD for user in nats_users()}) as running:
        yield running


class Thief:
    """Somebody with a user's password, and what NATS has told him."""

    def __init__(self, client: Client, user: str) -> None:
        self.client = client
        self.user = user
        self.violations: list[str] = []

    async def refused(self, subject: str, body: object = None) -> bool:
        """Whether NATS refuses that this is published."""
        before = len(self.violations)
        await self.client.publish(subject, json.dumps(body).encode())
        await self.answered()
        return len(self.violations) > before

    async def deaf(self, subject: str) -> bool:
        """Whether NATS refuses that this is subscribed to."""
        before = len(self.violations)
        await self.client.subscribe(subject)
        await self.answered()
        return len(self.violations) > before

    async def answered(self) -> None:
        """Returns when NATS has seen everything. nats-py's first ping overtakes what it has not sent yet."""
        for _ in range(2):
            await self.client.flush()


@asynccontextmanager
async def stolen(server: NatsServer, user: str) -> AsyncIterator[Thief]:
    client = Client()
    thief = Thief(client, user)

    async def told(error: Exception) -> None:
        thief.violations.append(str(error))

    await client.connect(
        server.url, user=user, password=PASSWORD, inbox_prefix=f"_INBOX.{user}", error_cb=told, allow_reconnect=False
    )
    try:
        yield thief
    finally:
        await client.close()


@asynccontextmanager
async def kept(server: NatsServer) -> AsyncIterator[None]:
    async with Keeper(NatsAddress(server.url, FTGO, KEEPER, PASSWORD), 1, LIMITS, readable_routes()).keeping():
        yield


def broker(server: NatsServer, user: str) -> NatsBroker:
    return NatsBroker(NatsAddress(server.url, FTGO, user, PASSWORD), 1)


def message(route: str, number: int = 1) -> Publication:
    return Publication(row_id=f"row-{route}-{number}", subject=f"0.{route}", headers={}, data="{}")


@pytest.mark.parametrize("credentials", [{}, {"user": OPERATOR}, {"user": OPERATOR, "password": "guessed"}])
async def test_nobody_comes_in_without_a_password(server: NatsServer, credentials: dict[str, str]) -> None:
    client = Client()
    with pytest.raises(nats.errors.Error, match=r"(?i)authorization"):
        await client.connect(server.url, allow_reconnect=False, **credentials)  # type: ignore[arg-type]
    await client.close()


@pytest.mark.parametrize("user", USERS)
async def test_a_user_has_power_over_no_stream(server: NatsServer, user: str) -> None:
    async with kept(server), stolen(server, user) as thief:
        for subject in (
            f"{API}.INFO", f"{API}.STREAM.NAMES", f"{API}.STREAM.LIST", f"{API}.CONSUMER.NAMES.{STREAM}",
            f"{API}.CONSUMER.LIST.{STREAM}", f"{API}.STREAM.CREATE.{STREAM}", f"{API}.STREAM.CREATE.MINE",
            f"{API}.STREAM.UPDATE.{STREAM}", f"{API}.STREAM.DELETE.{STREAM}", f"{API}.STREAM.PURGE.{STREAM}",
            f"{API}.STREAM.SNAPSHOT.{STREAM}", f"{API}.STREAM.RESTORE.{STREAM}", f"{API}.STREAM.MSG.DELETE.{STREAM}",
            f"{API}.STREAM.MSG.GET.{STREAM}", f"{API}.DIRECT.GET.{STREAM}", f"{API}.CONSUMER.RESET.{STREAM}.x",
            f"{API}.CONSUMER.CREATE.{STREAM}", f"{API}.CONSUMER.CREATE.{STREAM}.mine",
            f"{API}.CONSUMER.CREATE.{STREAM}.mine.ftgo.>", f"{API}.CONSUMER.DURABLE.CREATE.{STREAM}.mine",
            f"{API}.CONSUMER.INFO.{STREAM}.x", f"{API}.CONSUMER.PAUSE.{STREAM}.x", "$SYS.REQ.SERVER.PING",
            "$JS.EVENT.ADVISORY.x", f"$JS.ACK.{STREAM}.x.1.1.1.1.1", "_INBOX.keeper.x",
            f"{API}.STREAM.CREATE.FTGO_REPLAY_order_history", f"{API}.STREAM.DELETE.FTGO_REPLAY_order_history",
        ):  # fmt: skip
            assert await thief.refused(subject), subject


@pytest.mark.parametrize("user", USERS)
async def test_a_user_hears_only_what_is_sent_to_it(server: NatsServer, user: str) -> None:
    async with stolen(server, user) as thief:
        others = (other for other in (*USERS, KEEPER, OPERATOR) if other != user)
        for subject in (
            ">", "*.>", "ftgo.>", "ftgo.0.command.accounting.AuthorizeOrder", "ftgo-replay.>", "ftgo-keeper.>",
            f"ftgo-keeper.{user}.read", "$JS.>", "$JS.EVENT.>", "$JS.API.>", "$SYS.>", "_INBOX.>", "_INBOX.*.*",
            *(f"_INBOX.{other}.>" for other in others),
        ):  # fmt: skip
            assert await thief.deaf(subject), subject
        assert not await thief.deaf(f"_INBOX.{user}.>")


@pytest.mark.parametrize("service", SERVICE_NAMES)
async def test_a_service_publishes_nothing_to_the_stream(server: NatsServer, service: str) -> None:
    routes = {route for relay in nats_users() for route in relay.publish if route.startswith("ftgo.*.")}
    async with stolen(server, service) as thief:
        for route in routes:
            assert await thief.refused(route.replace("*", "0")), route


@pytest.mark.parametrize("relay", RELAYS)
async def test_a_relay_publishes_what_its_service_sends_and_nothing_else(server: NatsServer, relay: str) -> None:
    rights = {user.name: {right for right in user.publish if right.startswith("ftgo.*.")} for user in nats_users()}
    every = set().union(*rights.values())
    async with kept(server), stolen(server, relay) as thief:
        for right in every - rights[relay]:
            assert await thief.refused(right.replace("*", "0")), right
        others = ("ftgo.0.event.mine.Made", "ftgo.0", f"ftgo-keeper.{relay}.read", "ftgo-control.replay.order")
        for other in others:
            assert await thief.refused(other), other
        async with broker(server, relay).connect() as log:
            own = [message(right.removeprefix("ftgo.*.")) for right in sorted(rights[relay])]
            assert None not in await log.publish(own)


@pytest.mark.parametrize("service", [name for name in SERVICE_NAMES if readable_routes()[name]])
async def test_a_service_reads_what_it_subscribes_to_and_nothing_else(server: NatsServer, service: str) -> None:
    routes = readable_routes()
    every = set().union(*routes.values())
    async with kept(server), broker(server, OPERATOR).connect() as operator:
        await operator.publish([message(route) for route in sorted(every)])
        async with broker(server, service).connect() as log:
            async with log.read(0, after=0, filters=sorted(routes[service])) as feed:
                received = {each.subject for each in await feed.take(1000, 10)}
            assert received == {f"0.{route}" for route in routes[service]}
            for forbidden in (*sorted(every - routes[service])[:3], ">", "event.>", "event.*.*", "*.*.*"):
                for filters in ([forbidden], [*routes[service], forbidden]):
                    with pytest.raises(BrokerUnavailable, match=f"{service} may not read"):
                        async with log.read(0, after=0, filters=filters):
                            pass


@pytest.mark.parametrize("user", USERS)
async def test_nobody_asks_the_keeper_in_anothers_name(server: NatsServer, user: str) -> None:
    async with stolen(server, user) as thief:
        for other in ("anybody", KEEPER, *USERS):
            if other != user:
                for what in ("read", "mark", "replay.begin", "replay.end"):
                    assert await thief.refused(f"ftgo-keeper.{other}.{what}"), other


async def test_the_keeper_answers_to_whom_it_was_asked_by_only(server: NatsServer) -> None:
    """Or it would say, in its own name and on a subject closed to the asker, what the asker has thought of."""
    async with kept(server), stolen(server, OPERATOR) as witness, stolen(server, "order") as thief:
        heard = await witness.client.subscribe("_INBOX.kitchen.>")
        await witness.answered()
        await thief.client.publish("ftgo-keeper.order.mark", b"{}", reply="_INBOX.kitchen.x")
        await thief.client.publish("ftgo-keeper.order.mark", b"{}", reply="ftgo.0.event.order.OrderCreated")
        # The third answer comes behind the first two, had there been any.
        await thief.client.request("ftgo-keeper.order.mark", b"{}", timeout=5)
        await witness.answered()
        assert heard.pending_msgs == 0


async def test_the_keeper_publishes_to_no_stream(server: NatsServer) -> None:
    async with stolen(server, KEEPER) as thief:
        for subject in ("ftgo.0.event.order.OrderCreated", "ftgo-control.replay.order"):
            assert await thief.refused(subject)


async def test_a_consumer_of_somebody_else_has_a_name_that_nobody_finds_out(server: NatsServer) -> None:
    """Who knows it can take from it: JetStream tells it to nobody but the keeper, and the keeper only to its owner."""
    async with (
        kept(server),
        broker(server, "kitchen").connect() as log,
        stolen(server, OPERATOR) as operator,
        log.read(0, after=0, filters=["event.restaurant.RestaurantCreated"]),
    ):
        (found,) = await operator.client.jsm().consumers_info(STREAM)
    user, _, secret = found.name.partition("-")
    assert user == "kitchen"
    assert len(secret) >= 32


async def test_a_reader_that_is_rebuilt_has_power_over_its_own_stream_only(server: NatsServer) -> None:
    async with kept(server), stolen(server, "order_history") as thief:
        for subject in (f"{API}.STREAM.CREATE.FTGO_REPLAY_order_history", f"{API}.CONSUMER.CREATE.{STREAM}"):
            assert await thief.refused(subject), subject
        assert not await thief.refused(f"{API}.CONSUMER.CREATE.FTGO_REPLAY_order_history")
        assert not await thief.refused("ftgo-control.replay.order")
    for user in ("order", "kitchen"):
        async with stolen(server, user) as thief:
            for subject in ("ftgo-control.replay.order", "ftgo-replay.order_history.x.event.order.OrderCreated"):
                assert await thief.refused(subject), subject


@pytest.mark.parametrize("subject", ["ftgo.0.command.kitchen.CreateTicket", "ftgo.0.event.order.OrderCreated"])
async def test_what_jetstream_answers_is_no_message_of_ours(server: NatsServer, subject: str) -> None:
    """An answer goes where the asker says. What is stored then has no header, and is parked by whoever reads it."""
    async with kept(server), stolen(server, "restaurant") as thief, stolen(server, OPERATOR) as operator:
        before = (await operator.client.jsm().stream_info(STREAM)).state.last_seq
        await thief.client.publish(f"{API}.STREAM.INFO.{STREAM}", b"", reply=subject)
        await thief.answered()
        await thief.client.request(f"{API}.STREAM.INFO.{STREAM}", b"", timeout=5)
        state = (await operator.client.jsm().stream_info(STREAM)).state
        for position in range(before + 1, state.last_seq + 1):
            assert not (await operator.client.jsm().get_msg(STREAM, position)).headers
