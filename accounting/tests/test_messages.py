"""What consumers' events lead to, and what sagas ask of accounts."""

from datetime import timedelta

import pytest

from accounting.contracts import AuthorizeOrder, ReverseAuthorizeOrder, ReviseAuthorizeOrder
from consumer.contracts import ConsumerErased, ConsumerRegistered, ConsumerUpdated
from kernel.values import ConsumerId, Money, OrderId
from shared.core.messages import AnyCommand, Done, Refused
from shared.core.policy import Policy
from shared.testing.system import MemorySystem

ADA = ConsumerId("0197f2b0-0000-7000-8000-000000000001")
ORDER = OrderId("0197f2b0-0000-7000-8000-000000000002")
REGISTERED = ConsumerRegistered(consumer_id=ADA, name="Ada")
AUTHORIZE = AuthorizeOrder(consumer_id=ADA, order_id=ORDER, order_total=Money(1000))
REVISE = ReviseAuthorizeOrder(consumer_id=ADA, order_id=ORDER, current_order_total=Money(1000), order_total=Money(700))
REVERSE = ReverseAuthorizeOrder(consumer_id=ADA, order_id=ORDER, order_total=Money(700))


def replies(system: MemorySystem) -> list[str]:
    outbox = system.services["accounting"].database.outbox
    return [each.headers["ce-type"] for each in outbox if each.headers["ce-kind"] == "reply"]


async def total(system: MemorySystem) -> int:
    answer = await system.client("accounting").get(f"/api/accounts/{ADA}")
    return int(answer.json()["authorized_total"])


async def test_a_consumer_gets_an_account_with_the_name_of_the_day() -> None:
    async with MemorySystem(["accounting"]) as system:
        await system.tell(REGISTERED, ConsumerUpdated(consumer_id=ADA, name="Ada Lovelace"))
        answer = await system.client("accounting").get(f"/api/accounts/{ADA}")
        assert answer.json() == {"id": ADA, "name": "Ada Lovelace", "enabled": True, "authorized_total": 0}


async def test_an_authorization_is_made_revised_and_reversed() -> None:
    async with MemorySystem(["accounting"]) as system:
        await system.tell(REGISTERED)
        for command, expected in ((AUTHORIZE, 1000), (REVISE, 700), (REVERSE, 0)):
            await system.tell(command, reply_to="order")
            assert await total(system) == expected
        assert replies(system) == [Done.type_name] * 3


@pytest.mark.parametrize("command", [AUTHORIZE, REVISE, REVERSE], ids=lambda command: command.type_name)
async def test_a_disabled_account_refuses(command: AnyCommand) -> None:
    async with MemorySystem(["accounting"]) as system:
        await system.tell(REGISTERED)
        assert (await system.client("accounting").put(f"/api/accounts/{ADA}/disable")).status_code == 200
        await system.tell(command, reply_to="order")
        assert replies(system) == [Refused.type_name]
        assert await total(system) == 0


async def test_an_account_that_is_not_there_yet_is_waited_for() -> None:
    async with MemorySystem(["accounting"]) as system:
        await system.tell(AUTHORIZE, reply_to="order")
        assert replies(system) == []
        await system.tell(REGISTERED)
        await system.settle(Policy().grace)
        assert replies(system) == [Done.type_name]
        assert await total(system) == 1000


async def test_an_account_that_does_not_come_is_refused() -> None:
    async with MemorySystem(["accounting"]) as system:
        await system.tell(AUTHORIZE, reply_to="order")
        await system.settle(Policy().grace + timedelta(seconds=1))
        assert replies(system) == [Refused.type_name]


async def test_a_second_account_of_a_consumer_is_not_made() -> None:
    async with MemorySystem(["accounting"]) as system:
        await system.tell(REGISTERED, AUTHORIZE)
        await system.tell(ConsumerRegistered(consumer_id=ADA, name="Eve"))
        answer = await system.client("accounting").get(f"/api/accounts/{ADA}")
        assert (answer.json()["name"], answer.json()["authorized_total"]) == ("Ada", 1000)
        waiting = system.services["accounting"].database.waiting.values()
        assert [message.error for message in waiting] == ["account already exists"], "somebody has to look at it"


async def test_the_account_of_an_erased_consumer_stays_without_the_name() -> None:
    async with MemorySystem(["accounting"]) as system:
        await system.tell(REGISTERED, AUTHORIZE, ConsumerErased(consumer_id=ADA), ConsumerErased(consumer_id=ADA))
        answer = await system.client("accounting").get(f"/api/accounts/{ADA}")
        assert answer.json() == {"id": ADA, "name": "", "enabled": True, "authorized_total": 1000}
        await system.tell(REVERSE, reply_to="order")
        assert replies(system) == [Done.type_name], "orders under way come to their end"
