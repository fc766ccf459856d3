"""The fault `clock`, as far as it needs no libfaketime."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from kernel.topology import BY_NAME
from tools.chaos.command import chaos
from tools.chaos.faults import clock
from tools.chaos.faults.clock import Clock
from tools.system.embedded.postgres import SOCKETS
from tools.system.forks import can_fork
from tools.system.process import LaunchError
from tools.system.system import system_on_free_ports


def test_without_its_library_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "_LIBRARIES", tmp_path)
    with pytest.raises(LaunchError, match=r"clock needs libfaketime \(apt-get install faketime\)"):
        chaos(["clock"])


async def test_all_parts_but_nats_have_their_clock_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = tmp_path / "lib" / "faketime" / "libfaketimeMT.so.1"
    library.parent.mkdir(parents=True)
    library.touch()
    monkeypatch.setattr(clock, "_LIBRARIES", tmp_path)
    assert Clock.lacks() == ""
    (tmp_path / SOCKETS).symlink_to(tmp_path)  # made before PostgreSQL starts
    system = system_on_free_ports(tmp_path)
    async with AsyncExitStack() as stack:
        system = type(system)(system.settings, await Clock().arrange(system, stack))
    program = system.service_program(BY_NAME["order"])
    assert f"LD_PRELOAD={library}" in program.argv
    assert not can_fork(program), "what has been loaded is not loaded again"
    (file,) = (each.partition("=")[2] for each in program.argv if each.startswith("FAKETIME_TIMESTAMP_FILE="))
    assert Path(file).parent == tmp_path / "clocks"
    assert not any("LD_PRELOAD" in each for each in system.nats.program().argv)
