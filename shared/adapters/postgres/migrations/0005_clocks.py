"""What is chosen by transactions instead of times, and a clock that is not trusted.

`relay_checkpoints.horizon`: every transaction that commits after the checkpoint has this id or a higher one, on the
server that `server` names. Older checkpoints do not say.

`clock_readings` says how long the service has run, whatever the clock said meanwhile: each row is a stretch of that
time (`lived`) with the earliest clock that was seen in it. `surely_past(age)` is the moment before which nothing was
dated within the last `age` of it: not what a clock that jumps ahead makes look old, nor what was dated while it was
behind.
"""

from alembic import op

from shared.adapters.postgres import schema

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
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
    schema.grant_to_service("select, insert, update, delete", on="clock_readings")
    if schema.publishes():
        schema.grant_to_relay("select", on="clock_readings")
