"""Orders, from the request to Approved: how many a second, how long each takes, and what that costs."""

import asyncio
import json
import math
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from shared.runtime.bench.cpu import each_took
from shared.runtime.bench.figures import Latency
from shared.runtime.bench.plan import MEASURED, MEASURING, Outcome, Plan
from shared.runtime.bench.running import Running, batch_sizes
from shared.runtime.process import LaunchError
from shared.runtime.system import ROOT
from shared.runtime.topology import SERVICES

GENERATOR = "generator"
_MOST_A_SECOND = 500
"""Orders in a closed loop, as far as they decide how many consumers there are."""
_ORDERS_OF_EACH = 10
_RESTAURANTS = 100
_LONGEST_ANSWER = 64 << 20


@dataclass(frozen=True, kw_only=True)
class Load:
    """So many users in a closed loop, or so many sagas a second in an open one."""

    users: int | None = None
    rate: float | None = None
    mix: bool = False

    def __str__(self) -> str:
        what = "sagas" if self.mix else "orders"
        return f"{self.users} users" if self.users is not None else f"{self.rate:g} {what}/s"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one run of a load has shown. `cpu` is in milliseconds for each saga, `memory` in bytes."""

    load: Load
    number: int
    a_second: float
    ended: Mapping[str, int]
    http: Latency | None
    end_to_end: Latency | None
    cpu: Mapping[str, float]
    batches: Mapping[str, float]
    memory: Mapping[str, int]
    unended: int
    failures: Mapping[str, int]

    @property
    def cpu_in_all(self) -> float:
        """Milliseconds of CPU for each saga, the generator's included."""
        return sum(self.cpu.values())


async def measure(running: Running, load: Load, number: int, seed: int, warm_up: float, seconds: float) -> Measured:
    """Run a load once. LaunchError when the generator fails, or a part of the system ends meanwhile."""
    expected = (load.rate or _MOST_A_SECOND) * (warm_up + seconds)
    system = running.system
    plan = Plan(
        urls={each.name: system.url(system.port(each)) for each in SERVICES},
        nats_url=system.nats_address.url,
        nats_user=system.nats_address.user or "",
        nats_password=system.nats_address.password or "",
        users=load.users,
        rate=load.rate,
        mix=load.mix,
        warm_up=warm_up,
        seconds=seconds,
        seed=f"{seed} {number}",
        consumers=math.ceil(expected / _ORDERS_OF_EACH),
        restaurants=_RESTAURANTS,
    )
    generator = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "shared.runtime.bench.generator",
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_LONGEST_ANSWER,
    )
    assert generator.stdin is not None
    assert generator.stdout is not None
    try:
        generator.stdin.write(json.dumps(asdict(plan)).encode())
        generator.stdin.close()
        await _expect(generator.stdout, MEASURING)
        before = await running.look()
        await _expect(generator.stdout, MEASURED)
        after = await running.look()
        memory = running.memory()
        outcome = Outcome(**json.loads(await _line(generator.stdout)))
        await generator.wait()
    finally:
        if generator.returncode is None:
            generator.kill()
            await generator.wait()
    if before.restarts != after.restarts or before.cpu.keys() != after.cpu.keys():
        raise LaunchError("a part of the system ended while it was measured")
    count = sum(outcome.ended.values())
    return Measured(
        load=load,
        number=number,
        a_second=round(count / outcome.window, 1),
        ended=outcome.ended,
        http=Latency.of(outcome.http),
        end_to_end=Latency.of(outcome.end_to_end),
        cpu=each_took({**before.cpu, GENERATOR: 0.0}, {**after.cpu, GENERATOR: outcome.cpu}, count),
        batches=batch_sizes(before, after),
        memory=memory,
        unended=outcome.unended,
        failures=outcome.failures,
    )


async def _expect(output: asyncio.StreamReader, line: bytes) -> None:
    if await output.readline() != line:
        raise LaunchError("the load generator has failed: see above")


async def _line(output: asyncio.StreamReader) -> bytes:
    if not (line := await output.readline()):
        raise LaunchError("the load generator has failed: see above")
    return line
