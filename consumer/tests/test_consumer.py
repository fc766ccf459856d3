"""The consumer: a name, and addresses under labels."""

from functools import partial

import pytest

from consumer.contracts import (
    AddressAdded,
    AddressRemoved,
    AddressUpdated,
    ConsumerErased,
    ConsumerRegistered,
    ConsumerUpdated,
)
from consumer.domain.consumer import MAX_ADDRESSES, Consumer
from consumer.domain.errors import (
    AddressAlreadyExists,
    AddressNotFound,
    ConsumerNotFound,
    ConsumerWithoutName,
    TooManyAddresses,
)
from kernel.values import Address, ConsumerId
from shared.eventsourcing.snapshots import SnapshotFormat

ADA = ConsumerId("0197f2b0-0000-7000-8000-000000000001")
HOME = Address(street1="1 Main Street", street2="Unit 99", city="Oakland", state="CA", zip="94611")
WORK = Address(street1="2 Side Street", city="Oakland", state="CA", zip="94612")


def registered() -> Consumer:
    consumer = Consumer.register(ADA, "Ada")
    consumer.take_recorded()
    return consumer


def test_what_happens_to_a_consumer() -> None:
    consumer = Consumer.register(ADA, "Ada")
    consumer.rename("Ada Lovelace")
    consumer.add_address("home", HOME)
    consumer.update_address("home", WORK)
    assert (consumer.name, consumer.addresses) == ("Ada Lovelace", {"home": WORK})
    consumer.remove_address("home")
    assert consumer.addresses == {}
    assert list(consumer.recorded) == [
        ConsumerRegistered(consumer_id=ADA, name="Ada"),
        ConsumerUpdated(consumer_id=ADA, name="Ada Lovelace"),
        AddressAdded(consumer_id=ADA, address_id="home", address=HOME),
        AddressUpdated(consumer_id=ADA, address_id="home", address=WORK),
        AddressRemoved(consumer_id=ADA, address_id="home"),
    ]


@pytest.mark.parametrize("name", ["", " ", "\t\n"])
def test_a_consumer_has_a_name(name: str) -> None:
    consumer = registered()
    for act in (partial(Consumer.register, ADA), consumer.rename):
        with pytest.raises(ConsumerWithoutName, match=r"^cannot register a consumer without a name$"):
            act(name)
    assert (consumer.name, list(consumer.recorded)) == ("Ada", [])


def test_a_label_is_used_once() -> None:
    consumer = registered()
    consumer.add_address("home", HOME)
    with pytest.raises(AddressAlreadyExists, match="address with that identifier already exists"):
        consumer.add_address("home", WORK)
    consumer.add_address("work", WORK)
    assert consumer.addresses == {"home": HOME, "work": WORK}
    consumer.remove_address("home")
    consumer.add_address("home", WORK)
    assert consumer.address("home") == WORK


def test_a_label_that_is_not_used() -> None:
    consumer = registered()
    consumer.add_address("work", WORK)
    for act in (consumer.address, consumer.remove_address, lambda label: consumer.update_address(label, HOME)):
        with pytest.raises(AddressNotFound, match="address with that identifier does not exist"):
            act("home")
    assert consumer.addresses == {"work": WORK}


def test_a_snapshot_is_whole() -> None:
    consumer = registered()
    consumer.add_address("home", HOME)
    consumer.take_recorded()
    snapshots = SnapshotFormat.of(Consumer)
    assert snapshots.restore(snapshots.take(consumer)).__dict__ == consumer.__dict__


def test_a_consumer_has_a_limited_number_of_addresses() -> None:
    consumer = registered()
    for number in range(MAX_ADDRESSES):
        consumer.add_address(f"{number}", HOME)
    with pytest.raises(TooManyAddresses, match=r"^consumer has too many addresses$") as refused:
        consumer.add_address("one more", HOME)
    assert refused.value.code == "consumer_has_too_many_addresses"
    consumer.update_address("0", WORK)
    consumer.remove_address("0")
    consumer.add_address("one more", HOME)
    assert len(consumer.addresses) == MAX_ADDRESSES


def test_a_consumer_who_had_more_before_there_was_a_limit_keeps_them() -> None:
    consumer = registered()
    for number in range(MAX_ADDRESSES + 2):
        consumer.replay(AddressAdded(consumer_id=ADA, address_id=f"{number}", address=HOME))
    with pytest.raises(TooManyAddresses):
        consumer.add_address("one more", HOME)
    consumer.update_address("0", WORK)
    assert consumer.address(f"{MAX_ADDRESSES + 1}") == HOME
    consumer.remove_address("1")
    assert len(consumer.addresses) == MAX_ADDRESSES + 1


def test_a_consumer_who_is_erased_is_nobody() -> None:
    consumer = registered()
    consumer.add_address("home", HOME)
    consumer.take_recorded()
    consumer.erase()
    consumer.erase()
    assert list(consumer.recorded) == [ConsumerErased(consumer_id=ADA)]
    assert (consumer.name, consumer.addresses) == ("", {})
    for act in (
        lambda: consumer.rename("Ada"),
        lambda: consumer.add_address("work", WORK),
        lambda: consumer.update_address("home", WORK),
        lambda: consumer.remove_address("home"),
        lambda: consumer.address("home"),
        consumer.require_known,
    ):
        with pytest.raises(ConsumerNotFound):
            act()


def test_what_is_left_of_an_erased_consumers_events_still_makes_one() -> None:
    """Labels are personal too: without them nobody can tell any more which address was removed."""
    consumer = Consumer(id=ADA)
    nowhere = AddressAdded.personal
    for event in (
        ConsumerRegistered(consumer_id=ADA, **ConsumerRegistered.personal),
        AddressAdded(consumer_id=ADA, **nowhere),
        AddressAdded(consumer_id=ADA, **nowhere),
        AddressRemoved(consumer_id=ADA, **AddressRemoved.personal),
        AddressRemoved(consumer_id=ADA, **AddressRemoved.personal),
        ConsumerErased(consumer_id=ADA),
    ):
        consumer.replay(event)
    assert (consumer.version, consumer.erased) == (6, True)
