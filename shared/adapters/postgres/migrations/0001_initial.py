"""Event store, outbox, inbox, subscriptions, set-aside messages, sagas and idempotency keys."""

from alembic import op

from shared.adapters.postgres import schema

revision = "0001"
down_revision = None

_SERVICE_TABLES = (
    "events, snapshots, outbox, relay_checkpoints, inbox, subscriptions, subscription_checkpoints, set_aside, sagas,"
    " idempotency_keys"
)


def upgrade() -> None:
    for statement in filter(None, (part.strip() for part in _TABLES.split(";"))):
        op.execute(statement)
    schema.grant_to_service("select, insert, update, delete", on=_SERVICE_TABLES)
    if schema.publishes():
        op.execute(f"create publication {schema.PUBLICATION} for table outbox with (publish = 'insert')")
        schema.grant_to_relay("select, delete", on="outbox")
        schema.grant_to_relay("select", on="events")
        schema.grant_to_relay("select, insert, delete", on="relay_checkpoints")


_TABLES = """
create table events (
    aggregate    text        not null,
    id           text        not null,
    version      integer     not null,
    type         text        not null,
    data         jsonb       not null,
    metadata     jsonb       not null,
    occurred_at  timestamptz not null,
    primary key (aggregate, id, version)
);

create table snapshots (
    aggregate  text    not null,
    id         text    not null,
    version    integer not null,
    tag        text    not null,
    state      jsonb   not null,
    primary key (aggregate, id)
);

create table outbox (
    id          bigint      generated always as identity primary key,
    subject     text        not null,
    key         text        not null,
    headers     text        not null,
    data        text        not null,
    created_at  timestamptz not null default now()
);
create index outbox_created_at on outbox using brin (created_at);

create table relay_checkpoints (
    row_id      bigint      primary key,
    lsn         pg_lsn      not null,
    stream_seq  bigint      not null,
    at          timestamptz not null default now()
);

create table inbox (
    message_id  text        primary key,
    row_id      text        not null,
    reply       text,
    handled_at  timestamptz not null default now()
);
create index inbox_handled_at on inbox (handled_at);

create table subscriptions (
    partition    integer     primary key,
    holder       bigint,
    lease_until  timestamptz,
    position     bigint      not null default 0,
    message_id   text,
    message_at   timestamptz
);

create table subscription_checkpoints (
    partition    integer     not null,
    position     bigint      not null,
    message_id   text        not null,
    message_at   timestamptz not null,
    at           timestamptz not null default now(),
    primary key (partition, position)
);

create table set_aside (
    seq           bigint      generated always as identity primary key,
    partition     integer     not null,
    key           text        not null,
    source        text        not null,
    message_id    text        not null,
    row_id        text        not null,
    headers       text        not null,
    data          text        not null,
    attempts      integer     not null default 0,
    set_aside_at  timestamptz not null,
    retry_at      timestamptz not null,
    parked_at     timestamptz,
    error         text        not null default ''
);
create index set_aside_by_key on set_aside (key, source, seq);

create table sagas (
    id             text        primary key,
    version        integer     not null,
    type           text        not null,
    key            text        not null,
    data           jsonb       not null,
    step           integer     not null,
    phase          text        not null,
    awaiting       text,
    command        text        not null,
    attempts       integer     not null,
    resends        integer     not null,
    due_at         timestamptz,
    stuck          boolean     not null,
    error          text        not null,
    correlation_id text        not null,
    started_at     timestamptz not null,
    updated_at     timestamptz not null
);
create index sagas_due on sagas (due_at) where due_at is not null;
create index sagas_stuck on sagas (updated_at) where stuck;
create index sagas_finished on sagas (updated_at) where phase in ('completed', 'undone');

create table idempotency_keys (
    id         text        primary key,
    version    integer     not null,
    body_hash  text        not null,
    answer     jsonb       not null,
    created_at timestamptz not null
);
create index idempotency_keys_created_at on idempotency_keys (created_at);
"""
