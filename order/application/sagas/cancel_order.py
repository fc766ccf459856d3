"""Cancelling an order: the kitchen may say that it is too late; once the money is back, it is cancelled everywhere."""

from accounting.contracts import ReverseAuthorizeOrder
from kernel.values import ConsumerId, Money, OrderId, TicketId
from kitchen.contracts import BeginCancelTicket, ConfirmCancelTicket, UndoCancelTicket
from order.application.unit_of_work import OrderUnitOfWork
from shared.saga.saga import Saga, Steps, local, pivot, step


class CancelOrderSaga(Saga, key="order_id"):
    order_id: OrderId
    consumer_id: ConsumerId
    ticket_id: TicketId
    order_total: Money

    @classmethod
    def steps(cls) -> Steps:
        return (
            local(cls.begin_cancel, undo=cls.undo_cancel),
            step(cls.begin_cancel_ticket, undo=cls.undo_cancel_ticket),
            pivot(cls.reverse_authorization),
            step(cls.confirm_cancel_ticket),
            local(cls.confirm_cancel),
        )

    async def begin_cancel(self, uow: OrderUnitOfWork) -> None:
        order = await uow.orders.get(self.order_id)
        order.begin_cancel()

    async def undo_cancel(self, uow: OrderUnitOfWork) -> None:
        order = await uow.orders.get(self.order_id)
        order.undo_cancel(self.reason)

    def begin_cancel_ticket(self) -> BeginCancelTicket:
        return BeginCancelTicket(order_id=self.order_id, ticket_id=self.ticket_id)

    def undo_cancel_ticket(self) -> UndoCancelTicket:
        return UndoCancelTicket(order_id=self.order_id, ticket_id=self.ticket_id)

    def reverse_authorization(self) -> ReverseAuthorizeOrder:
        return ReverseAuthorizeOrder(consumer_id=self.consumer_id, order_id=self.order_id, order_total=self.order_total)

    def confirm_cancel_ticket(self) -> ConfirmCancelTicket:
        return ConfirmCancelTicket(order_id=self.order_id, ticket_id=self.ticket_id)

    async def confirm_cancel(self, uow: OrderUnitOfWork) -> None:
        order = await uow.orders.get(self.order_id)
        order.confirm_cancel()
