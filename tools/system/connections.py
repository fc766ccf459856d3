"""PostgreSQL's connections: the most that the programs can open has to fit within the server's limits."""

from collections.abc import Mapping
from dataclasses import dataclass

from kernel.topology import SERVICES
from shared.host.settings import PoolSettings

FOR_PEOPLE = 20
"""Left to operators and tools. Three of them only superusers get."""

_MIGRATION = 1
_RELAY = 2  # following the outbox, and reading stored events for a replay
_SENDERS = 2  # one that streams, and a temporary one while a slot is created
_WAITING_SENDER = 1


@dataclass(frozen=True)
class Connections:
    """Numbers of sessions (`max_connections`) and, counted separately, replication connections (`max_wal_senders`)."""

    sessions: int
    senders: int


def needed(replicas: Mapping[str, int], relays: int, settings: PoolSettings) -> Connections:
    """Return the most connections that these numbers of replicas, of services and of each database's relay, can use."""
    each = settings.pool_size + settings.partitions + _MIGRATION
    services = sum(replicas.get(service.name, 1) * each for service in SERVICES)
    databases = sum(service.publishes for service in SERVICES) if relays else 0
    return Connections(
        sessions=services + databases * relays * _RELAY,
        senders=databases * (_SENDERS + (relays - 1) * _WAITING_SENDER),
    )


def shortage(need: Connections, there: Connections) -> str | None:
    """Return a message that says which connections are too few; None if there are enough."""
    if need.sessions + FOR_PEOPLE > there.sessions:
        return (
            f"the programs take up to {need.sessions} connections, {FOR_PEOPLE} are for people, and PostgreSQL's"
            f" max_connections is {there.sessions}: fewer replicas or partitions, or a smaller FTGO_POOL_SIZE"
        )
    if need.senders > there.senders:
        return f"the relays take up to {need.senders} of PostgreSQL's max_wal_senders, {there.senders}: fewer replicas"
    return None
