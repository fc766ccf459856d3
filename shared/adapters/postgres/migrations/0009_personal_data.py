"""Personal data can be overwritten, though events cannot be changed. Of which events, a service"s own migration says.

There is no 0008.
"""

from shared.adapters.postgres import schema

revision = "0009"
down_revision = "0007"


def upgrade() -> None:
    schema.let_personal_data_be_erased()
