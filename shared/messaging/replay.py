"""Replay: a read model that is built anew asks the owners' relays for what they have stored, all of it, from the start.

The reader has the keeper make a stream for what it asks for, and sends the relay of each owner in turn a
`ReplayRequest`. The relay publishes its stored events in order per aggregate, numbered from 1, and
then the end mark with their count. The same messages as the first time, with the same ids, versions and times.

Neither the subjects nor the stream are those of what happens now: that stream refuses everything when it is full, and
what a replay leaves must not be what fills it. There a subject begins with the id of the run.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from shared.core.messages import Event
from shared.core.serialization import decode_message, to_json
from shared.eventsourcing.store import StoredEvent
from shared.messaging.broker import Publication
from shared.messaging.envelope import OWN_HEADER
from shared.messaging.outbox import event_envelope

END_HEADER = f"{OWN_HEADER}replayed"
"""The end mark has it: how many events went before."""
END = "end"
"""The route of the end mark."""


@dataclass(frozen=True, kw_only=True)
class ReplayRequest:
    """`reader` asks for the events of these types. Without types it asks whether the run is still going on."""

    reader: str
    run: str
    types: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ReplayAnswer:
    """Whether the run is going on, and if it failed or was refused, why."""

    running: bool
    reason: str = ""


def message_id(run: str, number: int) -> str:
    """The id, for the broker, of a run's message: the reader sees by it that none is missing."""
    return f"{run}-{number}"


def publications(request: ReplayRequest, stored: Sequence[StoredEvent], before: int) -> Iterator[Publication]:
    """Stored events as they are sent again; `before` have been sent. Raises Undecodable.

    The data goes out in the schema that it is stored in: its receivers read old ones from the stream too.
    """
    for number, each in enumerate(stored, before + 1):
        event = decode_message(each.type, each.data, each.metadata.schema)
        assert isinstance(event, Event)
        envelope = event_envelope(each, event, None)
        yield Publication(
            row_id=message_id(request.run, number),
            subject=f"{request.run}.{envelope.route}",
            headers=envelope.to_headers(),
            data=envelope.data,
        )


def end_mark(request: ReplayRequest, count: int) -> Publication:
    """What follows the last of `count` events."""
    return Publication(
        row_id=message_id(request.run, count + 1),
        subject=f"{request.run}.{END}",
        headers={END_HEADER: str(count)},
        data=to_json({"events": count}),
    )
