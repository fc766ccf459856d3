"""Forks are processes like any other: nothing of one is another's."""

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import psutil

from shared.runtime.forks import ForkedProcess, can_fork, fork
from shared.runtime.process import Program
from shared.testing.infra import wait_until

FACTS = "shared.runtime.tests.fork_facts"


def program(folder: Path, *arguments: str, **environment: str) -> Program:
    return Program("facts", (sys.executable, "-m", FACTS, *arguments), environment, folder)


def told(log: Path) -> dict[str, Any]:
    wait_until(lambda: log.exists() and log.read_text().endswith("\n"))
    facts: dict[str, Any] = json.loads(log.read_text())
    return facts


async def ended(process: ForkedProcess) -> int:
    async with asyncio.timeout(30):
        return await process.wait()


async def test_a_fork_has_its_programs_arguments_environment_and_folder(tmp_path: Path) -> None:
    process = await fork(program(tmp_path, "a", "b", SOME="setting"), tmp_path / "log")
    assert await ended(process) == process.returncode == 3
    facts = told(tmp_path / "log")
    assert (facts["arguments"], facts["environment"]) == (["a", "b"], {"SOME": "setting"})
    assert (facts["pid"], facts["group"], facts["folder"]) == (process.pid, process.pid, str(tmp_path))


async def test_forks_make_ids_and_chances_of_their_own(tmp_path: Path) -> None:
    logs = [tmp_path / "one", tmp_path / "two"]
    await asyncio.gather(*[ended(await fork(program(tmp_path), log)) for log in logs])
    one, two = [told(log) for log in logs]
    assert one["id"] != two["id"]
    assert one["random"] != two["random"]


async def test_a_fork_can_be_ended_by_a_signal(tmp_path: Path) -> None:
    process = await fork(program(tmp_path, "wait"), tmp_path / "log")
    told(tmp_path / "log")
    process.send_signal(signal.SIGTERM)
    assert await ended(process) == -signal.SIGTERM
    process.send_signal(signal.SIGTERM)  # nobody is there, and nobody else may get it


async def test_a_fork_carries_its_name(tmp_path: Path) -> None:
    process = await fork(program(tmp_path, "wait"), tmp_path / "log")
    told(tmp_path / "log")
    assert psutil.Process(process.pid).cmdline()[0] == "ftgo: facts"
    process.send_signal(signal.SIGKILL)
    assert await ended(process) == -signal.SIGKILL


def test_only_modules_of_ours_can_be_forked(tmp_path: Path) -> None:
    assert can_fork(program(tmp_path))
    assert not can_fork(Program("nats", ("nats-server", "-m", "8222"), {}, tmp_path))
