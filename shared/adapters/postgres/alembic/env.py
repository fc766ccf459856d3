"""What alembic runs for each chain of migrations: `shared/adapters/postgres/migrate.py` holds the transaction."""

from alembic import context

attributes = context.config.attributes
context.configure(connection=attributes["connection"], version_table=attributes["version_table"])
context.run_migrations()
