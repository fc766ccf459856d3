"""The releases that have worked on the database, and since when. `beside` is explained in `shared.core.releases`."""

from alembic import op

from shared.adapters.postgres import schema

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.execute("""
        create table releases (
            number   integer     primary key,
            version  text        not null,
            beside   integer     not null,
            since    timestamptz not null default now()
        )
    """)
    schema.grant_to_service("select", on="releases")
    if schema.publishes():
        schema.grant_to_relay("select", on="releases")
