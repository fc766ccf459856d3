"""A consumer can be forgotten: the account stays, without the name.

The numbers before this one were the library's: databases of before 0.2.0 have had them.
"""

from accounting.contracts import AccountCreated, AccountHolderErased, AccountRenamed
from shared.adapters.postgres import schema

revision = "0009"
down_revision = None


def upgrade() -> None:
    schema.let_personal_data_be_erased(AccountCreated, AccountRenamed, AccountHolderErased)
