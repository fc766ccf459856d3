"""Which messages each service reads and sends. `traffic.json` has it, which `./ftgo docs` makes from the code.

Routes are named `event.order.OrderCreated`, `command.kitchen.CreateTicket`, `reply.order`. A service that the file
does not know yet reads and sends nothing.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

TRAFFIC = Path(__file__).with_name("traffic.json")


def reads(service: str) -> frozenset[str]:
    """Return the routes that a service reads."""
    return frozenset(_traffic().get(service, {}).get("reads", ()))


def sends(service: str) -> frozenset[str]:
    """Return the routes that a service sends on."""
    return frozenset(_traffic().get(service, {}).get("sends", ()))


def senders_to(reader: str) -> tuple[str, ...]:
    """Return the services that send what a service reads."""
    return tuple(service for service in _traffic() if reads(reader) & sends(service))


@cache
def _traffic() -> Mapping[str, Mapping[str, Sequence[str]]]:
    found: dict[str, dict[str, list[str]]] = json.loads(TRAFFIC.read_text())
    return found
