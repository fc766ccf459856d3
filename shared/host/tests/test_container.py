"""What the composition root adds to the parts that it puts together."""

from collections.abc import Sequence

import pytest
from dependency_injector import providers
from dependency_injector.errors import Error

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


@pytest.mark.parametrize(("name", "wrong"), [("info", "loans"), ("sagas", []), ("tables", None), ("tags", "orders")])
def test_what_a_service_gives_has_to_be_of_its_type(name: str, wrong: object) -> None:
    container = ServiceContainer(**{name: providers.Object(wrong)})
    with pytest.raises(Error, match="is not an instance of"):
        container.providers[name]()
