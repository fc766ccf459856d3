"""The invariants on the system that the tests have started."""

from shared.runtime.verify.command import when_at_rest
from shared.runtime.verify.facts import Finding
from shared.testing.processes import RunningSystem
from tests.api import PATIENCE


async def findings_at_rest(system: RunningSystem) -> list[Finding]:
    """What does not hold once nothing is on its way any more."""
    unrest, findings = await when_at_rest(system.databases.values(), system.nats_address, PATIENCE)
    assert not unrest, f"the system does not come to rest: {unrest}"
    return findings
