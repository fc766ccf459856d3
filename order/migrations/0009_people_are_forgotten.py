"""A consumer can be forgotten: orders stay, without where they went."""

from alembic import op

from kernel.topology import BY_NAME
from shared.adapters.postgres import schema

revision = "0009"
down_revision = "0007"

_NOWHERE = {"street1": "", "street2": None, "city": "", "state": "", "zip": ""}
_PERSONAL = {"order.OrderCreated": {"deliver_to": _NOWHERE}}


def upgrade() -> None:
    schema.upgrade_9(BY_NAME["order"], _PERSONAL, ["order.DeliveryAddressErased"])
    op.execute("create table if not exists erased_consumers (id text primary key, version int not null)")
    op.execute(f"grant select, insert on erased_consumers to {BY_NAME['order'].service_role}")
    # Only orders whose address is known are in it: those that are left to forget.
    op.execute("""
        create index if not exists orders_with_address on events ((data ->> 'consumer_id'))
        where aggregate = 'Order' and type = 'order.OrderCreated' and data -> 'deliver_to' ->> 'street1' <> ''
    """)
