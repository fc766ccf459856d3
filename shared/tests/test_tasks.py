"""Tasks that a process lives by, and what becomes of it when one of them ends."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

import pytest

from shared.core.tasks import Tasks, beside

Work: TypeAlias = Callable[[], Coroutine[Any, Any, None]]


async def fail() -> None:
    raise ValueError("bug")


async def go_on() -> None:
    await asyncio.Event().wait()


async def end() -> None:
    return


@pytest.mark.parametrize(
    ("work", "reason"),
    [
        (fail, "first has ended: bug"),
        (end, "first has ended: it returned"),
        (go_on, "first has ended: it was cancelled"),
    ],
)
async def test_a_task_that_ends_is_a_failure(work: Work, reason: str) -> None:
    tasks = Tasks()
    task = tasks.start("first", work())
    if work is go_on:
        task.cancel()
    await tasks.ended.wait()
    assert tasks.failure == reason


async def test_the_first_failure_is_the_one_that_is_told() -> None:
    tasks = Tasks()
    await asyncio.wait([tasks.start("first", fail()), tasks.start("second", end())])
    assert tasks.failure == "first has ended: bug"


@pytest.mark.parametrize("work", [end, go_on])
async def test_who_ends_when_all_are_to_end_has_not_failed(work: Work) -> None:
    tasks = Tasks()
    task = tasks.start("first", work())
    tasks.stopping()
    task.cancel()
    await asyncio.wait([task])
    assert (tasks.failure, tasks.ended.is_set()) == (None, False)


async def test_who_fails_when_all_are_to_end_has_failed() -> None:
    tasks = Tasks()
    task = tasks.start("first", fail())
    tasks.stopping()
    await asyncio.wait([task])
    assert tasks.failure == "first has ended: bug"


async def test_what_fails_beside_a_block_ends_it() -> None:
    with pytest.raises(ValueError, match="bug"):
        async with beside(fail()):
            await go_on()


async def test_what_is_done_beside_a_block_ends_with_it() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await go_on()
        finally:
            ended.set()

    async with beside(work()):
        await asyncio.sleep(0)
    assert ended.is_set()
    ended.clear()
    with pytest.raises(KeyError, match="of the block"):
        async with beside(work()):
            await asyncio.sleep(0)
            raise KeyError("of the block")
    assert ended.is_set()
