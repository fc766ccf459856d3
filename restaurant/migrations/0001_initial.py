"""The framework's tables and the restaurants."""

from alembic import op

from kernel.topology import BY_NAME
from shared.adapters.postgres import schema

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.execute("""
        create table restaurants (
            id       text  primary key,
            version  int   not null,
            sequence int   not null,
            name     text  not null,
            address  jsonb not null,
            menu     jsonb not null
        )
    """)
    schema.upgrade_1(BY_NAME["restaurant"])
