"""Compares the system with systems in which one thing is done differently. All of them run, and take a load in turn."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace

from kernel.topology import SERVICES
from tools.bench import table_relays
from tools.bench.one_process import OneProcess
from tools.bench.orders import Load, Measured, Summary, measure
from tools.bench.running import Running, running
from tools.system.system import Arrangement, System

AS_IT_IS = "as it is"
BATCHES_OF_1 = "batches of 1"
POLLING = "polling relay"


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """What is different from the system as it is. With `notify`, the outboxes notify the relay of new rows."""

    arrangement: Arrangement = field(default_factory=Arrangement)
    kind: type[System] = System
    notify: bool = False
    keys: bool = True


def _with_variables(**variables: str) -> Arrangement:
    return Arrangement(variables=lambda _: variables)


def _with_relay(kind: str) -> Arrangement:
    return replace(_with_variables(**{table_relays.VARIABLE: kind}), runner=table_relays.MODULE)


ALTERNATIVES: Mapping[str, Alternative] = {
    AS_IT_IS: Alternative(),
    BATCHES_OF_1: Alternative(arrangement=_with_variables(FTGO_BATCH_SIZE="1")),
    "batches of 50": Alternative(arrangement=_with_variables(FTGO_BATCH_SIZE="50")),
    "listening relay": Alternative(arrangement=_with_relay("listening"), notify=True),
    POLLING: Alternative(arrangement=_with_relay("polling")),
    "one process": Alternative(kind=OneProcess),
    "synchronous_commit off": Alternative(arrangement=Arrangement(postgres_settings={"synchronous_commit": "off"})),
    "sync_interval always": Alternative(arrangement=Arrangement(nats_sync_interval="always")),
    "no idempotency keys": Alternative(keys=False),
}


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One run of a load on one of the systems."""

    alternative: str
    measured: Measured


@dataclass(frozen=True, kw_only=True)
class Both:
    """The summaries of both loads, over all runs, of an alternative."""

    closed: Summary
    open: Summary


def summarized(compared: Sequence[Compared]) -> dict[str, Both]:
    """Return the summaries by alternative."""

    def summary(name: str, *, closed: bool) -> Summary:
        own = (each.measured for each in compared if each.alternative == name)
        return Summary.of([each for each in own if (each.load.users is not None) is closed])

    names = dict.fromkeys(each.alternative for each in compared)
    return {name: Both(closed=summary(name, closed=True), open=summary(name, closed=False)) for name in names}


@asynccontextmanager
async def side_by_side(names: Iterable[str]) -> AsyncIterator[dict[str, Running]]:
    """Run a system of each of these alternatives. Raises LaunchError."""
    async with AsyncExitStack() as stack:
        systems = {}
        for name in names:
            alternative = ALTERNATIVES[name]
            systems[name] = await stack.enter_async_context(running(alternative.arrangement, alternative.kind))
            if alternative.notify:
                await _let_outboxes_tell(systems[name])
        yield systems


async def _let_outboxes_tell(system: Running) -> None:
    for service in SERVICES:
        async with system.admin(service.name) as connection:
            await connection.execute(table_relays.NOTIFY)


async def compare(
    systems: Mapping[str, Running], loads: Sequence[Load], runs: int, seed: int, warm_up: float, seconds: float
) -> AsyncIterator[Compared]:
    """Measure each load on each system, in turn. Raises LaunchError."""
    for number in range(1, runs + 1):
        for load in loads:
            for name, system in systems.items():
                own = replace(load, keys=ALTERNATIVES[name].keys)
                measured = await measure(system, own, number, seed, warm_up, seconds)
                yield Compared(alternative=name, measured=measured)
