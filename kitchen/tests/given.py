"""What the kitchen service's tests begin with."""

from datetime import UTC, datetime, timedelta

from kernel.values import LineItem, MenuItemId, Money, OrderId, RestaurantId, TicketId
from kitchen.domain.ticket import Ticket, TicketStatus

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
READY_BY = NOON + timedelta(minutes=30)
TICKET = TicketId("0197f2b0-0000-7000-8000-000000000001")
ORDER = OrderId("0197f2b0-0000-7000-8000-000000000002")
RESTAURANT = RestaurantId("0197f2b0-0000-7000-8000-000000000003")
NOBODY = "0197f2b0-0000-7000-8000-00000000ffff"

CURRY, NAAN = MenuItemId("curry"), MenuItemId("naan")
LINE_ITEMS = (
    LineItem(menu_item_id=CURRY, name="Curry", price=Money(1200), quantity=2),
    LineItem(menu_item_id=NAAN, name="Naan", price=Money(300), quantity=1),
)

S = TicketStatus
_WAY = (S.AWAITING_ACCEPTANCE, S.ACCEPTED, S.PREPARING, S.READY_FOR_PICKUP, S.PICKED_UP)


def a_ticket(
    status: TicketStatus, before: TicketStatus = S.AWAITING_ACCEPTANCE, id_: str = TICKET, order_id: OrderId = ORDER
) -> Ticket:
    """In that status; `before` is where one that is to be cancelled or revised was."""
    ticket = Ticket.create(TicketId(id_), order_id, RESTAURANT, LINE_ITEMS)
    if status is S.CREATE_PENDING:
        return ticket
    ticket.confirm_create()
    steps = [
        lambda: ticket.accept(READY_BY, NOON), ticket.start_preparation, ticket.finish_preparation, ticket.pick_up,
    ]  # fmt: skip
    for step in steps[: _WAY.index(status if status in _WAY else before)]:
        step()
    if status in (S.CANCEL_PENDING, S.CANCELLED):
        ticket.begin_cancel()
    if status is S.CANCELLED:
        ticket.confirm_cancel()
    if status is S.REVISION_PENDING:
        ticket.begin_revise({CURRY: 1})
    assert ticket.status is status
    return ticket
