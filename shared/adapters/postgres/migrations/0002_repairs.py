"""What operators did by hand, which services add to and never change."""

from alembic import op

from shared.adapters.postgres import schema

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute("""
        create table repairs (
            id        bigint      generated always as identity primary key,
            at        timestamptz not null,
            operator  text        not null,
            action    text        not null,
            subject   text        not null,
            type      text        not null,
            key       text        not null,
            reason    text        not null,
            details   jsonb       not null
        )
    """)
    op.execute("create index set_aside_parked on set_aside (seq) where parked_at is not null")
    schema.grant_to_service("select, insert", on="repairs")
