"""A consumer can be forgotten: what tells of one can be overwritten."""

from kernel.topology import BY_NAME
from shared.adapters.postgres import schema

revision = "0009"
down_revision = "0007"

_NOWHERE = {"street1": "", "street2": None, "city": "", "state": "", "zip": ""}
_PERSONAL = {
    "consumer.ConsumerRegistered": {"name": ""},
    "consumer.ConsumerUpdated": {"name": ""},
    "consumer.AddressAdded": {"address_id": "", "address": _NOWHERE},
    "consumer.AddressUpdated": {"address_id": "", "address": _NOWHERE},
    "consumer.AddressRemoved": {"address_id": ""},
}


def upgrade() -> None:
    schema.upgrade_9(BY_NAME["consumer"], _PERSONAL, ["consumer.ConsumerErased"])
