"""The framework can overwrite what tells of a person; here nothing does."""

from shared.adapters.postgres import schema
from shared.runtime.topology import BY_NAME

revision = "0009"
down_revision = "0007"


def upgrade() -> None:
    schema.upgrade_9(BY_NAME["restaurant"])
