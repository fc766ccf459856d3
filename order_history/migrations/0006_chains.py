"""Who reads notices when the stream has lost something in its middle, and gets it again."""

from kernel.topology import BY_NAME
from shared.adapters.postgres import schema

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    schema.upgrade_6(BY_NAME["order_history"])
