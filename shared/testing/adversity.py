"""Faults around the services of a system in memory. They are random, but the same for the same seed."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from random import Random
from typing import Self, TypeVar

from shared.adapters.memory.broker import MemoryBroker
from shared.adapters.memory.database import MemoryDatabase, MemoryTransaction
from shared.core.clock import Clock
from shared.messaging.broker import Publication

T = TypeVar("T")

_CRASHES = 0.1
"""The share of transactions whose process ends, half of them before the commit."""
_RELAY_CRASHES = 0.2
_DELAYED = 0.3
_DELAYS = (0.1, 1.0, 8.0, 40.0)
"""The seconds that a reply is late; the longest is longer than a saga waits before it sends its command again."""


@dataclass(frozen=True)
class Adversity:
    """Which faults occur.

    With `duplicates` every message is delivered twice, the second time anywhere behind the first. With `reorder`
    messages arrive in any order that keeps the messages of one sender about one key in order. With `delay` replies are
    late. With `crash` processes end and start again at once: before or after a commit, between it and the publishing of
    its messages, or before the publishing is confirmed.
    """

    duplicates: bool = False
    reorder: bool = False
    delay: bool = False
    crash: bool = False
    seed: int = 0

    @classmethod
    def of(cls, switches: str, seed: int) -> Self:
        """Return the faults of a list such as `duplicates,reorder`; raise ValueError for an unknown one."""
        names = [name.strip() for name in switches.split(",") if name.strip()]
        known = [field.name for field in fields(cls) if field.name != "seed"]
        if unknown := set(names) - set(known):
            raise ValueError(f"unknown adversity {', '.join(sorted(unknown))}: choose from {', '.join(known)}")
        return cls(seed=seed, **dict.fromkeys(names, True))


class Crashed(BaseException):
    """The process has ended. Not an `Exception`, so that no code of the process handles it."""


class Fate:
    """Decides at random which faults occur."""

    def __init__(self, adversity: Adversity) -> None:
        self.adversity = adversity
        self.begin(adversity.seed)

    def begin(self, seed: int) -> None:
        """Start again: all later faults depend on this seed only."""
        self._random = Random(seed)

    def crashes(self, likelihood: float = _CRASHES) -> bool:
        """Return whether a process ends now."""
        return self.adversity.crash and self._random.random() < likelihood

    def relay_crashes(self) -> bool:
        """Return whether a relay ends now."""
        return self.crashes(_RELAY_CRASHES)

    def even(self) -> bool:
        """Return True or False, equally likely."""
        return self._random.random() < 0.5

    def shuffled(self, values: Sequence[T]) -> list[T]:
        """Return the values in a random order with `reorder`, else unchanged."""
        return self._random.sample(values, len(values)) if self.adversity.reorder else list(values)

    def portion(self, values: Sequence[T]) -> int:
        """Return how many of the values are taken now.

        Without faults that need it, all are taken; if this is called repeatedly, all are taken in the end.
        """
        adversity = self.adversity
        if not (adversity.reorder or adversity.duplicates or adversity.crash):
            return len(values)
        return self._random.randint(min(1, len(values)), len(values))

    def lateness(self, publication: Publication) -> timedelta:
        """Return how late a message is published."""
        is_reply = publication.headers.get("ce-kind") == "reply"
        if not (self.adversity.delay and is_reply and self._random.random() < _DELAYED):
            return timedelta(0)
        return timedelta(seconds=self._random.choice(_DELAYS))


class MortalDatabase:
    """Implements `unit_of_work.Database`: its users may crash in the middle of their work."""

    def __init__(self, database: MemoryDatabase, fate: Fate, *, after_commit: bool = True) -> None:
        self._database = database
        self._fate = fate
        self._after_commit = after_commit

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[MemoryTransaction]:
        async with self._database.transaction() as transaction:
            yield transaction
            if self._fate.crashes(_CRASHES / 2):
                raise Crashed
        if self._after_commit and self._fate.crashes(_CRASHES / 2):
            raise Crashed


@dataclass(frozen=True, slots=True)
class _Waiting:
    publication: Publication
    publish_at: datetime

    @property
    def line(self) -> tuple[str | None, str | None]:
        headers = self.publication.headers
        return headers.get("ce-partitionkey"), headers.get("ce-source")


class MemoryRelay:
    """Publishes the outbox of a service's database in the order of the commits, except for the faults."""

    def __init__(self, database: MemoryDatabase, broker: MemoryBroker, fate: Fate, clock: Clock) -> None:
        self._database = database
        self._broker = broker
        self._fate = fate
        self._clock = clock
        self.start_over()

    def start_over(self) -> None:
        """Start with an empty outbox."""
        self._read = 0
        self._waiting: list[_Waiting] = []
        self._repeats: list[Publication] = []
        self._unconfirmed: list[Publication] = []

    def unpublished(self) -> list[Publication]:
        """Return the messages that are not in the stream yet."""
        return [waiting.publication for waiting in self._waiting] + self._database.outbox[self._read :]

    @property
    def next_due(self) -> datetime | None:
        """When the first late message is published; None if none is late."""
        now = self._clock()
        return min((waiting.publish_at for waiting in self._waiting if waiting.publish_at > now), default=None)

    def publish(self) -> int:
        """Publish the messages that are ready; return how many there were to publish."""
        now = self._clock()
        for publication in self._database.outbox[self._read :]:
            self._waiting.append(_Waiting(publication, now + self._fate.lateness(publication)))
        self._read = len(self._database.outbox)
        ready = self._ready(now)
        work = len(ready) + len(self._repeats) + len(self._unconfirmed)
        if work == 0 or self._fate.relay_crashes():  # between commit and publish
            return work
        self._publish_again()
        going = ready[: self._fate.portion(ready)]
        for waiting in going:
            self._broker.store(waiting.publication)
            self._waiting.remove(waiting)
        published = [waiting.publication for waiting in going]
        if self._fate.relay_crashes():  # between publish and confirmation
            self._unconfirmed = published
        if self._fate.adversity.duplicates:
            self._repeats += published
        return work

    def _ready(self, now: datetime) -> list[_Waiting]:
        """Return the messages that are ready, in order. A late message holds up those behind it in its line."""
        lines: dict[tuple[str | None, str | None], list[_Waiting]] = {}
        for waiting in self._waiting:
            lines.setdefault(waiting.line, []).append(waiting)
        ready: set[int] = set()
        for line in lines.values():
            for waiting in line:
                if waiting.publish_at > now:
                    break
                ready.add(id(waiting))
        in_order = [waiting for waiting in self._waiting if id(waiting) in ready]
        if not self._fate.adversity.reorder:
            return in_order
        # Shuffle the places only: each place takes the next message of its line.
        following = {line: iter([each for each in in_order if each.line == line]) for line in lines}
        return [next(following[waiting.line]) for waiting in self._fate.shuffled(in_order)]

    def _publish_again(self) -> None:
        """Publish unconfirmed messages again, in order, and duplicates.

        The broker recognises the unconfirmed ones, unless its window for repeats has passed.
        """
        forgotten = self._fate.even()
        for publication in self._unconfirmed:
            self._broker.store(publication, again=forgotten)
        self._unconfirmed = []
        repeats = self._fate.shuffled(self._repeats)
        for publication in repeats[: self._fate.portion(repeats)]:
            self._broker.store(publication, again=True)
            self._repeats.remove(publication)
