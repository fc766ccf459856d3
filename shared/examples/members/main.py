"""The composition root, and the process: `python -m shared.examples.members.main`."""

from shared import Handlers
from shared.examples.lending import MEMBERS
from shared.examples.members import commands, http
from shared.host.container import ServiceContainer, run


def container() -> ServiceContainer:
    """Return what the service is made of."""
    return ServiceContainer(
        info=MEMBERS,
        description="Knows the members of the lending library.",
        handlers=Handlers.of(commands),
        unit_of_work=commands.MembersUnitOfWork,
        api=http.routes,
        tags={"members": "Those who borrow books."},
    )


if __name__ == "__main__":
    run(container())
