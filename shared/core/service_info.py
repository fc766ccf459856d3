"""What identifies a service: its name, its port and its database."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ServiceInfo:
    """One service of the system.

    `publishes` says whether its database has a relay. `senders` are the services whose messages it reads: it asks them
    to send again what the stream has lost.
    """

    name: str
    port: int
    database: str
    publishes: bool = True
    senders: tuple[str, ...] = ()

    @property
    def owner_role(self) -> str:
        """The database role that owns the tables and runs the migrations."""
        return f"{self.database}_owner"

    @property
    def service_role(self) -> str:
        """The database role that reads and writes the rows."""
        return f"{self.database}_service"

    @property
    def relay_role(self) -> str:
        """The database role that replicates, reads outbox and events, and writes the relay's checkpoints."""
        return f"{self.database}_relay"
