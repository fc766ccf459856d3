"""A reader that does not get from the stream what was sent to it, on memory."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY

from shared.adapters.memory.broker import MemoryBroker
from shared.adapters.memory.database import MemoryDatabase
from shared.messaging.broker import Publication
from shared.messaging.chain import Chains, Gap, Links, Missing, SentRow, link_header
from shared.messaging.envelope import Received
from shared.processing import gaps
from shared.tests.listening import HEARD, Replica, eventually, heard, heard_all, note, publish, texts
from shared.tests.wallets import NOON

READER = "listener"
SENDER = "row"  # what `heard` calls its rows after


class Relay:
    """Links messages as a relay does that has published nothing yet."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self.links = Links({HEARD: [READER]}, {})

    def linked(self, number: int) -> Publication:
        message = heard(number)
        return replace(message, headers={**message.headers, **self.links.next(number, f"m{number}", 0, HEARD)})

    async def publish(self, numbers: Iterable[int]) -> None:
        await publish(self._broker, *map(self.linked, numbers))


def listening(database: MemoryDatabase, broker: MemoryBroker, **options: Any) -> Replica:
    return Replica(database, broker, note, reader=READER, senders=[SENDER], **options)


def sent_again() -> float:
    return REGISTRY.get_sample_value("messages_sent_again_total") or 0.0


@pytest.fixture
def database() -> MemoryDatabase:
    return MemoryDatabase()


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker()


@pytest.mark.parametrize("damaged", [[1], [3], [2, 3, 4], [1, 3, 5], list(range(1, 140))])
async def test_what_the_stream_lacks_comes_from_the_sender_in_order(
    database: MemoryDatabase, broker: MemoryBroker, damaged: list[int]
) -> None:
    before, count = sent_again(), damaged[-1] + 2
    await Relay(broker).publish(range(1, count + 1))
    for position in damaged:
        broker.damage(position)
    replica = listening(database, broker)
    await heard_all(replica, range(1, count + 1))
    assert sent_again() - before == len(damaged)
    await replica.stop()


async def test_what_is_lost_while_the_reader_is_away_is_noticed_when_it_comes_back(
    database: MemoryDatabase, broker: MemoryBroker
) -> None:
    """It remembers the ends of its chains with its position."""
    relay = Relay(broker)
    await relay.publish([1, 2])
    replica = listening(database, broker)
    await heard_all(replica, [1, 2])
    await replica.stop()
    await relay.publish([3, 4])
    broker.damage(3)
    replica = listening(database, broker)
    await heard_all(replica, [1, 2, 3, 4])
    await replica.stop()


async def test_what_was_read_may_be_damaged_too(database: MemoryDatabase, broker: MemoryBroker) -> None:
    """Also the message at the position itself: it looks like a lost tail, and nothing comes of it."""
    relay = Relay(broker)
    await relay.publish([1, 2, 3])
    replica = listening(database, broker)
    await heard_all(replica, [1, 2, 3])
    await replica.stop()
    before = sent_again()
    for position in (2, 3):
        broker.damage(position)
    replica = listening(database, broker)
    await relay.publish([4])
    await heard_all(replica, [1, 2, 3, 4])
    assert sent_again() == before
    await replica.stop()


async def test_a_gap_at_the_end_is_noticed_though_nothing_comes_behind_it(
    database: MemoryDatabase, broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gaps, "UNDER_WAY", timedelta(0))
    await Relay(broker).publish([1, 2, 3])
    for position in (2, 3):
        broker.damage(position)
    replica = listening(database, broker, lease=timedelta(seconds=0.1))
    await heard_all(replica, [1, 2, 3])
    await replica.stop()


async def test_a_relay_that_repeats_what_was_had_leaves_no_gap(database: MemoryDatabase, broker: MemoryBroker) -> None:
    """After a crash it publishes again, and the links of what it repeats name rows that are not the last ones."""
    relay = Relay(broker)
    await relay.publish([1, 2, 3])
    replica = listening(database, broker)
    await heard_all(replica, [1, 2, 3])
    before = sent_again()
    again = Relay(broker)
    again.links = Links({HEARD: [READER]}, {"0/listener": "1 m1"})
    for number in (2, 3):
        broker.store(again.linked(number), again=True)
    await again.publish([4])
    await heard_all(replica, [1, 2, 3, 4])
    assert sent_again() == before
    await replica.stop()


async def test_a_repeat_is_known_though_its_sender_no_longer_has_what_was_before_it(
    database: MemoryDatabase, broker: MemoryBroker
) -> None:
    await Relay(broker).publish([1, 2, 3])
    replica = listening(database, broker)
    await heard_all(replica, [1, 2, 3])
    again = Relay(broker)
    again.links = Links({HEARD: [READER]}, {"0/listener": "1 m1"})
    broker.forget("row-3")
    broker.store(again.linked(2), again=True)
    again.links = Links({HEARD: [READER]}, {"0/listener": "3 m3"})
    await again.publish([4])
    await heard_all(replica, [1, 2, 3, 4])
    assert database.missing == []
    await replica.stop()


async def test_a_reader_without_the_ends_of_its_chains_goes_by_what_it_has_handled(
    database: MemoryDatabase, broker: MemoryBroker
) -> None:
    """As after a replica of a version that kept none: it asks for no more than is missing."""
    relay = Relay(broker)
    await relay.publish([1, 2, 3])
    replica = listening(database, broker)
    await heard_all(replica, [1, 2, 3])
    await replica.stop()
    database.heads.clear()
    await relay.publish([4, 5])
    broker.damage(4)
    before = sent_again()
    replica = listening(database, broker)
    await heard_all(replica, [1, 2, 3, 4, 5])
    assert sent_again() - before == 1
    await replica.stop()


