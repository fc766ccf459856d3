"""A consumer can be forgotten: a delivery forgets its address once it has ended."""

from alembic import op

revision = "0009"
down_revision = "0001"


def upgrade() -> None:
    op.execute("alter table deliveries add column if not exists forgets_address boolean not null default false")
