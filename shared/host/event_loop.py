"""The event loop of every program."""

import asyncio
import socket
from typing import Any

import uvloop


def new_event_loop() -> asyncio.AbstractEventLoop:
    """uvloop's, that makes no noise about names which could not be looked up in time.

    It gives a look-up up together with the connection that it was for, and never asks what came of it; whoever wanted
    to connect has been told of the time-out.
    """
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    loop.set_exception_handler(_without_given_up_lookups)
    return loop


def _without_given_up_lookups(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    given_up = isinstance(context.get("future"), asyncio.Future) and not isinstance(context["future"], asyncio.Task)
    if not (given_up and isinstance(context.get("exception"), socket.gaierror)):
        loop.default_exception_handler(context)
