"""Work that meets a Conflict is tried again, and not for ever."""

import pytest

from shared.core.errors import Conflict
from shared.processing.conflicts import TRIES, despite_conflicts


@pytest.mark.parametrize("conflicts", [0, 1, TRIES - 1])
async def test_work_that_gets_through_in_the_end_returns_its_result(conflicts: int) -> None:
    tries, noticed = 0, 0

    async def work() -> str:
        nonlocal tries
        tries += 1
        if tries <= conflicts:
            raise Conflict("busy")
        return "done"

    def notice() -> None:
        nonlocal noticed
        noticed += 1

    assert await despite_conflicts(work, notice) == "done"
    assert (tries, noticed) == (conflicts + 1, conflicts)


async def test_work_that_never_gets_through_is_given_up() -> None:
    tries = 0

    async def work() -> None:
        nonlocal tries
        tries += 1
        raise Conflict("busy")

    with pytest.raises(Conflict):
        await despite_conflicts(work)
    assert tries == TRIES


async def test_another_error_is_raised_at_once() -> None:
    tries = 0

    async def work() -> None:
        nonlocal tries
        tries += 1
        raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        await despite_conflicts(work)
    assert tries == 1
