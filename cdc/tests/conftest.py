"""The fixtures of the relay's tests."""

from shared.relay.tests.conftest import database, nats

__all__ = ["database", "nats"]
