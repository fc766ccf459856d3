"""What relays have sent in which order: the ends of the chains of what is sent to a service, and what is missing of it.

`shared.messaging.chain` says how they are used.
"""

from alembic import op

from shared.adapters.postgres import schema

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.execute("alter table subscriptions add column if not exists heads jsonb not null default '{}'")
    op.execute("""
        create table if not exists missing_messages (
            partition   integer     not null,
            sender      text        not null,
            after_row   bigint      not null,
            before_row  bigint      not null,
            found_at    timestamptz not null default now(),
            primary key (partition, sender, before_row)
        )
    """)
    schema.grant_to_service("select, insert", on="missing_messages")
    if schema.publishes():
        op.execute("""
            create table if not exists published_rows (
                id       bigint    generated always as identity primary key,
                lsn      pg_lsn    not null,
                row_ids  bigint[]  not null,
                lowest   bigint    not null,
                highest  bigint    not null,
                heads    jsonb     not null
            )
        """)
        op.execute("create index if not exists published_rows_highest on published_rows (highest)")
        schema.grant_to_relay("select, insert, delete", on="published_rows")
