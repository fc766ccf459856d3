"""The keeper of the stream: it makes the stream, and opens readers for services and relays.

NATS's permissions are too coarse for that. They can't limit what a consumer with several filters reads (nats-server's
issue 6180), and a user who may fetch one stored message by its position may fetch any. So services and relays have
neither right. They ask the keeper, on a subject with their name that no other user may publish to. The keeper makes
consumers only for what the user may read, with names that nobody can guess. Of a stored message it tells only the
outbox row's id and the time.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager, suppress

import structlog
from nats.aio.msg import Msg
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

from shared.adapters.nats.connection import (
    ANYBODY,
    NatsAddress,
    NatsConnection,
    broker_faults,
    broker_faults_ignored,
    connect,
)
from shared.adapters.nats.keeper_client import Answer, Question
from shared.adapters.nats.reader import make_consumer
from shared.adapters.nats.stream import StreamLimits, check_stream, make_stream, stored_message
from shared.core.backoff import Backoff
from shared.core.serialization import Undecodable, from_json, to_json
from shared.messaging.broker import BrokerUnavailable

log = structlog.get_logger(__name__)

LOOK_SECONDS = 2.0
"""Seconds between two looks whether the stream is still there."""
REPLAYS_KEPT_SECONDS = 86400.0
"""Seconds after which JetStream removes what a killed rebuild has left; the next rebuild removes it at once."""

_QUEUE = "keepers"


class Keeper:
    """Keeps the stream on one connection at a time. `reads` has the routes that each user may read."""

    def __init__(
        self,
        address: NatsAddress,
        partitions: int = 1,
        limits: StreamLimits = StreamLimits(),  # noqa: B008 - it cannot be changed
        reads: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        self._address = address
        self._partitions = partitions
        self._limits = limits
        self._reads = reads or {}
        self._connection: NatsConnection
        self.tried = asyncio.Event()
        """Set after the first attempt to keep the stream, whether it succeeded or not."""
        self.waiting_for: str | None = "NATS: has not connected yet"
        """Why it does not keep the stream at the moment; None when all is well."""

    async def run(self) -> None:
        """Keep the stream until cancelled. Try again after every BrokerUnavailable. Raises PartitionsDiffer."""
        backoff = Backoff(first=0.1, longest=2.0)
        while True:
            try:
                async with self.keeping():
                    backoff.reset()
                    while not self._connection.lost.done():
                        await asyncio.wait([self._connection.lost], timeout=LOOK_SECONDS)
                        if not self._connection.lost.done():
                            await self._make_stream()
            except BrokerUnavailable as fault:
                if self.waiting_for is None or backoff.tries == 0:
                    log.warning("the keeper cannot keep the stream now", reason=str(fault))
                self.waiting_for = f"NATS: {fault}"
            self.tried.set()
            await asyncio.sleep(backoff.pause())

    @asynccontextmanager
    async def keeping(self) -> AsyncIterator[None]:
        """Keep the stream while the block runs, as long as the connection lasts."""
        async with connect(self._address) as self._connection:
            await self._make_stream()
            subscriptions = []
            for what, answer in self._answers().items():
                with broker_faults():
                    subscriptions.append(
                        await self._connection.client.subscribe(
                            self._connection.names.keeper_subject("*", what), queue=_QUEUE, cb=self._answering(answer)
                        )
                    )
            self.waiting_for = None
            self.tried.set()
            try:
                yield
            finally:
                with broker_faults_ignored():
                    for subscription in subscriptions:
                        await subscription.unsubscribe()

    async def _make_stream(self) -> None:
        await make_stream(self._connection, self._partitions, self._limits)
        await check_stream(self._connection, self._partitions)

    def _answers(self) -> dict[str, Callable[[str, Question], Awaitable[Answer]]]:
        return {
            "read": self._open_reader,
            "mark": self._tell_mark,
            "replay.begin": self._begin_replays,
            "replay.end": self._end_replays,
        }

    def _answering(self, answer: Callable[[str, Question], Awaitable[Answer]]) -> Callable[[Msg], Awaitable[None]]:
        async def on_request(message: Msg) -> None:
            user = message.subject.split(".")[1]
            # The answer is sent with the keeper's rights, so it goes to the inbox of the user who asked, nowhere else.
            if not message.reply.startswith(f"_INBOX.{user}."):
                return
            try:
                answered = await answer(user, from_json(Question, message.data))
            except (Undecodable, BrokerUnavailable) as error:
                answered = Answer(error=str(error))
            except Exception as error:
                log.exception("the keeper could not answer a question", user=user)
                answered = Answer(error=f"the keeper of the stream failed: {error!r}")
            with broker_faults_ignored():
                await message.respond(to_json(answered).encode())

        return on_request

    async def _open_reader(self, user: str, question: Question) -> Answer:
        if not question.filters or not all(self._may_read(user, each) for each in question.filters):
            return Answer(error=f"{user} may not read {', '.join(question.filters) or 'everything'}")
        stream, name = self._connection.names.log.stream, f"{user}-{secrets.token_urlsafe(24)}"
        made = await make_consumer(self._connection, stream, question.position, question.filters, name=name)
        return Answer(consumer=made.name, pending=made.pending)

    def _may_read(self, user: str, subject: str) -> bool:
        # Where NATS has no users everybody may do everything. Where it has, nobody may ask as ANYBODY.
        names = self._connection.names.log
        _, _, route = names.from_wire(subject).partition(".")
        return user == ANYBODY or (subject.startswith(names.prefix) and route in self._reads.get(user, ()))

    async def _tell_mark(self, _user: str, question: Question) -> Answer:
        mark = await stored_message(self._connection, question.position)
        return Answer() if mark is None else Answer(row_id=mark.row_id, at=mark.at)

    async def _begin_replays(self, user: str, question: Question) -> Answer:
        await self._end_replays(user, question)
        names = self._connection.names.replays(user)
        with broker_faults():
            await self._connection.jetstream.add_stream(
                StreamConfig(
                    name=names.stream,
                    subjects=[names.subjects],
                    retention=RetentionPolicy.LIMITS,
                    discard=DiscardPolicy.NEW,
                    storage=StorageType.FILE,
                    max_age=REPLAYS_KEPT_SECONDS,
                )
            )
        return Answer()

    async def _end_replays(self, user: str, _question: Question) -> Answer:
        with broker_faults(), suppress(NotFoundError):
            await self._connection.jetstream.delete_stream(self._connection.names.replays(user).stream)
        return Answer()
