"""The copy of restaurants, the couriers and the deliveries."""

from alembic import op

from shared.adapters.postgres import schema

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.execute("create table restaurants (id text primary key, version int not null, address jsonb not null)")
    op.execute("""
        create table couriers (
            id         text    primary key collate "C",
            version    int     not null,
            available  boolean not null,
            plan       jsonb   not null,
            free_since timestamptz
        )
    """)
    op.execute("create index couriers_free on couriers (free_since, id) where free_since is not null")
    # The addresses are JSON's null until the order itself has arrived.
    op.execute("""
        create table deliveries (
            id               text  primary key collate "C",
            version          int   not null,
            sequence         int   not null,
            status           text  not null,
            pickup_address   jsonb not null,
            delivery_address jsonb not null,
            accepted_at      timestamptz,
            ready_by         timestamptz,
            courier_id       text
        )
    """)
    op.execute("""
        create index deliveries_waiting on deliveries (accepted_at, id)
        where status = 'PENDING' and accepted_at is not null
    """)
    schema.grant_to_service("select, insert, update, delete", on="restaurants, couriers, deliveries")
