"""The kitchen service's copy of restaurants: whose tickets it takes."""

from dataclasses import dataclass

from shared.eventsourcing.aggregate import Entity


@dataclass(kw_only=True)
class Restaurant(Entity):
    """A restaurant."""

    name: str
