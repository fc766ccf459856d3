"""Which services there are, where they listen and which database is theirs."""

from kernel.releases import RELEASES
from kernel.traffic import senders_to
from shared.core.application import Application
from shared.core.service_info import ServiceInfo

FTGO = Application("ftgo", RELEASES)


def _service(name: str, port: int, database: str = "", *, publishes: bool = True) -> ServiceInfo:
    return ServiceInfo(name, port, database or name, FTGO, publishes, senders_to(name))


SERVICES: tuple[ServiceInfo, ...] = (
    _service("accounting", 8001),
    _service("consumer", 8002),
    _service("delivery", 8003),
    _service("kitchen", 8004),
    _service("order", 8005, "ordering"),
    _service("restaurant", 8006),
    _service("order_history", 8015, publishes=False),
)


BY_NAME: dict[str, ServiceInfo] = {service.name: service for service in SERVICES}
