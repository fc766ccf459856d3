"""The relays of FTGO as a program: the library runs them for FTGO's services."""

import importlib
from collections.abc import Sequence

from cdc.nats_users import readable_routes
from kernel.topology import FTGO, SERVICES
from shared.host.relays import run_relays


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the relays that the arguments name; return the exit status."""
    for service in SERVICES:
        if service.publishes:
            importlib.import_module(f"{service.name}.contracts")  # so that a replay knows the service's events
    return run_relays(FTGO, SERVICES, readable_routes(), arguments, "python -m cdc")
