"""The whole system as real processes, once for the tests that leave it as it was, anew for those that break it."""

from collections.abc import Iterator

import pytest

from tests.support.infra import Infra
from tests.support.processes import RunningSystem, running_system


@pytest.fixture(scope="module")
def system(infra: Infra) -> Iterator[RunningSystem]:
    """Every service and a relay, ready."""
    with running_system(infra) as running:
        yield running
