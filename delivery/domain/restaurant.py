"""The delivery service's copy of restaurants: where dishes are picked up."""

from dataclasses import dataclass

from kernel.values import Address
from shared.eventsourcing.aggregate import Entity


@dataclass(kw_only=True)
class Restaurant(Entity):
    """A restaurant."""

    address: Address
