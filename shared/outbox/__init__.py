"""The transactional outbox and its relay."""

from datetime import timedelta

LONGEST_TRANSACTION = timedelta(seconds=60)
"""`transaction_timeout` of the connections that write to an outbox: how far back the relay has to look for rows that
were committed after a checkpoint."""
