"""Which application this is: several can share one NATS server and one PostgreSQL server."""

import re
from dataclasses import dataclass, field

from shared.core.releases import Releases

_NAME = re.compile(r"[a-z][a-z0-9]*")
_RESERVED = frozenset({"ce"})
"""CloudEvents' own headers begin with `ce-`."""


@dataclass(frozen=True)
class Application:
    """The services that talk to each other, under one name: each of them, and their relays, are given the same value.

    What servers and machines know by a name has the application's name in it: streams, subjects, replication slots,
    environment variables. So two applications on the same servers do not meet, even where their services have the same
    names. Their databases must have different names.

    `name` has lower-case letters and digits only. So a name that begins with `a-` or `a_` can't belong to an
    application called `ab`. `releases` are those of the application's code. Raises ValueError for another name.
    """

    name: str
    releases: Releases = field(default_factory=Releases)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or self.name in _RESERVED:
            raise ValueError(
                f"an application's name has lower-case letters and digits only, begins with a letter,"
                f" and is not {', '.join(sorted(_RESERVED))}: {self.name!r}"
            )

    @property
    def environment_prefix(self) -> str:
        """What the names of the environment variables begin with: `LOANS_` of an application `loans`."""
        return f"{self.name.upper()}_"

    @property
    def relay_program(self) -> str:
        """What the relays' sessions in PostgreSQL are called, before the release's number."""
        return f"{self.name} relay"

    def slot(self, database: str) -> str:
        """Return the name of the replication slot that the relay of a database reads from."""
        return f"{self.name}_{database}"

    def session_name(self, program: str) -> str:
        """Return the name of a program's sessions in PostgreSQL: it ends with the number of this release."""
        return f"{program}/{self.releases.current.number}"
