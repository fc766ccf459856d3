"""Replay: to rebuild a read model, its service asks the owners' relays for all the events they have stored.

The keeper makes a stream for the reader. The reader then sends a `ReplayRequest` to the relay of each owner in turn, on
the relay's control subject. The relay publishes its stored events in order per aggregate, numbered from 1, and then an
end mark with their count. The messages are the same as the first time, with the same ids, versions and times.

Replays have their own subjects and their own stream: the main stream refuses all messages when it is full, so replays
must not fill it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from shared.core.messages import Event
from shared.core.serialization import decode_message, to_json
from shared.eventsourcing.store import StoredEvent
from shared.messaging.broker import Publication
from shared.messaging.outbox import event_envelope

END_HEADER = "ftgo-replayed"
"""The header of the end mark: how many events were sent before it."""


@dataclass(frozen=True, kw_only=True)
class ReplayRequest:
    """`reader` asks for the events of these types. With no types it asks whether the run is still active."""

    reader: str
    run: str
    types: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ReplayAnswer:
    """Whether the run is active, and if it failed or was refused, why."""

    running: bool
    reason: str = ""


def control_subject(service: str) -> str:
    """Return the subject on which the relay of a service takes requests.

    It is below no stream, so that a request that no relay receives fails at once.
    """
    return f"ftgo-control.replay.{service}"


def replay_subjects(reader: str, run: str = "*") -> str:
    """Return the subjects of a run's events; by default of all runs of the reader."""
    return f"ftgo-replay.{reader}.{run}.>"


def replay_subject(reader: str, run: str, route: str) -> str:
    """Return the subject of an event of a run."""
    return f"ftgo-replay.{reader}.{run}.{route}"


def replay_end(reader: str, run: str) -> str:
    """Return the subject of a run's end mark."""
    return f"ftgo-replay.{reader}.{run}.end"


def replay_stream(reader: str) -> str:
    """Return the name of the reader's replay stream."""
    return f"FTGO_REPLAY_{reader}"


def message_id(run: str, number: int) -> str:
    """Return the broker's id of a run's message. Its number lets the reader see that none is missing."""
    return f"{run}-{number}"


def publications(request: ReplayRequest, stored: Sequence[StoredEvent], before: int) -> Iterator[Publication]:
    """Yield stored events as they are sent again; `before` have been sent already. Raise Undecodable.

    The data is sent in the schema it is stored in: receivers read old schemas from the stream too.
    """
    for number, each in enumerate(stored, before + 1):
        event = decode_message(each.type, each.data, each.metadata.schema)
        assert isinstance(event, Event)
        envelope = event_envelope(each, event, None)
        yield Publication(
            row_id=message_id(request.run, number),
            subject=replay_subject(request.reader, request.run, envelope.route),
            headers=envelope.to_headers(),
            data=envelope.data,
        )


def end_mark(request: ReplayRequest, count: int) -> Publication:
    """Return the message that follows the last of `count` events."""
    return Publication(
        row_id=message_id(request.run, count + 1),
        subject=replay_end(request.reader, request.run),
        headers={END_HEADER: str(count)},
        data=to_json({"events": count}),
    )
