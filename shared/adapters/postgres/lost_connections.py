"""What asyncpg raises when a connection is lost or does not answer, besides what PostgreSQL itself says."""

import asyncpg

LOST_CONNECTION = (
    OSError,  # among them TimeoutError
    asyncpg.InterfaceError,  # the connection is closed, as a transaction's exit finds when its session was terminated
    asyncpg.InternalClientError,  # it was used between PostgreSQL's last word and its end
)
