"""What operators did by hand."""

from shared.adapters.postgres import schema
from shared.runtime.topology import BY_NAME

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    schema.upgrade_2(BY_NAME["delivery"])
