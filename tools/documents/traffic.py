"""Which messages each service reads and sends, according to its wiring. The permissions of its NATS users follow."""

import json
from collections import defaultdict

from kernel.topology import SERVICES
from shared.core.messages import Command, Event
from tools.documents.catalogue import container_of, entries


def traffic() -> str:
    """The text of `kernel.traffic.TRAFFIC`."""
    sends: dict[str, set[str]] = defaultdict(set)
    for entry in entries():
        message = entry.message
        for sender in entry.senders:
            if issubclass(message, Event | Command):
                kind = "event" if issubclass(message, Event) else "command"
                sends[sender].add(f"{kind}.{message.type_name}")
            else:
                sends[sender].update(f"reply.{receiver}" for receiver in entry.receivers)
    found = {
        service.name: {"reads": sorted(container_of(service.name).routes()), "sends": sorted(sends[service.name])}
        for service in SERVICES
    }
    return json.dumps(found, indent=2) + "\n"
