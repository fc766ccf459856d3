"""The world that a scenario takes place in: what its names stand for, and how its steps reach the system.

Steps are synchronous (pytest-bdd awaits nothing), so the world runs what is asynchronous on an event loop of its own.
It speaks to the services through their HTTP APIs only.
"""

import asyncio
import re
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import uuid4

from features.backends import Backend, give_up_at

T = TypeVar("T")

INVALID = 422
"""The status of what is not well formed, whose text is of the framework's, and of values that the domain refuses."""

# The statuses of answers that carry the domain's texts.
STATUS_OF = {
    "cannot register a consumer without a name": 400,
    "consumer not found": 404,
    "account not found": 404,
    "restaurant not found": 404,
    "order not found": 404,
    "ticket not found": 404,
    "delivery not found": 404,
    "courier not found": 404,
    "menu item not found": 404,
    "address with that identifier does not exist": 404,
    "address with that identifier already exists": 409,
    "account is disabled": 409,
    "account is enabled": 409,
    "order state does not allow action": 409,
    "ticket state does not allow action": 409,
    "delivery state does not allow action": 409,
    "delivery time is in the past": INVALID,
    "readyBy is in the past": INVALID,
    "order total does not meet the minimum": 400,
    "the idempotency key was used for another request": INVALID,
}


class Refused(Exception):
    """The system does not do what it was asked to."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{message} ({status})")
        self.status = status
        self.message = message


class Names(dict[str, str]):
    """The ids that the names of one kind of thing stand for."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self._kind = kind

    def __missing__(self, name: str) -> str:
        raise AssertionError(f"the scenario has not said who or what the {self._kind} {name!r} is")

    def stranger(self, name: str) -> None:
        """Make a name stand for something that the system does not know."""
        self[name] = str(uuid4())

    def of(self, id_: str) -> str:
        """Return the name of an id; the id itself if it has no name here."""
        return next((name for name, known in self.items() if known == id_), id_)


class World:
    """The world of one scenario. `refusal` is why the last action was refused: the next step has to be about it."""

    def __init__(self, backend: Backend, runner: asyncio.Runner) -> None:
        self._backend = backend
        self._runner = runner
        self._away: set[str] = set()
        self._mislaid: dict[str, str] = {}
        self._refusal: Refused | None = None
        self.consumers = Names("consumer")
        self.restaurants = Names("restaurant")
        self.orders = Names("order")
        self.couriers = Names("courier")
        self.keys = Names("key")
        self.notes: dict[str, Any] = {}
        """What one step leaves for a later one."""

    def now(self) -> datetime:
        """Return the system's time."""
        return self._backend.now()

    def later(self, minutes: float) -> str:
        """Return a time after or before now, in the form of the API."""
        return (self.now() + timedelta(minutes=minutes)).isoformat()

    def act(
        self,
        service: str,
        method: str,
        path: str,
        body: object = None,
        *,
        success: int = 200,
        **arguments: Any,
    ) -> Any:
        """Ask a service to do something; returns its answer. A refusal is kept for the next step, and None returned.

        `success` is the status of success; further arguments are those of httpx.
        """
        self.require_no_refusal()
        self._backend.time_passes()
        try:
            return self._request(service, method, path, success, json=body, **arguments)
        except Refused as refusal:
            self._refusal = refusal
            return None

    def look_up(self, service: str, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """Do as `act` does, for a query: the next step is about its answer or refusal."""
        return self.act(service, "GET", path, params=params)

    def get(self, service: str, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """Return a service's answer to a query. Raises Refused."""
        return self._request(service, "GET", path, 200, params=params)

    def eventually(self, check: Callable[[], T]) -> T:
        """Repeat `check` until it raises neither AssertionError nor Refused; return its result."""
        self.require_no_refusal()
        give_up = give_up_at(self._backend)
        while True:
            self._run(self._backend.settle())
            try:
                return check()
            except (AssertionError, Refused):
                if time.monotonic() >= give_up:
                    raise

    def take_refusal(self) -> Refused:
        """Return why the action of the previous step was refused."""
        refusal, self._refusal = self._refusal, None
        assert refusal is not None, "it was not refused"
        return refusal

    def require_no_refusal(self) -> None:
        """Fail if an action was refused and the scenario does not say so."""
        if self._refusal is not None:
            raise AssertionError(f"unexpectedly refused: {self._refusal}") from self._refusal

    def service_goes_away(self, service: str) -> None:
        """Stop the service until it is back. Work in progress is finished first."""
        self._run(self._backend.settle())
        self._backend.away(service)
        self._away.add(service)

    def service_is_back(self, service: str) -> None:
        """Start the service again: it handles what has come in meanwhile."""
        self._backend.back(service)
        self._away.remove(service)

    def kitchen_loses(self, restaurant: str) -> None:
        """Make the kitchen service forget the restaurant."""
        self._backend.lose_restaurant(self.restaurants[restaurant])

    def kitchen_mislays(self, order: str) -> None:
        """Hide the order's ticket from the kitchen service."""
        (ticket,) = self.get("kitchen", "/tickets", {"order_id": self.orders[order]})["tickets"]
        self._mislaid[order] = ticket["id"]
        self._backend.mislay_ticket(ticket["id"])

    def kitchen_finds(self, order: str) -> None:
        """Put the hidden ticket back."""
        self._backend.find_ticket(self._mislaid.pop(order))

    def history_is_lost(self) -> None:
        """Delete all orders from the order history."""
        self._run(self._backend.settle())
        self._backend.lose_history()

    def history_is_rebuilt(self) -> None:
        """Rebuild the order history from what has happened."""
        self._run(self._backend.rebuild_history())

    def leave(self) -> None:
        """Clean up in a shared system, so that this scenario's couriers do not disturb other scenarios."""
        for service in tuple(self._away):
            self.service_is_back(service)
        for order in tuple(self._mislaid):
            self.kitchen_finds(order)
        self._refusal = None
        if not self._backend.shared:
            return
        for courier in self.couriers.values():
            self._request("delivery", "POST", f"/couriers/{courier}/availability", 201, json={"available": False})
        for order in self.orders.values():
            self._finish(order)

    def _finish(self, order: str) -> None:
        """Let the kitchen hand over what it has accepted: a waiting delivery would take another scenario's courier."""
        (ticket, *_) = self.get("kitchen", "/tickets", {"order_id": order})["tickets"] or [None]
        if ticket is None:
            return
        doing = {"Accepted": 0, "Preparing": 1, "ReadyForPickup": 2}
        for action in ("preparing", "ready", "picked-up")[doing.get(ticket["status"], 3) :]:
            self._request("kitchen", "POST", f"/tickets/{ticket['id']}/{action}", 202)

        def on_its_way() -> None:
            assert self.get("delivery", f"/deliveries/{order}")["status"] not in ("PENDING", "SCHEDULED")

        if ticket["status"] in doing:
            with suppress(Refused):
                self.eventually(on_its_way)

    def _request(self, service: str, method: str, path: str, success: int, **arguments: Any) -> Any:
        client = self._backend.client(service)
        response = self._run(client.request(method, f"/api{path}", **arguments))
        if response.status_code == success:
            return response.json() if response.content else None
        what = f"{method} {path} of the {service} service answered {response.status_code}: {response.text}"
        assert 400 <= response.status_code < 500, what
        assert response.headers["content-type"] == "application/problem+json", what
        problem = response.json()
        assert problem["title"], what
        assert problem["status"] == response.status_code, what
        assert problem["message"] == problem["detail"], what
        assert re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", problem["code"]), what
        raise Refused(response.status_code, problem["message"])

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)
