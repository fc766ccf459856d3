"""What is written stays written: services only add to events, outbox and repairs."""

from shared.adapters.postgres import schema

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    schema.revoke_from_service("update, delete", on="events, outbox, repairs")
    schema.revoke_from_service("insert, update, delete", on="relay_checkpoints")
    if schema.publishes():  # once more, as one role may be both
        schema.grant_to_relay("select, delete", on="outbox")
        schema.grant_to_relay("select, insert, delete", on="relay_checkpoints")
