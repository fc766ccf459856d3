"""A saga with every kind of step."""

from shared.saga.saga import Saga, Steps, local, pivot, step
from shared.tests.contracts import Balance, Deposit, Nudge, WalletId, Withdraw
from shared.tests.wallets import WalletUnitOfWork


class TransferSaga(Saga, key="wallet_id"):
    """Money goes from a wallet of the saga's own service to one elsewhere."""

    wallet_id: WalletId
    other: WalletId
    amount: int
    balance: int = 0

    @classmethod
    def steps(cls) -> Steps:
        return (
            local(cls.take, undo=cls.give_back),
            step(cls.ask, undo=cls.take_back_question),
            step(cls.look),
            step(cls.reserve, on_reply=cls.reserved, undo=cls.free),
            pivot(cls.decide),
            step(cls.pay),
            local(cls.charge),
        )

    async def take(self, uow: WalletUnitOfWork) -> None:
        (await uow.wallets.get(self.wallet_id)).withdraw(self.amount)

    async def give_back(self, uow: WalletUnitOfWork) -> None:
        wallet = await uow.wallets.get(self.wallet_id)
        wallet.deposit(self.amount)
        wallet.note(f"given back: {self.reason}")

    def ask(self) -> Nudge:
        return Nudge(wallet_id=self.other, text="may I?")

    def take_back_question(self) -> Nudge:
        return Nudge(wallet_id=self.other, text="forget it")

    def look(self) -> Nudge:
        return Nudge(wallet_id=self.other, text="look")

    def reserve(self) -> Withdraw:
        return Withdraw(wallet_id=self.other, amount=1)

    def reserved(self, reply: Balance) -> None:
        self.balance = reply.amount

    def free(self) -> Deposit:
        return Deposit(wallet_id=self.other, amount=1)

    def decide(self) -> Nudge:
        return Nudge(wallet_id=self.other, text=f"decide, you have {self.balance}")

    def pay(self) -> Deposit:
        return Deposit(wallet_id=self.other, amount=self.amount)

    async def charge(self, uow: WalletUnitOfWork) -> None:
        """A fee, which may not be there yet."""
        (await uow.wallets.get(self.wallet_id)).withdraw(1)
