"""A consumer can be forgotten: personal data of one can be overwritten.

The numbers before this one were the library's: databases of before 0.2.0 have had them.
"""

from consumer.contracts import (
    AddressAdded,
    AddressRemoved,
    AddressUpdated,
    ConsumerErased,
    ConsumerRegistered,
    ConsumerUpdated,
)
from shared.adapters.postgres import schema

revision = "0009"
down_revision = None


def upgrade() -> None:
    schema.let_personal_data_be_erased(
        ConsumerRegistered, ConsumerUpdated, AddressAdded, AddressUpdated, AddressRemoved, ConsumerErased
    )
