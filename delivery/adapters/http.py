"""The delivery service's HTTP API."""

from pydantic import BaseModel, Field, StrictBool

from delivery.application import queries
from delivery.application.commands import DeliverOrder, SetCourierAvailability
from delivery.application.unit_of_work import DeliveryUnitOfWork
from delivery.domain.errors import CourierNotFound, DeliveryNotFound, DeliveryStateDoesNotAllowAction
from kernel.values import CourierId, OrderId
from kernel.web import AN_ADDRESS
from shared.processing.command_queue import CommandQueue
from shared.unit_of_work.unit_of_work import Units
from shared.web.documents import AN_ID, example
from shared.web.parameters import Body, IdAnswer, IdInPath
from shared.web.problems import problems
from shared.web.routes import Routes


class Availability(Body):
    """Whether the courier takes deliveries."""

    available: StrictBool = Field(examples=[True])


class AvailabilityAnswer(BaseModel):
    """Whether the courier takes deliveries from now on."""

    available: bool = Field(examples=[True])


A_COURIER_ID = "019a3c5b-0a10-7e2f-8d3c-4b5a69788796"
A_PLAN = [
    {"delivery_id": AN_ID, "action": "PICKUP", "address": AN_ADDRESS, "when": "2040-01-02T18:00:00Z"},
    {"delivery_id": AN_ID, "action": "DROPOFF", "address": AN_ADDRESS, "when": "2040-01-02T18:30:00Z"},
]
A_COURIER = {"id": A_COURIER_ID, "available": True, "plan": A_PLAN}
A_DELIVERY = {
    "id": AN_ID,
    "status": "SCHEDULED",
    "assigned_courier": A_COURIER_ID,
    "courier_actions": A_PLAN,
    "pickup_address": AN_ADDRESS,
    "delivery_address": AN_ADDRESS,
    "ready_by": "2040-01-02T18:00:00Z",
}


def routes(commands: CommandQueue[DeliveryUnitOfWork], units: Units[DeliveryUnitOfWork]) -> Routes:
    """The routes of the API."""
    router = Routes(prefix="/api")

    @router.post("/couriers/{id}/availability", status_code=201, tags=["couriers"], responses=problems(body=True))
    async def set_courier_availability(id_: IdInPath, body: Availability) -> AvailabilityAnswer:
        """The courier goes on or off duty, and is made known by the first time. Off duty, the plan stays to be done."""
        await commands.execute(SetCourierAvailability(courier_id=CourierId(id_), available=body.available))
        return AvailabilityAnswer(available=body.available)

    @router.get("/couriers/{id}", tags=["couriers"], responses=problems(CourierNotFound) | example(200, A_COURIER))
    async def get_courier(id_: IdInPath) -> queries.CourierView:
        """The courier, and where to be next."""
        async with units.begin() as uow:
            return await queries.get_courier(CourierId(id_), uow)

    @router.get(
        "/deliveries/{id}", tags=["deliveries"], responses=problems(DeliveryNotFound) | example(200, A_DELIVERY)
    )
    async def get_delivery(id_: IdInPath) -> queries.DeliveryView:
        """The delivery as it is now. Its id is its order's; it is made shortly after the order."""
        async with units.begin() as uow:
            return await queries.get_delivery(OrderId(id_), uow)

    @router.post(
        "/deliveries/{id}/delivered",
        status_code=202,
        tags=["deliveries"],
        responses=problems(DeliveryNotFound, DeliveryStateDoesNotAllowAction),
    )
    async def deliver_order(id_: IdInPath) -> IdAnswer:
        """The consumer has it. Its courier is free for another."""
        await commands.execute(DeliverOrder(order_id=OrderId(id_)))
        return IdAnswer(id=id_)

    return router
