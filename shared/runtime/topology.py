"""Which services there are, where they listen and which database is theirs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ServiceInfo:
    """One service of the system. `publishes` says whether its database has a relay."""

    name: str
    port: int
    database: str
    publishes: bool = True

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


SERVICES: tuple[ServiceInfo, ...] = (
    ServiceInfo("accounting", 8001, "accounting"),
    ServiceInfo("consumer", 8002, "consumer"),
    ServiceInfo("delivery", 8003, "delivery"),
    ServiceInfo("kitchen", 8004, "kitchen"),
    ServiceInfo("order", 8005, "ordering"),
    ServiceInfo("restaurant", 8006, "restaurant"),
    ServiceInfo("order_history", 8015, "order_history", publishes=False),
)


BY_NAME: dict[str, ServiceInfo] = {service.name: service for service in SERVICES}
