"""Services add to their history, and can't change it."""

from kernel.topology import BY_NAME
from shared.adapters.postgres import schema

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    schema.upgrade_3(BY_NAME["consumer"])
