"""The framework's tables."""

from shared.adapters.postgres import schema
from shared.runtime.topology import BY_NAME

revision = "0001"
down_revision = None


def upgrade() -> None:
    schema.upgrade_1(BY_NAME["consumer"])
