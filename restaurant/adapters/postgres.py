"""Where the restaurant service keeps its rows in PostgreSQL."""

from sqlalchemy import Table

from restaurant.domain.restaurant import Restaurant
from shared.adapters.postgres.tables import table_of
from shared.eventsourcing.aggregate import Entity

TABLES: dict[type[Entity], Table] = {Restaurant: table_of(Restaurant, "restaurants")}
