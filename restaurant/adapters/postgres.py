"""Where the restaurant service keeps its rows in PostgreSQL."""

from sqlalchemy import Column, Integer, MetaData, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from restaurant.domain.restaurant import Restaurant
from shared.eventsourcing.aggregate import Entity

_metadata = MetaData()

TABLES: dict[type[Entity], Table] = {
    Restaurant: Table(
        "restaurants",
        _metadata,
        Column("id", Text, primary_key=True),
        Column("version", Integer),
        Column("sequence", Integer),
        Column("name", Text),
        Column("address", JSONB),
        Column("menu", JSONB),
    ),
}
