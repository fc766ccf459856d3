"""The invariants on the system that the tests have started."""

from tests.api import PATIENCE
from tests.support.processes import RunningSystem
from tools.verify.command import when_at_rest
from tools.verify.facts import Finding


async def findings_at_rest(system: RunningSystem) -> list[Finding]:
    """What does not hold once nothing is on its way any more."""
    unrest, findings = await when_at_rest(system.databases.values(), system.nats_address, PATIENCE)
    assert not unrest, f"the system does not come to rest: {unrest}"
    return findings