async def test_a_resend_of_what_was_had_does_not_hide_what_is_missing_before_it(
    database: MemoryDatabase, broker: MemoryBroker
) -> None:
    """Its message is known, but not that row: what came between the two may be lost with it."""
    relay = Relay(broker)
    await relay.publish([1, 2])
    replica = listening(database, broker)
    await heard_all(replica, [1, 2])
    await replica.stop()
    await relay.publish([3])
    broker.damage(3)
    resent = heard(2, id_="m2", row="row-4")
    links = relay.links.next(4, "m2", 0, HEARD)
    await publish(broker, replace(resent, headers={**resent.headers, **links}))
    broker.damage(4)
    await relay.publish([5])
    replica = listening(database, broker)
    await heard_all(replica, [1, 2, 3, 5])
    await replica.stop()


async def test_messages_without_links_are_not_checked(database: MemoryDatabase, broker: MemoryBroker) -> None:
    """Those of a relay before there were links, and what others read."""
    await publish(broker, heard(1), heard(2))
    relay = Relay(broker)
    await relay.publish([3, 4])
    broker.damage(1)
    replica = listening(database, broker)
    await heard_all(replica, [2, 3, 4])
    await replica.stop()


async def test_what_no_one_has_any_more_is_written_down_and_the_rest_goes_on(
    database: MemoryDatabase, broker: MemoryBroker
) -> None:
    relay = Relay(broker)
    await relay.publish([1])
    replica = listening(database, broker)
    await heard_all(replica, [1])
    await replica.stop()
    await relay.publish([2, 3, 4, 5])
    for position in (2, 3, 4):
        broker.damage(position)
    broker.forget("row-3")
    for _ in range(2):  # a second time it is not written down again
        replica = listening(database, broker)
        await heard_all(replica, [1, 4, 5])
        await replica.stop()
        assert database.missing == [Missing(partition=0, sender=SENDER, after_row=1, before_row=4)]


async def test_a_new_reader_misses_nothing_of_what_was_before_it(
    database: MemoryDatabase, broker: MemoryBroker
) -> None:
    """What has expired, and whose sender no longer has it, was before its time."""
    await Relay(broker).publish([1, 2, 3])
    broker.damage(1)
    broker.forget("row-1")
    replica = listening(database, broker)
    await heard_all(replica, [2, 3])
    assert database.missing == []
    await replica.stop()


async def test_first_messages_that_are_gone_are_no_reason_to_stand_still_when_their_sender_has_them(
    database: MemoryDatabase, broker: MemoryBroker
) -> None:
    relay = Relay(broker)
    await relay.publish([1, 2])
    replica = listening(database, broker)
    await heard_all(replica, [1, 2])
    await replica.stop()
    await relay.publish([3, 4, 5, 6])
    broker.lose_first(4)
    replica = listening(database, broker)
    await heard_all(replica, range(1, 7))
    await replica.stop()


async def test_a_sender_that_does_not_answer_is_waited_for(broker: MemoryBroker, database: MemoryDatabase) -> None:
    """What comes behind a gap is not handled before what is in it."""
    await Relay(broker).publish([1, 2, 3])
    broker.damage(2)
    broker.relays_answer = False
    replica = listening(database, broker, lease=timedelta(seconds=0.1))

    async def says_so() -> bool:
        return "does not say what it has sent" in (replica.subscription.unavailable or "")

    await eventually(says_so)
    assert await replica.notes() == texts([1])
    broker.relays_answer = True
    await heard_all(replica, [1, 2, 3])
    await replica.stop()


def message(row: str, previous: str | None) -> Received:
    headers = {} if previous is None else {link_header(READER): previous}
    return Received(position=1, row_id=row, received_at=NOON, headers=headers, data="")


def test_each_sender_has_a_chain_of_its_own() -> None:
    chains = Chains(READER, {"order": 5})
    batch = [
        message("kitchen-3", "0"),
        message("order-6", "5 e"),
        message("kitchen-9", "3 c"),
        message("order-8", "7 g"),
    ]
    assert chains.gap(batch) == Gap(index=3, sender="order", row=8, previous=SentRow(row=7, message_id="g"))
    assert chains.gap(batch[:3]) is None
    assert chains.behind(batch[:3]) == {"order": 6, "kitchen": 9}
    assert chains.heads == {"order": 5}


@pytest.mark.parametrize("previous", [None, "", "x", "-1 m", "7.5 m"])
def test_what_is_no_link_is_none(previous: str | None) -> None:
    assert Chains(READER, {"order": 5}).gap([message("order-6", previous)]) is None


def test_a_relay_links_by_reader_and_partition() -> None:
    links = Links({"a": ["one"], "b": ["one", "two"]}, {"0/one": "4 d"})
    sent = ((5, "e", 0, "b"), (6, "f", 1, "a"), (7, "g", 0, "a"))
    one, two = link_header("one"), link_header("two")
    assert [links.next(*each) for each in sent] == [{one: "4 d", two: "0"}, {one: "0"}, {one: "5 e"}]
    assert links.next(8, "h", 0, "nobody's") == {}
    assert links.heads == {"0/one": "7 g", "0/two": "5 e", "1/one": "6 f"}
    assert links.take_sent() == [5, 6, 7]
    assert links.take_sent() == []
