"""A cache of the states that the last units of work have left, so that the next one need not read them.

Hibernate calls this a second-level cache; the Python library `eventsourcing` has one for aggregates. A cached state may
be out of date: whoever uses it must have its version confirmed by the database.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any, Generic, TypeVar

from shared.core.serialization import size_of
from shared.eventsourcing.aggregate import Aggregate, Entity

S = TypeVar("S", bound=Aggregate[Any] | Entity)

MAX_BYTES = 4 << 20
"""The size of all states together, as JSON; in memory they take several times as much.

This is room for thousands of states of the usual size. Most messages are about an aggregate that was used seconds ago,
or that is used all the time.
"""

_ALWAYS = 500
"""The bytes counted for each state in addition to its JSON."""


class StateCache:
    """Aggregates and rows by class and id. Taking a state removes it, so that only one unit of work has it."""

    def __init__(self, most: int = MAX_BYTES) -> None:
        self._most = most
        self._bytes = 0
        self._states: OrderedDict[tuple[type, str], tuple[Any, int]] = OrderedDict()

    def take(self, cls: type[S], ids: Iterable[str]) -> dict[str, S]:
        """Remove and return the cached states with these ids."""
        return {id_: state for id_ in ids if (state := self._pop((cls, id_))) is not None}

    def keep(self, cls: type[S], states: Iterable[S]) -> None:
        """Add committed states; if there is no room, drop those that were not used for the longest time."""
        for state in states:
            self._pop((cls, state.id))
            size = _ALWAYS + size_of(state)
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
    """One repository's access to the cache. Before `begin` it has none."""

    def __init__(self, cls: type[S]) -> None:
        self._cls = cls
        self._cache: StateCache | None = None
        self._unconfirmed: dict[str, int] = {}

    def begin(self, cache: StateCache) -> None:
        """Look for states in this cache from now on."""
        self._cache = cache

    def take(self, ids: Iterable[str]) -> Mapping[str, S]:
        """Return the cached states with these ids."""
        if self._cache is None:
            return {}
        states = self._cache.take(self._cls, ids)
        self._unconfirmed.update((id_, state.version) for id_, state in states.items())
        return states

    def unconfirmed(self) -> Mapping[str, int]:
        """Return the versions, by id, that the database has to confirm, and clear them."""
        versions, self._unconfirmed = self._unconfirmed, {}
        return versions

    def keep(self, states: Iterable[S]) -> None:
        """Put committed states into the cache, for the next unit of work."""
        if self._cache is not None:
            self._cache.keep(self._cls, states)
