"""Consumers who are to be forgotten, so that nothing is kept of orders that still come in their names."""

from dataclasses import dataclass

from shared.eventsourcing.aggregate import Entity


@dataclass(kw_only=True)
class ErasedConsumer(Entity):
    """A consumer who is to be forgotten. It has the consumer's id."""
