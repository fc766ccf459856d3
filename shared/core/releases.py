"""Which releases of an application's code may work on the same data at the same time.

A release has a number. Each service's database keeps the numbers of the releases that have worked on it, and programs
have their number in the name of their sessions. So code that is older than the data, and code that must not run beside
what runs already, is told so when it starts.
"""

from dataclasses import dataclass

from shared.core.errors import TechnicalFault


@dataclass(frozen=True)
class Release:
    """A state of the code that others run.

    `beside` is the number of the oldest release that may run beside this one, and go on with what this one has
    written. `commit` is where it is in the project's history: known from the next release on.
    """

    number: int
    version: str
    beside: int
    commit: str = ""


BEFORE_THE_FIRST = 0
"""The number of everything older than the first release."""


class WrongRelease(TechnicalFault):
    """This code must not work on that data now. Its text is one line that says why, and what to do about it."""


@dataclass(frozen=True)
class Releases:
    """The releases of an application, the oldest first. The last one is the code that runs.

    `guide` names the page that tells operators how to upgrade; empty: there is none.
    """

    known: tuple[Release, ...] = (Release(1, "1", beside=1),)
    guide: str = ""

    @property
    def current(self) -> Release:
        """The release that this code is."""
        return self.known[-1]

    @property
    def first(self) -> Release:
        """The oldest release."""
        return self.known[0]

    def require_not_older(self, service: str, newest: Release | None) -> None:
        """Raise WrongRelease when code as old as this must not touch what the newest release has left in a database."""
        if newest is not None and newest.beside > self.current.number:
            raise WrongRelease(
                f"the data of {service} is from a newer version ({newest.version}) than this code"
                f" ({self.current.version}), and not for it to read: {self._what_to_do()}"
            )

    def require_known(self, service: str, migration: str, known: bool) -> None:
        """Raise WrongRelease when a database is at a migration that this code does not have."""
        if not known:
            raise WrongRelease(
                f"the data of {service} is from a newer version of the code: it is at migration {migration}, which"
                f" {self.current.version} does not know: {self._what_to_do()}"
            )

    def require_beside(self, service: str, running: int) -> None:
        """Raise WrongRelease when this release must not run beside one that runs on the same database."""
        if running < self.current.beside:
            raise WrongRelease(
                f"{self._name_of(running)} still runs on the data of {service}, and must not run beside"
                f" {self.current.version}: stop it first{self._see('; ')}"
            )

    def _what_to_do(self) -> str:
        return f"run the newer version, or bring back a backup from before the upgrade{self._see(': ')}"

    def _see(self, separator: str) -> str:
        return f"{separator}see {self.guide}" if self.guide else ""

    def _name_of(self, number: int) -> str:
        versions = {release.number: release.version for release in self.known}
        return versions.get(number, f"a version older than {self.first.version}")
