"""The database says which releases have worked on it."""

from kernel.topology import BY_NAME
from shared.adapters.postgres import schema

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    schema.upgrade_7(BY_NAME["accounting"])
