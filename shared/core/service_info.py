"""What identifies a service: its application, its name, its port and its database."""

from dataclasses import dataclass

from shared.core.application import Application


@dataclass(frozen=True)
class ServiceInfo:
    """One service of an application.

    `publishes` says whether its database has a relay. `senders` are the services that send what it reads: it asks them
    again for what the stream has lost. `package` is where its code is, with the `migrations` of its own tables; it is
    called like the service unless something else is given.
    """

    name: str
    port: int
    database: str
    application: Application
    publishes: bool = True
    senders: tuple[str, ...] = ()
    package: str | None = None

    @property
    def owner_role(self) -> str:
        """Owns the tables and runs the migrations."""
        return f"{self.database}_owner"

    @property
    def service_role(self) -> str:
        """Reads and writes the rows."""
        return f"{self.database}_service"

    @property
    def relay_role(self) -> str:
        """Replicates, reads outbox and events, writes its checkpoints."""
        return f"{self.database}_relay"
