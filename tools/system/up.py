"""Runs `./ftgo up` as a separate process: benchmarks and failure tests start it as a user does."""

import asyncio
import os
from pathlib import Path

from tools.system.system import ROOT, System


async def start_up(system: System, output: Path, *arguments: str, **variables: str) -> asyncio.subprocess.Process:
    """Run `up` on a system's folder and ports, with extra environment variables. Its output is appended to a file."""
    settings = {f"FTGO_{name.upper()}": str(value) for name, value in system.settings.model_dump().items()}
    with output.open("ab") as file:
        return await asyncio.create_subprocess_exec(
            ROOT / "ftgo",
            "up",
            *arguments,
            env={**os.environ, **settings, **variables},
            stdout=file,
            stderr=asyncio.subprocess.STDOUT,
        )
