"""Orders, from the request to Approved: how many per second, how long each takes, and what that costs."""

import asyncio
import json
import math
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Self, TypeVar

from tools.bench.cpu import each_took
from tools.bench.figures import Latency, Spread
from tools.bench.plan import MEASURED, MEASURING, Outcome, Plan
from tools.bench.running import Running, batch_sizes
from tools.system.process import LaunchError
from tools.system.system import ROOT, System

T = TypeVar("T")

GENERATOR = "generator"
_MAX_PER_SECOND = 500
"""The assumed highest rate of orders in a closed loop, for computing the number of consumers."""
_ORDERS_OF_EACH = 10
_RESTAURANTS = 100


@dataclass(frozen=True, kw_only=True)
class Load:
    """A number of users in a closed loop, or a rate of sagas per second in an open loop. See `Plan`."""

    users: int | None = None
    rate: float | None = None
    mix: bool = False
    reads: bool = False
    keys: bool = True

    def __str__(self) -> str:
        if self.users is not None:
            return f"{self.users} user{'' if self.users == 1 else 's'}"
        return f"{self.rate:g} {'sagas' if self.mix else 'orders'}/s"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The results of one run of a load. `cpu` is in milliseconds per saga, `memory` in bytes.

    `in_all` counts the sagas that ended at any time, including the warm-up.
    """

    load: Load
    number: int
    a_second: float
    ended: Mapping[str, int]
    http: Latency | None
    end_to_end: Latency | None
    reads: Mapping[str, Latency | None]
    cpu: Mapping[str, float]
    batches: Mapping[str, float]
    memory: Mapping[str, int]
    in_all: int
    unended: int
    failures: Mapping[str, int]

    @property
    def cpu_in_all(self) -> float:
        """Milliseconds of CPU per saga, including the generator's."""
        return sum(self.cpu.values())


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The results of all runs of a load. Latencies are in milliseconds, by kind and by share (p50, …, max)."""

    load: Load
    runs: int
    a_second: Spread
    cpu: Spread
    latencies: Mapping[str, Mapping[str, Spread]]

    @classmethod
    def of(cls, runs: Sequence[Measured]) -> Self:
        """Return the summary of at least one run of a load."""
        each_run = [{"HTTP": each.http, "saga": each.end_to_end, **each.reads} for each in runs]
        return cls(
            load=runs[0].load,
            runs=len(runs),
            a_second=Spread.of([each.a_second for each in runs]),
            cpu=Spread.of([each.cpu_in_all for each in runs]),
            latencies={what: _spreads([found for each in each_run if (found := each[what])]) for what in each_run[0]},
        )


def _spreads(latencies: Sequence[Latency]) -> dict[str, Spread]:
    return {share: Spread.of([getattr(each, share) for each in latencies]) for share in Latency.SHARES if latencies}


async def measure(running: Running, load: Load, number: int, seed: int, warm_up: float, seconds: float) -> Measured:
    """Run a load once. LaunchError when the generator fails, or a part of the system ends meanwhile."""
    plan = plan_of(running.system, load, f"{seed} {number}", warm_up, seconds)
    before, after, outcome = await play(plan, running.look)
    memory = running.memory()
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
        reads={what: Latency.of(seconds) for what, seconds in outcome.reads.items()},
        cpu=each_took({**before.cpu, GENERATOR: 0.0}, {**after.cpu, GENERATOR: outcome.cpu}, count),
        batches=batch_sizes(before, after),
        memory=memory,
        in_all=outcome.in_all,
        unended=outcome.unended,
        failures=outcome.failures,
    )


def plan_of(system: System, load: Load, seed: str, warm_up: float, seconds: float) -> Plan:
    """Return the plan for the generator."""
    expected = (load.rate or _MAX_PER_SECOND) * (warm_up + seconds)
    return Plan(
        urls=system.urls,
        nats_url=system.nats_address.url,
        nats_user=system.nats_address.user or "",
        nats_password=system.nats_address.password or "",
        users=load.users,
        rate=load.rate,
        mix=load.mix,
        reads=load.reads,
        keys=load.keys,
        warm_up=warm_up,
        seconds=seconds,
        seed=seed,
        consumers=math.ceil(expected / _ORDERS_OF_EACH),
        restaurants=_RESTAURANTS,
    )


async def play(plan: Plan, look: Callable[[], Awaitable[T]]) -> tuple[T, T, Outcome]:
    """Run the generator, and look when it begins to measure and when it has finished. LaunchError when it fails."""
    generator = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tools.bench.generator",
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert generator.stdin is not None
    assert generator.stdout is not None
    try:
        generator.stdin.write(json.dumps(asdict(plan)).encode())
        generator.stdin.close()
        await _expect(generator.stdout, MEASURING)
        before = await look()
        await _expect(generator.stdout, MEASURED)
        after = await look()
        told = await generator.stdout.read()
        if await generator.wait():
            raise LaunchError(f"the load generator has failed, with exit status {generator.returncode}: see above")
        outcome = Outcome(**json.loads(told))
    finally:
        if generator.returncode is None:
            generator.kill()
            await generator.wait()
    return before, after, outcome


async def _expect(output: asyncio.StreamReader, line: bytes) -> None:
    if await output.readline() != line:
        raise LaunchError("the load generator has failed: see above")
