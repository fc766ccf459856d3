"""The stream that everything is published to."""

import math
from dataclasses import dataclass
from datetime import timedelta

from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError
from nats.js.manager import JetStreamManager

from shared.adapters.nats.connection import broker_faults
from shared.messaging.broker import Bounds, BrokerUnavailable, Mark, PartitionsDiffer
from shared.messaging.envelope import ROW_ID_HEADER, SUBJECTS

STREAM = "FTGO"
PARTITIONS_KEY = "ftgo_partitions"

_NO_MESSAGE = 10037  # JetStream's error code for a sequence at which nothing is stored


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """How much the stream keeps: seconds and bytes. Beyond `max_bytes` it refuses what is new and drops nothing.

    For `duplicate_window` seconds it drops what a relay publishes again.
    """

    max_age: float
    max_bytes: int
    duplicate_window: float = 120.0


async def make_stream(jetstream: JetStreamManager, partitions: int, limits: StreamLimits) -> None:
    """Make the stream if there is none, and give it these limits if it has others."""
    config = StreamConfig(
        name=STREAM,
        subjects=[SUBJECTS],
        retention=RetentionPolicy.LIMITS,
        discard=DiscardPolicy.NEW,
        storage=StorageType.FILE,
        max_age=limits.max_age,
        max_bytes=limits.max_bytes,
        duplicate_window=min(limits.duplicate_window, limits.max_age),
        metadata={PARTITIONS_KEY: str(partitions)},
    )
    with broker_faults():
        try:
            stream = await jetstream.stream_info(STREAM)
        except NotFoundError:
            # Of several that make it at once all succeed: it is the same configuration, or else checked below.
            await jetstream.add_stream(config)
            return
        kept = {"max_age": config.max_age, "max_bytes": config.max_bytes, "duplicate_window": config.duplicate_window}
        if any(getattr(stream.config, name) != value for name, value in kept.items()):
            await jetstream.update_stream(stream.config, **kept)


async def stored_partitions(jetstream: JetStreamManager) -> int | None:
    """How many partitions the stream has; None while there is no stream."""
    with broker_faults():
        try:
            stream = await jetstream.stream_info(STREAM)
        except NotFoundError:
            return None
    return int((stream.config.metadata or {}).get(PARTITIONS_KEY, "0"))


async def change_partitions(jetstream: JetStreamManager, partitions: int) -> None:
    """Have the stream keep another count: nobody may read or publish meanwhile, nor may anything be left to read."""
    with broker_faults():
        stream = await jetstream.stream_info(STREAM)
        metadata = {**(stream.config.metadata or {}), PARTITIONS_KEY: str(partitions)}
        await jetstream.update_stream(stream.config, metadata=metadata)


async def check_stream(jetstream: JetStreamManager, partitions: int) -> None:
    """Raises BrokerUnavailable when there is no stream yet, PartitionsDiffer when it is cut up in another way."""
    stored = await stored_partitions(jetstream)
    if stored is None:
        raise BrokerUnavailable(f"there is no stream {STREAM} yet: the keeper makes it")
    if stored != partitions:
        raise PartitionsDiffer(
            f"the stream {STREAM} has {stored} partitions, this process is set to {partitions} (FTGO_PARTITIONS); "
            "to change the count, drain the stream: ./ftgo repartition"
        )


async def stream_bounds(jetstream: JetStreamManager) -> Bounds:
    """Where the stream begins and ends."""
    with broker_faults():
        state = (await jetstream.stream_info(STREAM)).state
    return Bounds(state.first_seq if state.messages else state.last_seq + 1, state.last_seq)


async def max_age(jetstream: JetStreamManager) -> timedelta:
    """How long the stream keeps messages."""
    with broker_faults():
        info = await jetstream.stream_info(STREAM)
    return timedelta(seconds=info.config.max_age or 0)


async def free_bytes(jetstream: JetStreamManager) -> float:
    """How much the stream can still take."""
    with broker_faults():
        info = await jetstream.stream_info(STREAM)
    most = info.config.max_bytes or 0
    return most - info.state.bytes if most > 0 else math.inf


async def stored_message(jetstream: JetStreamManager, position: int) -> Mark | None:
    """What is stored at a position; None if nothing is."""
    if position < 1:
        return None
    with broker_faults():
        try:
            message = await jetstream.get_msg(STREAM, seq=position)
        except NotFoundError as fault:
            if fault.err_code == _NO_MESSAGE:
                return None
            raise
    if message.time is None:
        raise BrokerUnavailable(f"the message at {position} has no time")
    return Mark(position, row_id(message.headers or {}, position), message.time)


def row_id(headers: dict[str, str], position: int) -> str:
    """The outbox row's id, or for what no relay has published an id made of its position."""
    return headers.get(ROW_ID_HEADER) or f"{STREAM}-{position}"
