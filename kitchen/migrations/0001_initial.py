"""The copy of restaurants and the tickets as they are searched."""

from alembic import op

from shared.adapters.postgres import schema

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.execute("create table restaurants (id text primary key, version int not null, name text not null)")
    op.execute("""
        create table tickets (
            id            text primary key collate "C",
            version       int  not null,
            order_id      text not null,
            restaurant_id text not null,
            status        text not null,
            line_items    jsonb not null,
            accepted_at   timestamptz,
            ready_by      timestamptz
        )
    """)
    op.execute("create index tickets_by_order on tickets (order_id, id desc)")
    op.execute("create index tickets_by_restaurant on tickets (restaurant_id, status, id desc)")
    schema.grant_to_service("select, insert, update, delete", on="restaurants, tickets")
