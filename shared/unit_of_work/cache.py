"""States that the last units of work have left behind, so that the next one need not read them.

Hibernate calls such a thing a second-level cache; the Python library `eventsourcing` has one for aggregates. What is in
it may be old: whoever takes a state has its version confirmed by the database.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any, Generic, TypeVar

from shared.core.serialization import to_json
from shared.eventsourcing.aggregate import Aggregate, Entity

S = TypeVar("S", bound=Aggregate[Any] | Entity)

MAX_BYTES = 4 << 20
"""Of all states together, as JSON; in memory they take some times as much. That is room for thousands of the usual
size: what a message is about mostly was there some seconds ago, or is in use all the time."""

_ALWAYS = 500
"""Bytes that a state takes however small it is."""


class StateCache:
    """Aggregates and rows by class and id. A state is one unit's at a time: to take it is to remove it."""

    def __init__(self, most: int = MAX_BYTES) -> None:
        self._most = most
        self._bytes = 0
        self._states: OrderedDict[tuple[type, str], tuple[Any, int]] = OrderedDict()

    def take(self, cls: type[S], ids: Iterable[str]) -> dict[str, S]:
        """Return those of them that are there."""
        return {id_: state for id_ in ids if (state := self._pop((cls, id_))) is not None}

    def keep(self, cls: type[S], states: Iterable[S]) -> None:
        """Committed states; in exchange, those that nobody has wanted for the longest are forgotten."""
        for state in states:
            self._pop((cls, state.id))
            size = _ALWAYS + len(to_json(state))
            self._states[cls, state.id] = (state, size)
            self._bytes += size
        while self._bytes > self._most:
            _, (_, size) = self._states.popitem(last=False)
            self._bytes -= size

    def _pop(self, key: tuple[type, str]) -> Any:
        state, size = self._states.pop(key, (None, 0))
        self._bytes -= size
        return state


class Recall(Generic[S]):
    """What one repository has from the cache. Until `begin` there is none."""

    def __init__(self, cls: type[S]) -> None:
        self._cls = cls
        self._cache: StateCache | None = None
        self._unconfirmed: dict[str, int] = {}

    def begin(self, cache: StateCache) -> None:
        """From now on states are looked for there."""
        self._cache = cache

    def take(self, ids: Iterable[str]) -> Mapping[str, S]:
        """Return those of them that the cache has."""
        if self._cache is None:
            return {}
        states = self._cache.take(self._cls, ids)
        self._unconfirmed.update((id_, state.version) for id_, state in states.items())
        return states

    def unconfirmed(self) -> Mapping[str, int]:
        """Return the versions, by id, that the database has to confirm; once."""
        versions, self._unconfirmed = self._unconfirmed, {}
        return versions

    def keep(self, states: Iterable[S]) -> None:
        """Committed states, for the next unit of work."""
        if self._cache is not None:
            self._cache.keep(self._cls, states)
