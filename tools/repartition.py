"""Changes how many partitions the stream has. No message may be in flight, as keys move to other readers.

The system runs once more with the old count, on ports that no client knows, until everything has been handled. Then
the count that the stream keeps is changed, and the services' positions in the removed partitions are deleted.
"""

import time
from contextlib import AsyncExitStack

import asyncpg
from rich.console import Console

from kernel.topology import SERVICES
from shared.adapters.nats.connection import connect
from shared.adapters.nats.stream import change_partitions
from tools.system.process import LaunchError
from tools.system.supervisor import local_client
from tools.system.system import Arrangement, OtherPartitions, System, SystemSettings, on_free_ports
from tools.verify.command import when_at_rest

_ONLY_SERVERS = Arrangement(without=("relay", *(service.name for service in SERVICES)))


async def repartition(settings: SystemSettings, partitions: int, wait: float, console: Console) -> None:
    """Drain the stream and change the count. Raises LaunchError, and changes nothing, when messages stay in flight."""
    present = await _present(settings, partitions, console)
    if present == partitions:
        console.print(f"The stream has {partitions} partitions.")
        return
    console.print(f"The stream has {present} partitions: what is on its way is handled first.")
    system = on_free_ports(settings.model_copy(update={"partitions": present}))
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(local_client())
        supervisor = system.supervisor(client, console)
        stack.push_async_callback(supervisor.stop)
        await supervisor.start()
        await _drain(system, wait)
        for name in supervisor.children:
            if name not in ("postgres", "nats"):
                await supervisor.take_down(name)
        await _drain(system, wait=0)  # messages that a timer has sent meanwhile
        await _forget_others(system, partitions)
        async with connect(system.nats_address) as nats:
            await change_partitions(nats, partitions)
    console.print(f"It has {partitions} now: ./ftgo up --partitions {partitions}")


async def _present(settings: SystemSettings, partitions: int, console: Console) -> int:
    """Return the present number of partitions. NATS stores it, so it has to run."""
    system = on_free_ports(settings.model_copy(update={"partitions": partitions}), _ONLY_SERVERS)
    async with local_client() as client:
        supervisor = system.supervisor(client, console)
        try:
            await supervisor.start()
        except OtherPartitions as other:
            return other.stored
        finally:
            await supervisor.stop()
    return partitions


async def _drain(system: System, wait: float) -> None:
    databases = [system.database(service) for service in SERVICES]
    began = time.monotonic()
    unrest, findings = await when_at_rest(databases, system.nats_address, wait)
    wrong = [f"{each.invariant} {each.text}" for each in findings[:3]] + ([unrest] if unrest else [])
    if wrong:
        seconds = time.monotonic() - began
        raise LaunchError(f"nothing was changed, as not all is done after {seconds:.0f} s: {'; '.join(wrong)}")


async def _forget_others(system: System, partitions: int) -> None:
    """Delete the positions in removed partitions. Added again, they are read from the start; inboxes drop repeats."""
    for service in SERVICES:
        connection = await asyncpg.connect(system.database(service).migrations_url, timeout=10)
        try:
            for table in ("subscriptions", "subscription_checkpoints"):
                await connection.execute(f"delete from {table} where partition >= $1", partitions)
        finally:
            await connection.close()
