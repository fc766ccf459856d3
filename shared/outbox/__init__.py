"""The transactional outbox and its relay."""

from datetime import timedelta

PUBLICATION = "ftgo_outbox"
"""What PostgreSQL calls the inserts of an outbox, for the relay to follow."""

LONGEST_TRANSACTION = timedelta(seconds=60)
"""No transaction that writes to an outbox is open for longer (`transaction_timeout`): a row that was created so long
before the relay's last checkpoint has been published."""
