"""What alembic runs for every service: its migrations, on its own database, under a lock."""

from alembic import context
from sqlalchemy import create_engine, pool, text

_LOCK = 4_206_913_377  # any number that nothing else locks

engine = create_engine(
    context.config.attributes["url"],
    poolclass=pool.NullPool,
    connect_args={
        "connect_timeout": 5,
        "tcp_user_timeout": 30_000,
        "options": "-c idle_in_transaction_session_timeout=60s",  # a stopped process would hold the lock for ever
    },
)
with engine.begin() as connection:
    connection.execute(text(f"select pg_advisory_xact_lock({_LOCK})"))
    cursor = connection.connection.cursor()
    if context.config.attributes["may_migrate"](cursor):
        context.configure(connection=connection)
        context.run_migrations()
        context.config.attributes["migrated"](cursor)
