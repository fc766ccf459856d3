"""The member: somebody with a name, who may have three books at a time."""

from dataclasses import dataclass
from typing import assert_never

from shared import Aggregate, FailedPrecondition, InvalidArgument, NotFound
from shared.examples.members.contracts import LoanCounted, MemberId, MemberJoined

MAX_LOANS = 3


class MemberNotFound(NotFound):
    text = "member not found"


class NameMissing(InvalidArgument):
    text = "a member needs a name"


class TooManyLoans(FailedPrecondition):
    text = "the member has three books already"


@dataclass(eq=False)
class Member(Aggregate[MemberJoined | LoanCounted]):
    """Methods decide and record events. Only `apply` changes fields."""

    name: str = ""
    loans: int = 0

    @classmethod
    def join(cls, member_id: MemberId, name: str) -> "Member":
        """Return a new member. Raises NameMissing."""
        if not name.strip():
            raise NameMissing
        member = cls(id=member_id)
        member.record(MemberJoined(member_id=member_id, name=name))
        return member

    def count_loan(self, book_id: str) -> None:
        """Count one more book. Raises TooManyLoans."""
        if self.loans >= MAX_LOANS:
            raise TooManyLoans
        self.record(LoanCounted(member_id=MemberId(self.id), book_id=book_id))

    def apply(self, event: MemberJoined | LoanCounted) -> None:
        """Change the fields as the event says."""
        match event:
            case MemberJoined():
                self.name = event.name
            case LoanCounted():
                self.loans += 1
            case _:
                assert_never(event)
