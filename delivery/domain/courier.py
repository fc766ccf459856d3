"""The courier: somebody who brings one delivery at a time."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from kernel.values import Address, CourierId, OrderId
from shared.eventsourcing.aggregate import Entity


class ActionKind(StrEnum):
    """What a courier does at an address."""

    PICKUP = "PICKUP"
    DROPOFF = "DROPOFF"


@dataclass(frozen=True, kw_only=True)
class Action:
    """Where a courier has to be, when, and what for."""

    delivery_id: OrderId
    action: ActionKind
    address: Address
    when: datetime


Plan = tuple[Action, ...]


@dataclass(kw_only=True)
class Courier(Entity):
    """A courier. `free_since` is None unless a delivery can be assigned: when available, with an empty plan."""

    available: bool = False
    plan: Plan = ()
    free_since: datetime | None = None

    @property
    def courier_id(self) -> CourierId:
        """The courier's id."""
        return CourierId(self.id)

    def actions_for(self, delivery_id: OrderId) -> Plan:
        """Returns the actions in the plan that belong to a delivery."""
        return tuple(action for action in self.plan if action.delivery_id == delivery_id)

    def set_available(self, available: bool, now: datetime) -> None:
        """Puts the courier on duty or off duty; the plan stays as it is."""
        self.available = available
        self._follow(now)

    def take_on(self, plan: Plan) -> None:
        """Takes on the plan for a delivery. It is called for free couriers only."""
        if self.free_since is None:
            raise ValueError(f"courier {self.id} is not free")
        self.plan, self.free_since = plan, None

    def drop(self, delivery_id: OrderId, now: datetime) -> None:
        """Removes a delivery from the plan."""
        self.plan = tuple(action for action in self.plan if action.delivery_id != delivery_id)
        self._follow(now)

    def _follow(self, now: datetime) -> None:
        """Updates `free_since`. A courier who is free already keeps the place in the line."""
        if not self.available or self.plan:
            self.free_since = None
        elif self.free_since is None:
            self.free_since = now
