"""Commands and events of one key come from different services, in either order."""

from datetime import timedelta

from accounting.contracts import AuthorizeOrder
from consumer.contracts import ConsumerRegistered
from kernel.values import ConsumerId, Money, OrderId
from shared.core.ids import new_id
from shared.core.messages import Message
from shared.core.serialization import to_json
from shared.messaging.broker import Publication, subject_of
from shared.messaging.envelope import Envelope, Kind
from shared.testing.system import MemorySystem

CONSUMER = ConsumerId(new_id())


def arrives(system: MemorySystem, message: Message, kind: Kind, source: str) -> None:
    """The broker stores a message."""
    envelope = Envelope(
        id=new_id(),
        type=message.type_name,
        kind=kind,
        source=source,
        key=message.key,
        data=to_json(message),
        time=system.clock(),
        correlation_id="c",
        causation_id="c",
        reply_to="order" if kind == "command" else None,
    )
    publication = Publication(
        row_id=envelope.id, subject=subject_of(0, envelope.route), headers=envelope.to_headers(), data=envelope.data
    )
    system.broker.store(publication)


def authorization() -> AuthorizeOrder:
    """A saga wants an order to be authorized."""
    return AuthorizeOrder(consumer_id=CONSUMER, order_id=OrderId(new_id()), order_total=Money(100))


async def test_an_authorization_waits_for_the_account_that_has_the_same_key() -> None:
    async with MemorySystem(["accounting"]) as system:
        arrives(system, authorization(), "command", "order")
        arrives(system, authorization(), "command", "order")
        await system.settle()
        arrives(system, ConsumerRegistered(consumer_id=CONSUMER, name="Ada"), "event", "consumer")
        await system.settle(timedelta(seconds=1))

        account = (await system.client("accounting").get(f"/api/accounts/{CONSUMER}")).json()
        assert account["authorized_total"] == 200
        replies = [
            row.headers["ce-outcome"] for row in system.services["accounting"].database.outbox if "reply" in row.subject
        ]
        assert replies == ["success", "success"]


async def test_an_authorization_is_refused_when_no_account_has_come() -> None:
    async with MemorySystem(["accounting"]) as system:
        arrives(system, authorization(), "command", "order")
        await system.settle(timedelta(seconds=4))
        outbox = system.services["accounting"].database.outbox
        assert outbox == []
        await system.settle(timedelta(seconds=2))
        (reply,) = outbox
        assert (reply.headers["ce-outcome"], "account not found" in reply.data) == ("refusal", True)
