"""A consumer can be forgotten: a delivery forgets its address once it has ended."""

from alembic import op

from kernel.topology import BY_NAME
from shared.adapters.postgres import schema

revision = "0009"
down_revision = "0007"


def upgrade() -> None:
    op.execute("alter table deliveries add column if not exists forgets_address boolean not null default false")
    schema.upgrade_9(BY_NAME["delivery"])
