"""Which services there are, where they listen and which database is theirs."""

from shared.core.service_info import ServiceInfo

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
