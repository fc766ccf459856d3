"""The demo's couriers. Others may use the system too, so our couriers may not get our orders."""

import asyncio
from typing import Any

from shared.core.ids import new_id
from tools.demo.api import Api

MAX_COURIERS = 32


class Couriers:
    """The couriers on duty for the demo."""

    def __init__(self, api: Api) -> None:
        """Start without couriers."""
        self._api = api
        self._on_duty: list[str] = []
        self._next = 1

    async def call(self, number: int) -> None:
        """Put new couriers on duty."""
        called = [new_id() for _ in range(number)]
        self._on_duty += called
        await asyncio.gather(*(self._set(courier, available=True) for courier in called))

    async def see_that_one_comes(self, order_id: str) -> None:
        """Call more couriers when all of ours were assigned to deliveries that have waited longer than this order's."""
        for courier in reversed(self._on_duty):
            seen: dict[str, Any] = await self._api.get("delivery", f"/api/couriers/{courier}") or {}
            plan = seen.get("plan", [])
            if any(action["delivery_id"] == order_id for action in plan) or (seen.get("available") and not plan):
                self._next = 1
                return
        await self.call(self._next)
        self._next = min(2 * self._next, MAX_COURIERS)

    async def keep_free(self, number: int) -> None:
        """Take our idle couriers off duty, except for some."""
        for courier in list(self._on_duty):
            seen = await self._api.get("delivery", f"/api/couriers/{courier}")
            if seen and not seen["plan"]:
                number -= 1
                if number < 0:
                    self._on_duty.remove(courier)
                    await self._set(courier, available=False)

    async def go_home(self) -> None:
        """Take all our couriers off duty; those with planned deliveries still carry them out."""
        await asyncio.gather(*(self._set(courier, available=False) for courier in self._on_duty))

    async def _set(self, courier: str, *, available: bool) -> None:
        await self._api.post("delivery", f"/api/couriers/{courier}/availability", {"available": available})
