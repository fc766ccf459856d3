"""The framework's entities as SQLAlchemy tables, and what services build theirs from."""

from sqlalchemy import Boolean, Column, DateTime, Integer, MetaData, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from shared.eventsourcing.aggregate import Entity
from shared.saga.instance import SagaInstance
from shared.unit_of_work.idempotency import KeptAnswer

Timestamp = DateTime(timezone=True)
_metadata = MetaData()

FRAMEWORK_TABLES: dict[type[Entity], Table] = {
    SagaInstance: Table(
        "sagas",
        _metadata,
        Column("id", Text, primary_key=True),
        Column("version", Integer),
        Column("type", Text),
        Column("key", Text),
        Column("data", JSONB),
        Column("step", Integer),
        Column("phase", Text),
        Column("awaiting", Text),
        Column("command", Text),
        Column("attempts", Integer),
        Column("resends", Integer),
        Column("due_at", Timestamp),
        Column("stuck", Boolean),
        Column("error", Text),
        Column("correlation_id", Text),
        Column("started_at", Timestamp),
        Column("updated_at", Timestamp),
    ),
    KeptAnswer: Table(
        "idempotency_keys",
        _metadata,
        Column("id", Text, primary_key=True),
        Column("version", Integer),
        Column("body_hash", Text),
        Column("answer", JSONB),
        Column("created_at", Timestamp),
    ),
}
