"""What other services may know and ask of accounts. An account's id is its consumer's."""

from kernel.values import ConsumerId, Money, OrderId
from shared.core.messages import Command, Event


class AuthorizeOrder(Command, key="consumer_id"):
    consumer_id: ConsumerId
    order_id: OrderId
    order_total: Money


class ReverseAuthorizeOrder(Command, key="consumer_id"):
    consumer_id: ConsumerId
    order_id: OrderId
    order_total: Money


class ReviseAuthorizeOrder(Command, key="consumer_id"):
    consumer_id: ConsumerId
    order_id: OrderId
    current_order_total: Money
    order_total: Money


class AccountCreated(Event, key="consumer_id", personal={"name": ""}):
    consumer_id: ConsumerId
    name: str


class AccountRenamed(Event, key="consumer_id", personal={"name": ""}):
    consumer_id: ConsumerId
    name: str


class AccountHolderErased(Event, key="consumer_id", erases=True):
    consumer_id: ConsumerId


class AccountDisabled(Event, key="consumer_id"):
    consumer_id: ConsumerId


class AccountEnabled(Event, key="consumer_id"):
    consumer_id: ConsumerId


class OrderAuthorized(Event, key="consumer_id"):
    consumer_id: ConsumerId
    order_id: OrderId
    order_total: Money


class OrderAuthorizationReversed(Event, key="consumer_id"):
    consumer_id: ConsumerId
    order_id: OrderId
    order_total: Money


class OrderAuthorizationRevised(Event, key="consumer_id"):
    consumer_id: ConsumerId
    order_id: OrderId
    current_order_total: Money
    order_total: Money
