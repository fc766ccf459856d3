"""The CPU time of processes, including processes that they started and that have ended."""

from collections.abc import Mapping
from contextlib import suppress

import psutil


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process and of all below it, in user and kernel mode.

    A process that has ended counts with the parent that has waited for it, as PostgreSQL's postmaster does for its
    backends. A process that has ended and was not waited for yet does not count at that moment.
    """
    process = psutil.Process(pid)
    total = _used(process)
    for child in process.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            total += _used(child)
    return total


def _used(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


def each_took(before: Mapping[str, float], after: Mapping[str, float], count: int) -> dict[str, float]:
    """Return the milliseconds that each part has used between two looks, per thing, for `count` things."""
    return {name: round(1000 * (after[name] - before[name]) / count, 3) for name in before} if count else {}
