"""What the composition root adds to the parts that it puts together."""

from collections.abc import Sequence

from dependency_injector import providers

from shared.adapters.memory.database import MemoryDatabase
from shared.core.messages import Event
from shared.core.policy import Policy
from shared.host.container import ServiceContainer
from shared.unit_of_work.unit_of_work import UnitOfWork


async def test_a_counter_that_fails_is_no_failure_of_what_was_committed() -> None:
    asked = []

    def count(events: Sequence[Event]) -> None:
        asked.append(events)
        raise OSError("no space left")

    container = ServiceContainer(
        database=providers.Object(MemoryDatabase()),
        policy=providers.Object(Policy()),
        unit_of_work=UnitOfWork,
        counters=count,
    )
    units = container.units()
    async with units.begin():
        pass
    assert asked == [[]]
