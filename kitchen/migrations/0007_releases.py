"""The database says which releases have worked on it."""

from shared.adapters.postgres import schema
from shared.runtime.topology import BY_NAME

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    schema.upgrade_7(BY_NAME["kitchen"])
