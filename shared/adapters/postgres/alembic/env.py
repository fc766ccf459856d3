"""What alembic runs for every service: its migrations, on its own database, under a lock."""

from alembic import context
from sqlalchemy import create_engine, pool, text

_LOCK = 4_206_913_377  # any number that nothing else locks

engine = create_engine(context.config.attributes["url"], poolclass=pool.NullPool)
with engine.begin() as connection:
    connection.execute(text(f"select pg_advisory_xact_lock({_LOCK})"))
    context.configure(connection=connection)
    context.run_migrations()
