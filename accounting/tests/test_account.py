"""The account: what may be authorized, and how much is."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounting.contracts import (
    AccountCreated,
    AccountDisabled,
    AccountEnabled,
    AccountRenamed,
    OrderAuthorizationReversed,
    OrderAuthorizationRevised,
    OrderAuthorized,
)
from accounting.domain.account import MAX_AUTHORIZED, Account
from accounting.domain.errors import AccountIsDisabled, AccountIsEnabled, TooMuchAuthorized
from kernel.values import ConsumerId, Money, OrderId
from shared.eventsourcing.snapshots import SnapshotFormat

ADA = ConsumerId("0197f2b0-0000-7000-8000-000000000001")
ORDER = OrderId("0197f2b0-0000-7000-8000-000000000002")


def account(*, enabled: bool = True) -> Account:
    """An account of Ada's."""
    made = Account.open(ADA, "Ada")
    if not enabled:
        made.disable()
    made.take_recorded()
    return made


def test_an_account_is_enabled_when_it_is_created() -> None:
    made = Account.open(ADA, "Ada")
    assert (made.name, made.enabled, made.authorized_total) == ("Ada", True, 0)
    assert list(made.recorded) == [AccountCreated(consumer_id=ADA, name="Ada")]


def test_an_account_has_its_consumers_name() -> None:
    made = account()
    made.rename("Ada")
    made.rename("Ada Lovelace")
    assert list(made.recorded) == [AccountRenamed(consumer_id=ADA, name="Ada Lovelace")]
    assert made.name == "Ada Lovelace"


def test_the_total_follows_authorizations() -> None:
    made = account()
    made.authorize(ORDER, Money(1000))
    made.authorize(ORDER, Money(500))
    made.revise(ORDER, Money(1000), Money(700))
    assert made.authorized_total == 1200
    made.reverse(ORDER, Money(700))
    assert made.authorized_total == 500
    assert list(made.recorded) == [
        OrderAuthorized(consumer_id=ADA, order_id=ORDER, order_total=Money(1000)),
        OrderAuthorized(consumer_id=ADA, order_id=ORDER, order_total=Money(500)),
        OrderAuthorizationRevised(
            consumer_id=ADA, order_id=ORDER, current_order_total=Money(1000), order_total=Money(700)
        ),
        OrderAuthorizationReversed(consumer_id=ADA, order_id=ORDER, order_total=Money(700)),
    ]


@pytest.mark.parametrize(
    "act",
    [
        lambda made: made.authorize(ORDER, Money(1)),
        lambda made: made.reverse(ORDER, Money(1)),
        lambda made: made.revise(ORDER, Money(1), Money(2)),
        Account.disable,
    ],
    ids=["authorize", "reverse", "revise", "disable"],
)
def test_a_disabled_account_refuses(act: Callable[[Account], None]) -> None:
    made = account(enabled=False)
    with pytest.raises(AccountIsDisabled, match="account is disabled"):
        act(made)
    assert (made.authorized_total, list(made.recorded)) == (0, [])


def test_an_account_is_disabled_and_enabled() -> None:
    made = account()
    with pytest.raises(AccountIsEnabled, match="account is enabled"):
        made.enable()
    made.disable()
    made.enable()
    assert list(made.recorded) == [AccountDisabled(consumer_id=ADA), AccountEnabled(consumer_id=ADA)]
    made.authorize(ORDER, Money(1))
    assert made.authorized_total == 1


def test_a_disabled_account_can_be_renamed() -> None:
    made = account(enabled=False)
    made.rename("Grace")
    assert (made.name, made.enabled) == ("Grace", False)


@given(st.lists(st.tuples(st.integers(1, 10**6), st.none() | st.integers(1, 10**6), st.booleans())))
def test_the_total_is_the_sum_of_what_stands(orders: list[tuple[int, int | None, bool]]) -> None:
    made, standing = account(), 0
    for total, revised, cancelled in orders:
        made.authorize(ORDER, Money(total))
        if revised is not None:
            made.revise(ORDER, Money(total), Money(revised))
        if cancelled:
            made.reverse(ORDER, Money(revised or total))
        else:
            standing += revised or total
    assert made.authorized_total == standing


def test_a_snapshot_is_whole() -> None:
    made = account()
    made.authorize(ORDER, Money(5))
    made.disable()
    made.take_recorded()
    snapshots = SnapshotFormat.of(Account)
    assert snapshots.restore(snapshots.take(made)).__dict__ == made.__dict__


def test_no_more_is_authorized_than_a_number_can_hold() -> None:
    made = account()
    made.authorize(ORDER, Money(MAX_AUTHORIZED - 1))
    with pytest.raises(TooMuchAuthorized, match=r"^account has too much authorized$"):
        made.authorize(ORDER, Money(2))
    with pytest.raises(TooMuchAuthorized):
        made.revise(ORDER, Money(10), Money(12))
    made.authorize(ORDER, Money(1))
    made.revise(ORDER, Money(10), Money(10))
    made.revise(ORDER, Money(10), Money(9))
    made.reverse(ORDER, Money(5))
    assert made.authorized_total == MAX_AUTHORIZED - 6
