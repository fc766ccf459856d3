"""The account: whether a consumer may spend, and how much is authorized."""

from dataclasses import dataclass, field
from typing import Self, assert_never

from accounting.contracts import (
    AccountCreated,
    AccountDisabled,
    AccountEnabled,
    AccountHolderErased,
    AccountRenamed,
    OrderAuthorizationReversed,
    OrderAuthorizationRevised,
    OrderAuthorized,
)
from accounting.domain.errors import AccountIsDisabled, AccountIsEnabled, TooMuchAuthorized
from kernel.values import ConsumerId, Money, OrderId
from shared.eventsourcing.aggregate import Aggregate

AccountEvent = (
    AccountCreated
    | AccountRenamed
    | AccountHolderErased
    | AccountDisabled
    | AccountEnabled
    | OrderAuthorized
    | OrderAuthorizationReversed
    | OrderAuthorizationRevised
)

MAX_AUTHORIZED = Money(2**53 - 1)
"""Of one account: the largest number that every reader of JSON takes as it is."""


@dataclass(eq=False)
class Account(Aggregate[AccountEvent]):
    """An account. It keeps the sum of the authorizations, not a list that would grow for ever."""

    name: str = field(init=False)
    enabled: bool = field(init=False)
    authorized_total: Money = Money(0)
    holder_erased: bool = False

    @property
    def consumer_id(self) -> ConsumerId:
        """The consumer that the account belongs to. The account has the same id."""
        return ConsumerId(self.id)

    @classmethod
    def open(cls, id_: ConsumerId, name: str) -> Self:
        """Opens an account for a consumer who has registered."""
        account = cls(id=id_)
        account.record(AccountCreated(consumer_id=account.consumer_id, name=name))
        return account

    def rename(self, name: str) -> None:
        """Changes the consumer's name; does nothing if the name is the same."""
        if name != self.name:
            self.record(AccountRenamed(consumer_id=self.consumer_id, name=name))

    def erase_holder(self) -> None:
        """Erases the consumer's name; the account itself stays."""
        if not self.holder_erased:
            self.record(AccountHolderErased(consumer_id=self.consumer_id))

    def disable(self) -> None:
        """Disables the account: nothing can be authorized, revised or reversed any more."""
        self._require_enabled()
        self.record(AccountDisabled(consumer_id=self.consumer_id))

    def enable(self) -> None:
        """Enables the account, so that it can be used again."""
        if self.enabled:
            raise AccountIsEnabled
        self.record(AccountEnabled(consumer_id=self.consumer_id))

    def authorize(self, order_id: OrderId, order_total: Money) -> None:
        """Authorizes an order's total to be charged."""
        self._require_enabled()
        self._require_room(order_total)
        self.record(OrderAuthorized(consumer_id=self.consumer_id, order_id=order_id, order_total=order_total))

    def reverse(self, order_id: OrderId, order_total: Money) -> None:
        """Reverses the authorization of an order: it will not be charged."""
        self._require_enabled()
        self.record(
            OrderAuthorizationReversed(consumer_id=self.consumer_id, order_id=order_id, order_total=order_total)
        )

    def revise(self, order_id: OrderId, current_order_total: Money, order_total: Money) -> None:
        """Revises the authorization of an order to another total."""
        self._require_enabled()
        self._require_room(order_total - current_order_total)
        self.record(
            OrderAuthorizationRevised(
                consumer_id=self.consumer_id,
                order_id=order_id,
                current_order_total=current_order_total,
                order_total=order_total,
            )
        )

    def apply(self, event: AccountEvent) -> None:
        """Changes the fields as the event says, without decisions or refusals."""
        match event:
            case AccountCreated():
                self.name, self.enabled = event.name, True
            case AccountRenamed():
                self.name = event.name
            case AccountHolderErased():
                self.name, self.holder_erased = "", True
            case AccountDisabled():
                self.enabled = False
            case AccountEnabled():
                self.enabled = True
            case OrderAuthorized():
                self.authorized_total = Money(self.authorized_total + event.order_total)
            case OrderAuthorizationReversed():
                self.authorized_total = Money(self.authorized_total - event.order_total)
            case OrderAuthorizationRevised():
                self.authorized_total = Money(self.authorized_total - event.current_order_total + event.order_total)
            case _:
                assert_never(event)

    def _require_enabled(self) -> None:
        if not self.enabled:
            raise AccountIsDisabled

    def _require_room(self, more: int) -> None:
        if more > 0 and self.authorized_total + more > MAX_AUTHORIZED:
            raise TooMuchAuthorized
