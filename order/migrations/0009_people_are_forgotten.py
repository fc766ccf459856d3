"""A consumer can be forgotten: orders stay, without where they went."""

from alembic import op

from order.contracts import DeliveryAddressErased, OrderCreated
from shared.adapters.postgres import schema

revision = "0009"
down_revision = "0007"


def upgrade() -> None:
    schema.let_personal_data_be_erased(OrderCreated, DeliveryAddressErased)
    op.execute("create table if not exists erased_consumers (id text primary key, version int not null)")
    schema.grant_to_service("select, insert", on="erased_consumers")
    # Only orders whose address is known are in it: those that are left to forget.
    op.execute("""
        create index if not exists orders_with_address on events ((data ->> 'consumer_id'))
        where aggregate = 'Order' and type = 'order.OrderCreated' and data -> 'deliver_to' ->> 'street1' <> ''
    """)
