"""The database in memory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from shared.adapters.memory.database import MemoryDatabase
from shared.testing.database.given import Databases, OpenDatabase
from shared.testing.database.suite import DatabaseSuite


@asynccontextmanager
async def _empty() -> AsyncIterator[MemoryDatabase]:
    yield MemoryDatabase()


class TestMemoryDatabase(DatabaseSuite):
    @pytest.fixture
    def databases(self) -> Databases:
        return _empty

    async def outbox(self, database: OpenDatabase) -> list[str]:
        assert isinstance(database, MemoryDatabase)
        return [publication.headers["ce-id"] for publication in database.outbox]
