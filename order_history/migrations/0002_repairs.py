"""What operators did by hand."""

from kernel.topology import BY_NAME
from shared.adapters.postgres import schema

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    schema.upgrade_2(BY_NAME["order_history"])
