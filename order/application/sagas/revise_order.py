"""Revising an order: the kitchen may refuse; once the new total is authorized, the quantities change everywhere."""

from accounting.contracts import ReviseAuthorizeOrder
from kernel.values import ConsumerId, MenuItemId, Money, OrderId, TicketId
from kitchen.contracts import BeginReviseTicket, ConfirmReviseTicket, UndoReviseTicket
from order.application.unit_of_work import OrderUnitOfWork
from shared.saga.saga import Saga, Steps, local, pivot, step


class ReviseOrderSaga(Saga, key="order_id"):
    order_id: OrderId
    consumer_id: ConsumerId
    ticket_id: TicketId
    current_order_total: Money
    revised_quantities: dict[MenuItemId, int]
    order_total: Money = Money(0)

    @classmethod
    def steps(cls) -> Steps:
        return (
            local(cls.begin_revise, undo=cls.undo_revise),
            step(cls.begin_revise_ticket, undo=cls.undo_revise_ticket),
            pivot(cls.revise_authorization),
            step(cls.confirm_revise_ticket),
            local(cls.confirm_revise),
        )

    async def begin_revise(self, uow: OrderUnitOfWork) -> None:
        order = await uow.orders.get(self.order_id)
        order.begin_revise(self.revised_quantities)
        self.order_total = order.proposed_total

    async def undo_revise(self, uow: OrderUnitOfWork) -> None:
        order = await uow.orders.get(self.order_id)
        order.undo_revise(self.reason)

    def begin_revise_ticket(self) -> BeginReviseTicket:
        return BeginReviseTicket(
            order_id=self.order_id, ticket_id=self.ticket_id, revised_quantities=self.revised_quantities
        )

    def undo_revise_ticket(self) -> UndoReviseTicket:
        return UndoReviseTicket(order_id=self.order_id, ticket_id=self.ticket_id)

    def revise_authorization(self) -> ReviseAuthorizeOrder:
        return ReviseAuthorizeOrder(
            consumer_id=self.consumer_id,
            order_id=self.order_id,
            current_order_total=self.current_order_total,
            order_total=self.order_total,
        )

    def confirm_revise_ticket(self) -> ConfirmReviseTicket:
        return ConfirmReviseTicket(
            order_id=self.order_id, ticket_id=self.ticket_id, revised_quantities=self.revised_quantities
        )

    async def confirm_revise(self, uow: OrderUnitOfWork) -> None:
        order = await uow.orders.get(self.order_id)
        order.confirm_revise(self.revised_quantities)
