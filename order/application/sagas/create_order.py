"""Creating an order: everybody is asked, the account last; then it holds everywhere. Microservices Patterns, 4.1."""

from accounting.contracts import AuthorizeOrder
from consumer.contracts import ValidateOrderByConsumer
from kernel.values import ConsumerId, LineItem, Money, OrderId, RestaurantId, TicketId
from kitchen.contracts import CancelCreateTicket, ConfirmCreateTicket, CreateTicket, CreateTicketReply
from order.application.unit_of_work import OrderUnitOfWork
from shared.saga.saga import Saga, Steps, begun, local, pivot, step


class CreateOrderSaga(Saga, key="order_id"):
    order_id: OrderId
    consumer_id: ConsumerId
    restaurant_id: RestaurantId
    line_items: tuple[LineItem, ...]
    order_total: Money
    ticket_id: TicketId = TicketId("")

    @classmethod
    def steps(cls) -> Steps:
        return (
            begun(undo=cls.reject_order),
            step(cls.validate_consumer),
            step(cls.create_ticket, on_reply=cls.ticket_created, undo=cls.cancel_ticket),
            pivot(cls.authorize),
            step(cls.confirm_ticket),
            local(cls.approve_order),
        )

    async def reject_order(self, uow: OrderUnitOfWork) -> None:
        order = await uow.orders.get(self.order_id)
        order.reject(self.reason)
        if await uow.erased_consumers.find(self.consumer_id):
            order.erase_address()

    def validate_consumer(self) -> ValidateOrderByConsumer:
        return ValidateOrderByConsumer(
            consumer_id=self.consumer_id, order_id=self.order_id, order_total=self.order_total
        )

    def create_ticket(self) -> CreateTicket:
        return CreateTicket(order_id=self.order_id, restaurant_id=self.restaurant_id, line_items=self.line_items)

    def ticket_created(self, reply: CreateTicketReply) -> None:
        self.ticket_id = reply.ticket_id

    def cancel_ticket(self) -> CancelCreateTicket:
        return CancelCreateTicket(order_id=self.order_id, ticket_id=self.ticket_id)

    def authorize(self) -> AuthorizeOrder:
        return AuthorizeOrder(consumer_id=self.consumer_id, order_id=self.order_id, order_total=self.order_total)

    def confirm_ticket(self) -> ConfirmCreateTicket:
        return ConfirmCreateTicket(order_id=self.order_id, ticket_id=self.ticket_id)

    async def approve_order(self, uow: OrderUnitOfWork) -> None:
        order = await uow.orders.get(self.order_id)
        order.approve(self.ticket_id)
