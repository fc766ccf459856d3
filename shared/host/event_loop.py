"""The event loop of every program."""

import asyncio
import socket
from typing import Any

import uvloop


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return uvloop's event loop, without its log lines about host names that were not resolved in time.

    When a connection times out, uvloop drops the look-up of its host name and never reads the result, which asyncio
    reports as an error. Whoever wanted to connect has got the time-out already.
    """
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    loop.set_exception_handler(_without_given_up_lookups)
    return loop


def _without_given_up_lookups(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    given_up = isinstance(context.get("future"), asyncio.Future) and not isinstance(context["future"], asyncio.Task)
    if not (given_up and isinstance(context.get("exception"), socket.gaierror)):
        loop.default_exception_handler(context)
