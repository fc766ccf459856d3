"""A consumer can be forgotten: the account stays, without the name."""

from kernel.topology import BY_NAME
from shared.adapters.postgres import schema

revision = "0009"
down_revision = "0007"

_PERSONAL = {"accounting.AccountCreated": {"name": ""}, "accounting.AccountRenamed": {"name": ""}}


def upgrade() -> None:
    schema.upgrade_9(BY_NAME["accounting"], _PERSONAL, ["accounting.AccountHolderErased"])
