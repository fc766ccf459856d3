"""Aggregates: event-sourced ones, stored as their events, and entities, stored as rows with their current state.

Vaughn Vernon, Implementing Domain-Driven Design, chapter 10 and appendix A; Microservices Patterns, chapter 6.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, Self, TypeVar

from shared.core.messages import Event

E = TypeVar("E", bound=Event)


@dataclass(eq=False)
class Aggregate(Generic[E]):
    """An event-sourced aggregate. Its methods decide and `record`; only `apply` changes its fields.

    A class method makes a new one: it records the first event, and returns the aggregate. Called with an id alone, the
    class gives an empty one, whose events are still to be replayed.

    Subclasses are dataclasses whose further fields have defaults, or are `field(init=False)`: the first event sets
    those. A snapshot is the fields as they are, so their types must be serialisable. `snapshot_version` goes up when
    `apply` comes to mean something else for old events.
    """

    aggregate_name: ClassVar[str]
    """The name that its events are stored under: the class's name, unless a renamed class pins the old one."""
    snapshot_version: ClassVar[int] = 1

    id: str
    version: int = 0

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.aggregate_name = cls.__dict__.get("aggregate_name", cls.__name__)

    def __post_init__(self) -> None:
        self._recorded: list[E] = []

    @abstractmethod
    def apply(self, event: E) -> None:
        """Change the fields as the event says, without decisions or refusals."""

    def record(self, event: E) -> None:
        """Apply a new event and keep it to be stored."""
        self.replay(event)
        self._recorded.append(event)

    def replay(self, event: E) -> None:
        """Apply a stored event."""
        self.apply(event)
        self.version += 1

    @property
    def recorded(self) -> Sequence[E]:
        """The events recorded since the aggregate was loaded or last stored."""
        return self._recorded

    def take_recorded(self) -> list[E]:
        """Return the recorded events and clear them."""
        recorded, self._recorded = self._recorded, []
        return recorded


@dataclass(kw_only=True)
class Entity:
    """An object that is stored as a row with its current state. `version` is the optimistic lock.

    Subclasses are dataclasses with an `id`, whose values are immutable (tuples, not lists).
    """

    id: str
    version: int = 0

    def __copy__(self) -> Self:
        copied = object.__new__(type(self))
        copied.__dict__.update(self.__dict__)
        return copied


@dataclass(kw_only=True)
class RecordingEntity(Entity):
    """An entity that publishes events about its changes. `sequence` counts its events."""

    aggregate_name: ClassVar[str]

    sequence: int = 0

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.aggregate_name = cls.__dict__.get("aggregate_name", cls.__name__)

    def __post_init__(self) -> None:
        self._recorded: list[Event] = []

    def record(self, event: Event) -> None:
        """Keep a new event to be stored. The calling method has already changed the fields."""
        self.sequence += 1
        self._recorded.append(event)

    def take_recorded(self) -> list[Event]:
        """Return the recorded events and clear them."""
        recorded, self._recorded = self._recorded, []
        return recorded

    def __copy__(self) -> Self:
        copied = super().__copy__()
        copied._recorded = list(self._recorded)
        return copied
