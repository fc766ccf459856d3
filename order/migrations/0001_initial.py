"""The copy of restaurants."""

from alembic import op

from shared.adapters.postgres import schema

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.execute(
        "create table restaurants (id text primary key, version int not null, name text not null, menu jsonb not null)"
    )
    schema.grant_to_service("select, insert, update, delete", on="restaurants")
