"""How services and relays ask the keeper of the stream: for a reader, for a stored message, for a stream of replays."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime

from nats.aio.msg import Msg
from nats.errors import NoRespondersError

from shared.adapters.nats.connection import (
    REQUEST_SECONDS,
    NatsConnection,
    broker_faults,
    broker_faults_ignored,
)
from shared.adapters.nats.reader import Consumer
from shared.core.backoff import Backoff
from shared.core.serialization import Undecodable, from_json, to_json
from shared.messaging.broker import BrokerUnavailable, Mark


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked for: a reader of `filters` behind a position, or the message stored at a position."""

    position: int = 0
    filters: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the keeper answers; `error` says why not. `pending` counts the messages that wait for the consumer."""

    error: str = ""
    consumer: str = ""
    pending: int = 0
    row_id: str | None = None
    at: datetime | None = None


async def open_reader(connection: NatsConnection, stream: str, after: int, filters: Sequence[str]) -> Consumer:
    """Have the keeper make a consumer behind a position. Raises BrokerUnavailable."""
    assert stream == connection.names.log.stream, "the keeper opens readers of its own stream only"
    answer = await _ask(connection, "read", Question(position=after, filters=tuple(filters)))
    return Consumer(answer.consumer, answer.pending)


async def mark_at(connection: NatsConnection, position: int) -> Mark | None:
    """Return what identifies the message at a position, None if nothing is stored there. Raises BrokerUnavailable."""
    answer = await _ask(connection, "mark", Question(position=position))
    if answer.row_id is None or answer.at is None:
        return None
    return Mark(position, answer.row_id, answer.at)


@asynccontextmanager
async def stream_for_replays(connection: NatsConnection) -> AsyncIterator[None]:
    """Have an empty stream for replays to this user while the block runs. A replay that goes on for longer fails."""
    await _ask(connection, "replay.begin", Question())
    try:
        yield
    finally:
        with broker_faults_ignored():
            await _ask(connection, "replay.end", Question())


async def _ask(connection: NatsConnection, what: str, question: Question) -> Answer:
    subject, asked = connection.names.keeper_subject(connection.user, what), to_json(question).encode()
    try:
        with broker_faults():
            try:
                message = await _patient_request(connection, subject, asked)
            except TimeoutError:
                raise BrokerUnavailable("the keeper of the stream does not answer: does it run?") from None
        answer = from_json(Answer, message.data)
    except Undecodable as error:
        raise BrokerUnavailable(f"the keeper of the stream gave an answer that cannot be read: {error}") from None
    if answer.error:
        raise BrokerUnavailable(answer.error)
    return answer


async def _patient_request(connection: NatsConnection, subject: str, asked: bytes) -> Msg:
    """Ask until a keeper answers: it may just be starting. Raises TimeoutError."""
    backoff = Backoff(first=0.1, longest=1.0)
    async with asyncio.timeout(REQUEST_SECONDS):
        while True:
            with suppress(NoRespondersError):
                return await connection.client.request(subject, asked, timeout=REQUEST_SECONDS)
            await asyncio.sleep(backoff.pause())
