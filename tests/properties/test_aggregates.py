"""Aggregates, whatever is asked of them in whatever order."""

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.core.messages import Event
from shared.core.serialization import decode_message, to_json
from shared.eventsourcing.aggregate import Aggregate, RecordingEntity
from shared.eventsourcing.snapshots import SnapshotFormat
from tests.properties.values import SOME, beginnings, histories, something_happens
from tools.documents.catalogue import aggregates

EVENT_SOURCED = [cls for _, cls in aggregates() if issubclass(cls, Aggregate)]
KEPT_AS_ROWS = [cls for _, cls in aggregates() if issubclass(cls, RecordingEntity)]


def test_there_are_some() -> None:
    assert {cls.__name__ for cls in EVENT_SOURCED} >= {"Account", "Consumer", "Order", "Ticket"}
    assert {cls.__name__ for cls in KEPT_AS_ROWS} >= {"Delivery", "Restaurant"}


def fields_of(aggregate: Any) -> dict[str, Any]:
    return {field.name: copy.deepcopy(getattr(aggregate, field.name)) for field in dataclasses.fields(aggregate)}


def fold(aggregate: Aggregate[Any], events: Sequence[Event]) -> Aggregate[Any]:
    """What the events make of it, as they are read from the store."""
    for event in events:
        aggregate.replay(decode_message(event.type_name, to_json(event), event.schema))
    return aggregate


@pytest.mark.parametrize("cls", EVENT_SOURCED)
@given(st.data())
@SOME
def test_its_state_is_the_fold_of_its_events(cls: type[Aggregate[Any]], data: st.DataObject) -> None:
    aggregate, events = data.draw(histories(cls))
    assert aggregate.version == len(events)
    assert fields_of(fold(cls(id=aggregate.id), events)) == fields_of(aggregate)


@pytest.mark.parametrize("cls", EVENT_SOURCED)
@given(st.data())
@SOME
def test_a_snapshot_at_any_point_changes_nothing(cls: type[Aggregate[Any]], data: st.DataObject) -> None:
    aggregate, events = data.draw(histories(cls))
    point = data.draw(st.integers(1, len(events)))
    snapshots = SnapshotFormat.of(cls)
    snapshot = snapshots.take(fold(cls(id=aggregate.id), events[:point]))
    assert snapshot.version == point
    assert fields_of(fold(snapshots.restore(snapshot), events[point:])) == fields_of(aggregate)


@pytest.mark.parametrize("cls", [*EVENT_SOURCED, *KEPT_AS_ROWS])
@given(st.data())
@SOME
def test_what_is_refused_leaves_it_as_it_was(cls: type[Aggregate[Any] | RecordingEntity], data: st.DataObject) -> None:
    aggregate = data.draw(beginnings(cls))
    aggregate.take_recorded()
    for _ in range(data.draw(st.integers(1, 25))):
        before = fields_of(aggregate)
        accepted = something_happens(data.draw, aggregate)
        recorded = aggregate.take_recorded()
        if not accepted:
            assert recorded == []
            assert fields_of(aggregate) == before


@pytest.mark.parametrize("cls", KEPT_AS_ROWS)
@given(st.data())
@SOME
def test_a_row_counts_the_events_it_tells(cls: type[RecordingEntity], data: st.DataObject) -> None:
    row = data.draw(beginnings(cls))
    told = list(row.take_recorded())
    before = row.sequence - len(told)
    for _ in range(data.draw(st.integers(1, 25))):
        something_happens(data.draw, row)
        told += row.take_recorded()
    assert row.sequence == before + len(told)
