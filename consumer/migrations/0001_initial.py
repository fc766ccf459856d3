"""The framework's tables."""

from kernel.topology import BY_NAME
from shared.adapters.postgres import schema

revision = "0001"
down_revision = None


def upgrade() -> None:
    schema.upgrade_1(BY_NAME["consumer"])
