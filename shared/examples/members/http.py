"""The HTTP API of the service."""

from pydantic import BaseModel

from shared import Units
from shared.examples.members.commands import Join, MembersUnitOfWork
from shared.examples.members.domain import MemberNotFound, NameMissing
from shared.processing.command_queue import CommandQueue
from shared.web.parameters import Body, IdAnswer, IdInPath, Text
from shared.web.problems import problems
from shared.web.routes import Routes


class NewMember(Body):
    """Somebody who joins."""

    name: Text


class MemberView(BaseModel):
    """A member, and how many books they have."""

    name: str
    loans: int


def routes(commands: CommandQueue[MembersUnitOfWork], units: Units[MembersUnitOfWork]) -> Routes:
    """Return the routes of the API."""
    router = Routes(prefix="/api", tags=["members"])

    @router.post("/members", status_code=201, responses=problems(NameMissing, body=True))
    async def join(body: NewMember) -> IdAnswer:
        """Become a member."""
        return IdAnswer(id=(await commands.execute(Join(name=body.name))).member_id)

    @router.get("/members/{id}", responses=problems(MemberNotFound))
    async def get_member(id_: IdInPath) -> MemberView:
        """Return a member."""
        async with units.begin() as uow:
            member = await uow.members.get(id_)
            return MemberView(name=member.name, loans=member.loans)

    return router
