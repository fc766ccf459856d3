"""When the requests of an open loop must be sent."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable


async def at_rate(
    rate: float, seconds: float, clock: Callable[[], float], sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> AsyncIterator[float]:
    """Yield the moments at which something must be sent, each when it has come.

    They follow from the rate alone: a stall of the generator or of the system moves none of them. What is late is sent
    at once, and its latency counts from the moment yielded.
    """
    began = clock()
    for number in range(round(rate * seconds)):
        moment = began + number / rate
        if (ahead := moment - clock()) > 0:
            await sleep(ahead)
        yield moment
