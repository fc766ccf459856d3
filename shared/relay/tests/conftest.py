"""Fixtures for the relay's tests."""

from collections.abc import Callable

import pytest

from shared.core.service_info import ServiceInfo
from shared.host.provision import Database
from tests.support.infra import NatsServer
from tests.support.schema import make_framework_tables


@pytest.fixture
def database(new_database: Callable[[str | ServiceInfo], Database]) -> Database:
    """The order service's database with the framework's tables."""
    database = new_database("order")
    make_framework_tables(database)
    return database


@pytest.fixture
def nats(new_nats: Callable[[], NatsServer]) -> NatsServer:
    """An empty broker of the test's own."""
    return new_nats()
