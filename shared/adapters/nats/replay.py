"""Replays over NATS: how a reader asks a relay for all stored events, and reads them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from nats.aio.msg import Msg
from nats.errors import NoRespondersError

from shared.adapters.nats.connection import NatsConnection, broker_faults, broker_faults_ignored
from shared.adapters.nats.reader import NatsFeed, read
from shared.core.serialization import Undecodable, from_json, to_json
from shared.messaging.broker import BrokerUnavailable
from shared.messaging.replay import ReplayAnswer, ReplayRequest

ANSWER_SECONDS = 5.0

Answer = Callable[[ReplayRequest], Awaitable[ReplayAnswer | None]]


class NoAnswer(BrokerUnavailable):
    """No relay of that service answers."""


@asynccontextmanager
async def answering(connection: NatsConnection, service: str, answer: Answer) -> AsyncIterator[None]:
    """Answer the requests to a service's relay while the block runs.

    Where `answer` returns None, nothing is sent: another relay of the service will answer.
    """

    async def on_request(message: Msg) -> None:
        try:
            answered = await answer(from_json(ReplayRequest, message.data))
        except Undecodable as error:
            answered = ReplayAnswer(running=False, reason=str(error))
        if answered is not None and message.reply:
            with broker_faults_ignored():
                await message.respond(to_json(answered).encode())

    with broker_faults():
        subscription = await connection.client.subscribe(connection.names.replay_control(service), cb=on_request)
    try:
        yield
    finally:
        with broker_faults_ignored():
            await subscription.unsubscribe()


async def ask(connection: NatsConnection, service: str, request: ReplayRequest) -> ReplayAnswer:
    """Ask the relay of a service for a replay, or how it goes. Raises NoAnswer and BrokerUnavailable."""
    try:
        with broker_faults():
            try:
                answer = await connection.client.request(
                    connection.names.replay_control(service), to_json(request).encode(), timeout=ANSWER_SECONDS
                )
            except (TimeoutError, NoRespondersError):
                raise NoAnswer(f"the relay of the service {service} does not answer: is it ready?") from None
        return from_json(ReplayAnswer, answer.data)
    except Undecodable as error:
        raise BrokerUnavailable(
            f"the relay of the service {service} gave an answer that cannot be read: {error}"
        ) from None


def read_replay(connection: NatsConnection, reader: str, run: str) -> AbstractAsyncContextManager[NatsFeed]:
    """Read the messages of a run from the first."""
    return read(connection, connection.names.replays(reader), 0, [f"{run}.>"])
