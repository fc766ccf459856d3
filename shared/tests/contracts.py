"""Messages of a service that exists in tests only: wallets."""

from typing import NewType

from shared.core.messages import Command, Event, Reply

WalletId = NewType("WalletId", str)


class WalletOpened(Event, key="wallet_id"):
    wallet_id: WalletId
    owner: str


class Deposited(Event, key="wallet_id"):
    wallet_id: WalletId
    amount: int


class Withdrawn(Event, key="wallet_id"):
    wallet_id: WalletId
    amount: int


class Deposit(Command, key="wallet_id"):
    wallet_id: WalletId
    amount: int


class Withdraw(Command["Balance"], key="wallet_id"):
    wallet_id: WalletId
    amount: int


class Balance(Reply):
    amount: int


class Nudge(Command, key="wallet_id"):
    """Each test says what it does."""

    wallet_id: WalletId
    text: str = ""


class Heard(Event, key="wallet_id"):
    """Each test says what it leads to."""

    wallet_id: WalletId
    text: str = ""
