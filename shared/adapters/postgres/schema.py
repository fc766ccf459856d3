"""The tables that the framework keeps in every service's database, for the services' alembic migrations.

A released function here never changes: a later change of these tables is a further function, called by a further
migration of each service.
"""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from alembic import op
from sqlalchemy import text

if TYPE_CHECKING:
    from shared.core.service_info import ServiceInfo

PUBLICATION = "ftgo_outbox"
"""Each database has its own publication. Databases that exist have it under this name."""


def upgrade_1(service: "ServiceInfo") -> None:
    """Event store, outbox, inbox, subscriptions, set-aside messages, sagas and idempotency keys; the roles' rights."""
    for statement in filter(None, (part.strip() for part in _TABLES.split(";"))):
        op.execute(statement)
    grant_tables(service)
    if service.publishes:
        op.execute(f"create publication {PUBLICATION} for table outbox with (publish = 'insert')")
        op.execute(f"grant select, delete on outbox to {service.relay_role}")
        op.execute(f"grant select on events to {service.relay_role}")
        op.execute(f"grant select, insert, delete on relay_checkpoints to {service.relay_role}")


def grant_tables(service: "ServiceInfo") -> None:
    """Let the service use every table made so far, and change none of their definitions."""
    op.execute(f"grant select, insert, update, delete on all tables in schema public to {service.service_role}")


def upgrade_2(service: "ServiceInfo") -> None:
    """What operators did by hand, which services add to and never change."""
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
    op.execute(f"grant select, insert on repairs to {service.service_role}")


def upgrade_3(service: "ServiceInfo") -> None:
    """What is written stays written: services add to events, outbox and repairs. What is others' they leave alone."""
    op.execute(f"revoke update, delete on events, outbox, repairs from {service.service_role}")
    op.execute(f"revoke insert, update, delete on relay_checkpoints from {service.service_role}")
    if op.get_bind().scalar(text("select to_regclass('alembic_version') is not null")):
        op.execute(f"revoke insert, update, delete on alembic_version from {service.service_role}")


def upgrade_4(service: "ServiceInfo") -> None:
    """Fewer indexes to write. Each record of the log is read by the relays of all services on the server.

    No index has a column that changes while a saga goes on: with room in its page, a change touches the row alone
    (HOT). And ids of messages sort by time, so the inbox's oldest are found by its key.
    """
    # The first databases were made without the last of these.
    op.execute("drop index if exists inbox_handled_at, sagas_due, sagas_stuck, sagas_finished")
    op.execute("create index sagas_unfinished on sagas (started_at) where phase not in ('completed', 'undone')")
    op.execute("create index sagas_finished on sagas (started_at) where phase in ('completed', 'undone')")
    op.execute("alter table sagas set (fillfactor = 50)")


def upgrade_5(service: "ServiceInfo") -> None:
    """What is chosen by transactions instead of times, and a clock that is not believed.

    `relay_checkpoints.horizon`: every transaction that commits after the checkpoint has this id or a higher one, on the
    server that `server` names. Older checkpoints don't say.

    `clock_readings` says how long the service has run, whatever the clock said meanwhile: each row is a stretch of that
    time (`lived`) with the earliest clock that was seen in it. `surely_past(age)` is the moment before which nothing
    was dated within the last `age` of it: not what a clock that jumps ahead makes look old, nor what was dated while it
    was behind.
    """
    for column in ("horizon", "server"):
        op.execute(f"alter table relay_checkpoints add column if not exists {column} bigint")
    op.execute("""
        create table if not exists clock_readings (
            id        bigint      primary key,
            lived     interval    not null,
            earliest  timestamptz not null,
            latest    timestamptz not null
        )
    """)
    op.execute("""
        create or replace function surely_past(age interval) returns timestamptz stable language sql as $$
            select least(now() - age, (
                select min(earliest) from (
                    select earliest, sum(lived) over (order by id desc) - lived as since from clock_readings
                ) stretch where since < age))
        $$
    """)
    op.execute(f"grant select, insert, update, delete on clock_readings to {service.service_role}")
    if service.publishes:
        op.execute(f"grant select on clock_readings to {service.relay_role}")


def upgrade_6(service: "ServiceInfo") -> None:
    """The ends of the chains of what is sent to a service, and what is missing of it; what its relay has sent in which
    order. See `shared.messaging.chain`."""
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
    op.execute(f"grant select, insert on missing_messages to {service.service_role}")
    if service.publishes:
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
        op.execute(f"grant select, insert, delete on published_rows to {service.relay_role}")


def upgrade_7(service: "ServiceInfo") -> None:
    """The releases that have worked on the database, and since when. `beside`: see `shared.core.releases`."""
    op.execute("""
        create table releases (
            number   integer     primary key,
            version  text        not null,
            beside   integer     not null,
            since    timestamptz not null default now()
        )
    """)
    op.execute(f"grant select on releases to {service.service_role}")
    if service.publishes:
        op.execute(f"grant select on releases to {service.relay_role}")


def upgrade_9(
    service: "ServiceInfo", personal: Mapping[str, Mapping[str, object]] | None = None, erasing: Sequence[str] = ()
) -> None:
    """What tells of a person can be overwritten, though events can't be changed, once an event says so.

    `personal` has, by the types of events, their personal fields and what is written over them; `erasing` are the types
    of those that say so. Both are settled here: a service can't have anything else overwritten.
    """
    fields, says_so = json.dumps(personal or {}), json.dumps(list(erasing))
    op.get_bind().exec_driver_sql(f"""
        create or replace function erase_personal(of_aggregate text, of_id text) returns void
        language sql security definer set search_path = public, pg_temp as $$
            update events set data = data || (
                select coalesce(jsonb_object_agg(key, value), '{{}}')
                from jsonb_each('{fields}'::jsonb -> events.type) where events.data ? key
            )
            where aggregate = of_aggregate and id = of_id and '{fields}'::jsonb ? type and exists (
                select from events as said
                where said.aggregate = of_aggregate and said.id = of_id and '{says_so}'::jsonb ? said.type
            );
            delete from snapshots where aggregate = of_aggregate and id = of_id
        $$
    """)
    op.execute("revoke all on function erase_personal from public")
    op.execute(f"grant execute on function erase_personal to {service.service_role}")


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
