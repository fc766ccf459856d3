"""The releases of this code, and which of them may work on the same data at the same time.

A release has a number. Each service's database stores the numbers of the releases that have worked on it, and programs
have their number in the names of their sessions. So code that is older than the data, or that must not run beside a
running release, learns this at its start and stops: docs/upgrading.md.
"""

from dataclasses import dataclass

from shared.core.errors import TechnicalFault


@dataclass(frozen=True)
class Release:
    """A published state of the code.

    `beside` is the number of the oldest release that may run beside this one, and read what this one has written.
    `commit` is the release's commit in this repository: it is filled in with the next release.
    """

    number: int
    version: str
    beside: int
    commit: str = ""


RELEASES = (
    Release(1, "0.1.0", beside=1, commit="43c9deb984bf6fdefb1031b1e684160ccb5b15b3"),
    Release(2, "0.2.0", beside=1),
)
"""The oldest first. The last one is this code."""

CURRENT = RELEASES[-1]
PREVIOUS = RELEASES[-2]

BEFORE_THE_FIRST = 0
"""The number of all code older than the first release."""

_WHAT_TO_DO = "run the newer version, or bring back a backup from before the upgrade: see docs/upgrading.md"


class WrongRelease(TechnicalFault):
    """This code must not work on that data now. Its text is one line: the reason, and what to do."""


def session_name(program: str) -> str:
    """Return the name of this release's sessions in PostgreSQL."""
    return f"{program}/{CURRENT.number}"


def require_not_older(service: str, newest: Release | None) -> None:
    """Raise WrongRelease when this code is too old for data that the newest release has left in a database."""
    if newest is not None and newest.beside > CURRENT.number:
        raise WrongRelease(
            f"the data of {service} is from a newer version ({newest.version}) than this code ({CURRENT.version}),"
            f" which cannot read it: {_WHAT_TO_DO}"
        )


def require_known(service: str, migration: str, known: bool) -> None:
    """Raise WrongRelease when a database is at a migration that this code does not have."""
    if not known:
        raise WrongRelease(
            f"the data of {service} is from a newer version of the code: it is at migration {migration}, which"
            f" {CURRENT.version} does not know: {_WHAT_TO_DO}"
        )


def require_beside(service: str, running: int) -> None:
    """Raise WrongRelease when this release must not run beside one that runs on the same database."""
    if running < CURRENT.beside:
        raise WrongRelease(
            f"{_name_of(running)} still runs on the data of {service}, and must not run beside {CURRENT.version}:"
            " stop it first; see docs/upgrading.md"
        )


def _name_of(number: int) -> str:
    known = {release.number: release.version for release in RELEASES}
    return known.get(number, f"a version older than {RELEASES[0].version}")
