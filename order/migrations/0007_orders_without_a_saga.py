"""Orders that wait for a saga get theirs.

Before 0.1.0 the order service started an order's saga when it read the order's own event from the stream (ADR 0018).
Orders whose event it had not read by the upgrade were left without one, for ever.
"""

from alembic import op
from sqlalchemy import text

from shared.core.ids import derived_id

revision = "0007"
down_revision = "0001"

_SAGA = "order.CreateOrderSaga"
_FIRST_STEP = 1

# Whatever becomes of an order is a further event. The ids are in the event's data too, as the saga's fields.
_WAIT_FOR_A_SAGA = text("""
    select id, metadata ->> 'id' as event, metadata ->> 'correlation_id' as correlation_id
    from events as created
    where aggregate = 'Order' and version = 1 and type = 'order.OrderCreated'
      and not exists (
        select from events as later where later.aggregate = 'Order' and later.id = created.id and later.version = 2
      )
      and id not in (select key from sagas where type = :saga)
""")

# It waits for no reply and is due: so the service takes its first step as soon as it runs.
_BEGIN = text("""
    insert into sagas (
        id, version, type, key, data, step, phase, awaiting, command, attempts, resends, due_at, stuck, error,
        correlation_id, started_at, updated_at
    )
    select :id, 1, :saga, id, jsonb_build_object(
            'order_id', data -> 'order_id', 'consumer_id', data -> 'consumer_id',
            'restaurant_id', data -> 'restaurant_id', 'line_items', data -> 'line_items',
            'order_total', data -> 'order_total'
        ), :step, 'forward', null, '', 0, 0, now(), false, '', :correlation_id, now(), now()
    from events where aggregate = 'Order' and id = :order_id and version = 1
""")

# Nobody handles them any more. Those of orders that a restored backup does not know are left to an operator.
_FORGET_WHAT_WAS_TO_BEGIN_IT = text("""
    delete from set_aside
    where headers::json ->> 'ce-type' = 'order.OrderCreated'
      and key in (select key from sagas where type = :saga)
""")


def upgrade() -> None:
    connection = op.get_bind()
    for order_id, event, correlation_id in connection.execute(_WAIT_FOR_A_SAGA, {"saga": _SAGA}).fetchall():
        begin = {
            "id": derived_id(_SAGA, event, order_id),  # the one that the event would have given it
            "saga": _SAGA,
            "order_id": order_id,
            "step": _FIRST_STEP,
            "correlation_id": correlation_id,
        }
        connection.execute(_BEGIN, begin)
    connection.execute(_FORGET_WHAT_WAS_TO_BEGIN_IT, {"saga": _SAGA})
