"""The history of orders."""

from alembic import op

from shared.adapters.postgres import schema

revision = "0001"
down_revision = None


def upgrade() -> None:
    for statement in _ORDERS.split(";"):
        op.execute(statement)
    schema.grant_to_service("select, insert, update, delete", on="orders")


# With room in the pages, a change of the delivery touches no index. The terms are more than the words, so
# that one index finds the few orders of a consumer in a state among the many with a common word; no word has a capital
# or a hyphen, as states and ids have. Its pending list is read by every search, so it may not become long.
_ORDERS = """
create table orders (
    id                text        primary key,
    version           integer     not null,
    order_version     integer     not null,
    status            text        not null,
    delivery_version  integer     not null,
    delivery_status   text        not null,
    consumer_id       text,
    restaurant_id     text        not null,
    restaurant_name   text        not null,
    ordered_items     jsonb       not null,
    ordered_total     bigint      not null,
    revisions         jsonb       not null,
    words             text        not null,
    created_at        timestamptz,
    updated_at        timestamptz not null
) with (fillfactor = 85);

create index orders_of_consumer on orders (consumer_id, created_at desc, id desc);

create index orders_by_status on orders (consumer_id, status, created_at desc, id desc);

create index orders_by_terms on orders using gin (string_to_array(consumer_id || ' ' || status || ' ' || words, ' '))
    with (gin_pending_list_limit = 1024)
"""
