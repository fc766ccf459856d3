"""What other services may know and ask of members."""

from typing import NewType

from shared import Command, Event

MemberId = NewType("MemberId", str)


class MemberJoined(Event, key="member_id", personal={"name": ""}):
    member_id: MemberId
    name: str


class LoanCounted(Event, key="member_id"):
    member_id: MemberId
    book_id: str


class CountLoan(Command, key="member_id"):
    member_id: MemberId
    book_id: str
