"""Whatever fails, waits, comes twice or is refused: each message has its effect once, and in its sender's order."""

import asyncio
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.core.errors import Conflict, TechnicalFault
from shared.core.messages import Done, Refused
from shared.messaging.envelope import Received
from shared.messaging.set_aside import ParkedFilter
from shared.tests.contracts import Nudge, WalletId
from shared.tests.wallets import NotEnough, WalletNotFound, WalletService, WalletUnitOfWork, received

WALLETS = ("a", "b", "c")
OUTCOMES = {
    "fault": TechnicalFault("the disk is full"),
    "conflict": Conflict("busy"),
    "bug": ValueError("boom"),
    "not yet": WalletNotFound(),
    "refused": NotEnough(),
}


class World:
    """A service whose messages go as they are told to, try by try; then they are carried out."""

    def __init__(self) -> None:
        self.service = WalletService(nudge=self.nudge)
        self.outcomes: dict[str, list[str]] = {}

    async def nudge(self, command: Nudge, uow: WalletUnitOfWork) -> None:
        wallet = await uow.wallets.get(command.wallet_id)
        wallet.note(command.text)
        coming = self.outcomes[command.text]
        if coming:
            outcome = coming[0] if coming[0] == "refused" else coming.pop(0)
            if outcome == "flush":
                await uow.flush()
                return await self.nudge(command, uow) if coming and coming[0] == "refused" else None
            raise OUTCOMES[outcome]
        return None

    async def handle(self, batch: list[Received]) -> None:
        placed = self.service.placed(*batch)
        while True:
            try:
                return await self.service.partition.handle(placed)
            except TechnicalFault:  # as a subscription does: the same again, from where the position is
                position = self.service.database.positions.get(0)
                placed = [message for message in placed if position is None or message.position > position.position]

    async def work_due(self, after: timedelta) -> None:
        self.service.clock.advance(after)
        while True:
            try:
                return await self.service.partition.work_due()
            except TechnicalFault:
                continue

    async def settle(self) -> None:
        """Operators see to what is parked, until nothing waits."""
        for _ in range(200):
            if not self.service.waiting():
                return
            async with self.service.database.transaction() as tx:
                for parked in await tx.waiting_room.parked(ParkedFilter(), 1000):
                    await tx.waiting_room.redrive(parked.message.line, self.service.clock.now)
            await self.work_due(timedelta(days=1))
        raise AssertionError(f"it still waits: {self.service.waiting()}")


outcomes = st.lists(st.sampled_from(["fault", "conflict", "bug", "not yet"]), max_size=4)
fates: st.SearchStrategy[list[str]] = st.one_of(
    st.just([]), outcomes, outcomes.map(lambda before: [*before, "refused"]), outcomes.map(lambda it: [*it, "flush"])
)


@st.composite
def scripts(draw: st.DrawFn) -> list[tuple[list[tuple[str, int, str]], int]]:
    """Batches of `(wallet, number, row)`, with the seconds that go by after each; some come again."""
    numbers = dict.fromkeys(WALLETS, 0)
    sent: list[tuple[str, int]] = []
    script = []
    for _ in range(draw(st.integers(1, 6))):
        batch = []
        for _ in range(draw(st.integers(1, 6))):
            if sent and draw(st.integers(0, 3)) == 0:
                wallet, number = draw(st.sampled_from(sent))
                batch.append((wallet, number, draw(st.sampled_from(["first", "again", "and again"]))))
            else:
                wallet = draw(st.sampled_from(WALLETS))
                numbers[wallet] += 1
                sent.append((wallet, numbers[wallet]))
                batch.append((wallet, numbers[wallet], "first"))
        script.append((batch, draw(st.sampled_from([0, 0, 1, 10]))))
    return script


@given(scripts(), st.data())
@settings(max_examples=60)
def test_each_message_has_its_effect_once_and_in_order(
    script: list[tuple[list[tuple[str, int, str]], int]], data: st.DataObject
) -> None:
    world = World()
    refused: set[str] = set()
    expected: dict[str, list[str]] = {wallet: [] for wallet in WALLETS}
    for batch, _ in script:
        for wallet, number, _ in batch:
            text = f"{wallet}{number}"
            if text not in world.outcomes:
                world.outcomes[text] = data.draw(fates)
                # A refusal is final: what it had done is not there, whatever it met before.
                if "refused" in world.outcomes[text]:
                    refused.add(text)
                else:
                    expected[wallet].append(text)

    async def play() -> None:
        await world.service.open(*WALLETS)
        for batch, seconds in script:
            messages = [
                received(Nudge(wallet_id=WalletId(wallet), text=f"{wallet}{number}"), f"{wallet}{number}", row=row)
                for wallet, number, row in batch
            ]
            await world.handle(messages)
            await world.work_due(timedelta(seconds=seconds))
        await world.settle()
        database = world.service.database
        for wallet in WALLETS:
            notes = (await world.service.wallet(wallet)).notes
            late = _refused_for_lateness(world, wallet, expected[wallet])
            assert notes == [text for text in expected[wallet] if text not in late]
        assert set(database.inbox) == set(world.outcomes)
        for text, claim in database.inbox.items():
            assert claim.reply is not None
            assert (claim.reply.type == Refused.type_name) is (
                text in refused or text in _refused_for_lateness(world, text[0], expected[text[0]])
            )
            answers = [type_ for id_, type_ in world.service.replies() if id_ == text]
            assert len(set(answers)) == 1
            assert set(answers) <= {Done.type_name, Refused.type_name}

    asyncio.run(play())


def _refused_for_lateness(world: World, wallet: str, texts: list[str]) -> set[str]:
    """Commands that were still not possible when their grace period had ended were refused."""
    return {
        text
        for text in texts
        if (claim := world.service.database.inbox.get(text)) is not None
        and claim.reply is not None
        and claim.reply.type == Refused.type_name
        and '"code":"wallet_not_found"' in claim.reply.data
    }
