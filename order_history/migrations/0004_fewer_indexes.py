"""A saga that goes on, and a message that is handled, have fewer indexes to write."""

from kernel.topology import BY_NAME
from shared.adapters.postgres import schema

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    schema.upgrade_4(BY_NAME["order_history"])
