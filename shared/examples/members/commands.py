"""What clients and other services can ask of the service."""

from shared import Command, Reply, UnitOfWork, handles, new_id
from shared.core.clock import Clock
from shared.core.policy import Policy
from shared.examples.members.contracts import CountLoan, MemberId
from shared.examples.members.domain import Member, MemberNotFound
from shared.unit_of_work.unit_of_work import Transaction


class MembersUnitOfWork(UnitOfWork):
    """A transaction, and the members in it."""

    def __init__(self, transaction: Transaction, clock: Clock, policy: Policy) -> None:
        super().__init__(transaction, clock, policy)
        self.members = self.aggregates(Member, MemberId, MemberNotFound)


class Join(Command["Joined"]):
    name: str


class Joined(Reply):
    member_id: MemberId


@handles
async def join(command: Join, uow: MembersUnitOfWork) -> Joined:
    member = await uow.members.add(Member.join(MemberId(new_id()), command.name))
    return Joined(member_id=MemberId(member.id))


@handles
async def count_loan(command: CountLoan, uow: MembersUnitOfWork) -> None:
    member = await uow.members.get(command.member_id)
    member.count_loan(command.book_id)
