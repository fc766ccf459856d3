"""The stream that all messages are published to: making it, checking it, and looking into it."""

import math
from dataclasses import dataclass
from datetime import timedelta

from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

from shared.adapters.nats.connection import NatsConnection, broker_faults
from shared.messaging.broker import Bounds, BrokerUnavailable, Mark, PartitionsDiffer
from shared.messaging.envelope import ROW_ID_HEADER

_NO_MESSAGE = 10037  # JetStream's error code for a sequence at which nothing is stored


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """How much the stream keeps: `max_age` in seconds, `max_bytes`. When it is full it refuses new messages.

    For `duplicate_window` seconds it drops what a relay publishes again.
    """

    max_age: float = 7 * 86400
    max_bytes: int = 4 << 30
    duplicate_window: float = 120.0


async def make_stream(connection: NatsConnection, partitions: int, limits: StreamLimits) -> None:
    """Make the stream if there is none, and give it these limits if it has others."""
    names = connection.names
    config = StreamConfig(
        name=names.log.stream,
        subjects=[names.log.subjects],
        retention=RetentionPolicy.LIMITS,
        discard=DiscardPolicy.NEW,
        storage=StorageType.FILE,
        max_age=limits.max_age,
        max_bytes=limits.max_bytes,
        duplicate_window=min(limits.duplicate_window, limits.max_age),
        metadata={names.partitions_key: str(partitions)},
    )
    with broker_faults():
        try:
            stream = await connection.jetstream.stream_info(connection.names.log.stream)
        except NotFoundError:
            # Several processes may make it at once and all succeed: `check_stream` sees whether they agree.
            await connection.jetstream.add_stream(config)
            return
        kept = {"max_age": config.max_age, "max_bytes": config.max_bytes, "duplicate_window": config.duplicate_window}
        if any(getattr(stream.config, name) != value for name, value in kept.items()):
            await connection.jetstream.update_stream(stream.config, **kept)


async def stored_partitions(connection: NatsConnection) -> int | None:
    """Return how many partitions the stream has; None while there is no stream. Raises BrokerUnavailable."""
    with broker_faults():
        try:
            stream = await connection.jetstream.stream_info(connection.names.log.stream)
        except NotFoundError:
            return None
    return int((stream.config.metadata or {}).get(connection.names.partitions_key, "0"))


async def change_partitions(connection: NatsConnection, partitions: int) -> None:
    """Change the count of partitions. All messages must have been read, and nobody may read or publish meanwhile."""
    with broker_faults():
        stream = await connection.jetstream.stream_info(connection.names.log.stream)
        metadata = {**(stream.config.metadata or {}), connection.names.partitions_key: str(partitions)}
        await connection.jetstream.update_stream(stream.config, metadata=metadata)


async def check_stream(connection: NatsConnection, partitions: int) -> None:
    """Raise BrokerUnavailable when there is no stream yet, PartitionsDiffer when it has another count of partitions."""
    names = connection.names
    stored = await stored_partitions(connection)
    if stored is None:
        raise BrokerUnavailable(f"there is no stream {names.log.stream} yet: the keeper makes it")
    if stored != partitions:
        raise PartitionsDiffer(
            f"the stream {names.log.stream} has {stored} partitions, this process is set to {partitions}"
            f" ({names.partitions_variable}); the count can be changed only when the stream has been drained"
        )


async def stream_bounds(connection: NatsConnection) -> Bounds:
    """Return the positions of the first and the last message. Raises BrokerUnavailable."""
    with broker_faults():
        state = (await connection.jetstream.stream_info(connection.names.log.stream)).state
    return Bounds(state.first_seq if state.messages else state.last_seq + 1, state.last_seq)


async def max_age(connection: NatsConnection) -> timedelta:
    """Return how long the stream keeps messages. Raises BrokerUnavailable."""
    with broker_faults():
        info = await connection.jetstream.stream_info(connection.names.log.stream)
    return timedelta(seconds=info.config.max_age or 0)


async def free_bytes(connection: NatsConnection) -> float:
    """Return how many bytes the stream can still take; infinity where it has no limit. Raises BrokerUnavailable."""
    with broker_faults():
        info = await connection.jetstream.stream_info(connection.names.log.stream)
    most = info.config.max_bytes or 0
    return most - info.state.bytes if most > 0 else math.inf


async def stored_message(connection: NatsConnection, position: int) -> Mark | None:
    """Return what identifies the message at a position; None if there is none. Raises BrokerUnavailable."""
    if position < 1:
        return None
    with broker_faults():
        try:
            message = await connection.jetstream.get_msg(connection.names.log.stream, seq=position)
        except NotFoundError as fault:
            if fault.err_code == _NO_MESSAGE:
                return None
            raise
    if message.time is None:
        raise BrokerUnavailable(f"the message at {position} has no time")
    return Mark(position, row_id(message.headers or {}, connection.names.log.stream, position), message.time)


def row_id(headers: dict[str, str], stream: str, position: int) -> str:
    """Return the outbox row's id, or for what no relay has published an id made of its position."""
    return headers.get(ROW_ID_HEADER) or f"{stream}-{position}"
