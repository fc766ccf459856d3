"""Checkpoints name transactions, and how long the service has run is kept beside what its clock said."""

from kernel.topology import BY_NAME
from shared.adapters.postgres import schema

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    schema.upgrade_5(BY_NAME["consumer"])
