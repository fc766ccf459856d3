"""What a service's own migration says: here which events of parcels have personal data."""

from shared.adapters.postgres import schema
from shared.testing.database.given import ParcelSent, RecipientErased

revision = "0001"
down_revision = None


def upgrade() -> None:
    schema.let_personal_data_be_erased(ParcelSent, RecipientErased)
