"""What nobody asked about is told, unless somebody knows already."""

import asyncio
import gc
import logging
import socket

import pytest

from shared.host.event_loop import new_event_loop


@pytest.mark.parametrize(("error", "told"), [(socket.gaierror(-3, "no answer"), False), (ValueError("bug"), True)])
def test_only_a_look_up_that_was_given_up_is_passed_over(
    error: Exception, told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def forget() -> None:
        asyncio.get_running_loop().create_future().set_exception(error)
        gc.collect()

    with caplog.at_level(logging.ERROR, "asyncio"), asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(forget())
    assert ("never retrieved" in caplog.text) is told
