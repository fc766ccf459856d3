"""What figures depend on besides the code: the machine, versions, and settings."""

import os
import platform
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from timeit import repeat

import asyncpg
import psutil

from kernel.topology import FTGO
from shared.adapters.nats.connection import connect
from shared.host.settings import PoolSettings, ServiceSettings
from tools.system.system import System

POSTGRES_SETTINGS = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers")


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """Where something was measured. `load` is the machine's load average before, as the kernel reports it.

    `python_ms` is the CPU that this Python takes for a fixed piece of work, in milliseconds. It differs by half between
    builds of one version, and on a virtual machine between one hour and the next.
    """

    machine: str
    cores: int
    memory_gb: float
    python_ms: float
    load: float
    versions: dict[str, str]
    settings: dict[str, str]


async def surroundings(system: System) -> Surroundings:
    """Describe this machine and a running system, as its servers themselves report it."""
    connection = await asyncpg.connect(system.postgres.admin_url, timeout=10)
    try:
        postgres = {name: str(await connection.fetchval(f"show {name}")) for name in POSTGRES_SETTINGS}
    finally:
        await connection.close()
    async with connect(system.nats_address) as nats:
        nats_version = nats.client.connected_server_version
    batch_size = os.environ.get("FTGO_BATCH_SIZE", ServiceSettings.model_fields["batch_size"].default)
    return Surroundings(
        machine=f"{_processor()}, {platform.system()} {platform.release()}",
        cores=len(os.sched_getaffinity(0)),
        memory_gb=round(psutil.virtual_memory().total / 1e9, 1),
        python_ms=round(1000 * min(repeat(_fixed_work, number=1, repeat=9, timer=time.process_time)), 1),
        load=round(os.getloadavg()[0], 2),
        versions={
            "Python": platform.python_version(),
            "PostgreSQL": postgres.pop("server_version"),
            "NATS": f"{nats_version.major}.{nats_version.minor}.{nats_version.patch}",
            "asyncpg": version("asyncpg"),
            "uvloop": version("uvloop"),
        },
        settings={
            **postgres,
            "JetStream sync_interval": system.nats.sync_interval or "default (2 min)",
            "partitions": str(system.settings.partitions),
            "replicas": str(max(system.arrangement.replicas.values(), default=1)),
            "batch size": str(batch_size),
            "pool size": str(PoolSettings(application=FTGO).pool_size),
            "traces": "exported" if "OTEL_EXPORTER_OTLP_ENDPOINT" in os.environ else "not exported",
        },
    )


def command_line() -> str:
    """The command line that started this program."""
    return " ".join(("./ftgo", *sys.argv[1:]))


class _Counted:
    def __init__(self, number: int) -> None:
        self.number = number

    def plus(self, other: int) -> int:
        return self.number + other


def _fixed_work() -> None:
    """Does the kinds of work that services spend their time on: calls, attributes, objects, dictionaries, text."""
    counted = {}
    for number in range(50_000):
        each = _Counted(number)
        counted[f"{number % 512}"] = (each, each.plus(number))


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if sys.platform == "linux" else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
