"""The framework can overwrite what tells of a person; here nothing does."""

from kernel.topology import BY_NAME
from shared.adapters.postgres import schema

revision = "0009"
down_revision = "0007"


def upgrade() -> None:
    schema.upgrade_9(BY_NAME["kitchen"])
