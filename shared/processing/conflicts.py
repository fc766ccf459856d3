"""What is done about a Conflict: another transaction came first, so the same work is tried again at once."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from shared.core.errors import Conflict

T = TypeVar("T")
log = structlog.get_logger(__name__)

TRIES = 5
"""How often work is tried in all, before its Conflict is raised."""
_FIRST_PAUSE = 0.005


async def despite_conflicts(work: Callable[[], Awaitable[T]], noticed: Callable[[], None] = lambda: None) -> T:
    """Do work in a transaction of its own, again when it meets a Conflict, and return what it returns.

    `noticed` is called at each Conflict. Between two tries there is a pause of random length, up to 5 ms at first and
    up to 40 ms at last, so that those who met do not meet again. Raises Conflict after the last try, and whatever else
    the work raises.
    """
    for tried in range(TRIES - 1):
        try:
            return await work()
        except Conflict as error:
            log.debug("conflict: tried again", error=str(error))
            noticed()
            await asyncio.sleep(random.uniform(0, _FIRST_PAUSE * 2**tried))  # noqa: S311 - spreads contenders
    return await work()
