"""How a reader asks a sender's relay over NATS what it has sent, and for messages that the stream has lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar

from nats.aio.msg import Msg
from nats.errors import NoRespondersError

from shared.adapters.nats.connection import (
    ANYBODY,
    UNLIMITED,
    NatsConnection,
    broker_faults,
    broker_faults_ignored,
)
from shared.adapters.nats.publisher import header_block
from shared.core.clock import utc_now
from shared.core.errors import TechnicalFault
from shared.core.serialization import Undecodable, from_json, to_json
from shared.messaging.broker import BrokerUnavailable, Publication
from shared.messaging.chain import RowsRequest, SentBefore, SentRequest, row_id_of
from shared.messaging.envelope import OWN_HEADER, ROW_ID_HEADER, Received

ANSWER_SECONDS = 10.0
"""Seconds to wait for an answer. A relay may have to wait for its next checkpoint before it knows what it has sent."""

GONE_HEADER = f"{OWN_HEADER}gone"
"""Marks an answer for a row that is not sent again; its value says why."""

Request = TypeVar("Request", SentRequest, RowsRequest)


class SentRows(Protocol):
    """What a sender's relay knows of the rows it has sent.

    Both methods return None when another relay of the sender is the one that publishes: that one answers.
    """

    async def before(self, request: SentRequest) -> SentBefore | None:
        """Return what was published for a reader. Raises TechnicalFault."""

    async def again(self, request: RowsRequest) -> list[Publication | None] | None:
        """Return these messages; None for one that is not kept, or not for this reader. Raises TechnicalFault."""


@asynccontextmanager
async def answering_for(connection: NatsConnection, service: str, sent: SentRows) -> AsyncIterator[None]:
    """Answer the questions of readers to a service's relay while the block runs."""

    async def on_before(message: Msg) -> None:
        request = asked(message, SentRequest)
        if request is None:
            return
        try:
            answer = await sent.before(request)
        except TechnicalFault:
            return  # the reader asks again
        if answer is not None:
            with broker_faults_ignored():
                await message.respond(to_json(answer).encode())

    async def on_again(message: Msg) -> None:
        request = asked(message, RowsRequest)
        if request is None:
            return
        try:
            publications = await sent.again(request)
        except TechnicalFault:
            return
        if publications is not None:
            with broker_faults_ignored():
                for row, publication in zip(request.rows, publications, strict=True):
                    await connection.client.send(
                        _frame(connection, message.reply, row_id_of(service, row), publication)
                    )

    subscriptions, names = [], connection.names
    with broker_faults():
        subscriptions.append(await connection.client.subscribe(names.sent_control(service), cb=on_before))
        subscriptions.append(await connection.client.subscribe(names.rows_control(service), cb=on_again))
    try:
        yield
    finally:
        with broker_faults_ignored():
            for subscription in subscriptions:
                await subscription.unsubscribe()


async def ask_before(connection: NatsConnection, sender: str, request: SentRequest) -> SentBefore:
    """Ask the relay of a sender what it has sent. Raises BrokerUnavailable."""
    try:
        with broker_faults():
            try:
                answer = await connection.client.request(
                    connection.names.sent_control(sender), to_json(request).encode(), timeout=ANSWER_SECONDS
                )
            except (TimeoutError, NoRespondersError):
                raise BrokerUnavailable(f"the relay of the service {sender} does not say what it has sent") from None
        return from_json(SentBefore, answer.data)
    except Undecodable as error:
        raise BrokerUnavailable(
            f"the relay of the service {sender} gave an answer that cannot be read: {error}"
        ) from None


async def ask_again(connection: NatsConnection, sender: str, request: RowsRequest) -> list[Received | None]:
    """Have the relay of a sender send these rows to us, and to nobody else. Raises BrokerUnavailable."""
    answers: asyncio.Queue[Msg] = asyncio.Queue()
    inbox = connection.client.new_inbox()
    with broker_faults():
        subscription = await connection.client.subscribe(
            inbox, cb=answers.put, pending_msgs_limit=UNLIMITED, pending_bytes_limit=UNLIMITED
        )
    try:
        with broker_faults():
            await connection.client.publish(
                connection.names.rows_control(sender), to_json(request).encode(), reply=inbox
            )
        return [await _answer(answers, sender, row) for row in request.rows]
    finally:
        with broker_faults_ignored():
            await subscription.unsubscribe()


async def _answer(answers: asyncio.Queue[Msg], sender: str, row: int) -> Received | None:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            message = await answers.get()
    except TimeoutError:
        raise BrokerUnavailable(f"the relay of the service {sender} does not send again what it has sent") from None
    headers = message.headers or {}
    row_id = row_id_of(sender, row)
    if headers.get(ROW_ID_HEADER) != row_id:
        raise BrokerUnavailable(f"the relay of the service {sender} does not send the row {row} when asked for it")
    if GONE_HEADER in headers:
        return None
    # It does not come from the stream, so it has no position there.
    return Received(
        position=0,
        row_id=row_id,
        received_at=utc_now(),
        headers=headers,
        data=message.data.decode(errors="replace"),
    )


def asked(message: Msg, type_: type[Request]) -> Request | None:
    """Return the request if it can be read and came from the reader that it names, None otherwise.

    The relay answers with its own rights, so the answer must go to that reader's inbox, nowhere else.
    """
    try:
        request = from_json(type_, message.data)
    except Undecodable:
        return None
    return request if message.reply.startswith((f"_INBOX.{request.reader}.", f"_INBOX.{ANYBODY}.")) else None


def _frame(connection: NatsConnection, reply: str, row_id: str, publication: Publication | None) -> bytes:
    """Return a message as it is sent to one reader, or the answer that it can't be sent."""
    headers = b"" if publication is None else header_block(connection.names, row_id, publication.headers)
    payload = b"" if publication is None else publication.data.encode()
    if not headers or len(headers) + len(payload) > connection.client.max_payload:
        reason = "it is not kept, or can't be sent"
        headers, payload = header_block(connection.names, row_id, {GONE_HEADER: reason}), b""
    command = f"HPUB {reply} {len(headers)} {len(headers) + len(payload)}\r\n"
    return b"".join((command.encode(), headers, payload, b"\r\n"))
