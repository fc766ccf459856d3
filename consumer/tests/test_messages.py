"""What sagas ask of the consumer service, and what it tells the others."""

from consumer.contracts import (
    AddressAdded,
    ConsumerErased,
    ConsumerRegistered,
    ConsumerUpdated,
    ValidateOrderByConsumer,
)
from kernel.values import ConsumerId, Money, OrderId
from shared.core.messages import Done, Refused
from shared.core.serialization import decode_message
from shared.messaging.envelope import Envelope
from shared.testing.system import MemorySystem

NOBODY = ConsumerId("0197f2b0-0000-7000-8000-00000000ffff")


def sent(system: MemorySystem) -> list[Envelope]:
    """All that the service has sent."""
    outbox = system.services["consumer"].database.outbox
    return [Envelope.from_headers(publication.headers, publication.data) for publication in outbox]


def validate(consumer: ConsumerId) -> ValidateOrderByConsumer:
    return ValidateOrderByConsumer(consumer_id=consumer, order_id=OrderId("o"), order_total=Money(100))


async def test_an_order_of_a_consumer_is_valid() -> None:
    async with MemorySystem(["consumer"]) as system:
        answer = await system.client("consumer").post("/api/consumers", json={"name": "Ada"})
        await system.tell(validate(ConsumerId(answer.json()["id"])), reply_to="order")
        reply = sent(system)[-1]
        assert (reply.type, reply.route, reply.outcome) == (Done.type_name, "reply.order", "success")


async def test_an_order_of_nobody_is_refused_at_once() -> None:
    """Whoever has a consumer's id has it from this service: there is nothing to wait for."""
    async with MemorySystem(["consumer"]) as system:
        await system.tell(validate(NOBODY), reply_to="order")
        (reply,) = sent(system)
        assert reply.outcome == "refusal"
        assert decode_message(reply.type, reply.data) == Refused(
            kind="not_found", code="consumer_not_found", message="consumer not found"
        )


async def test_what_happens_to_consumers_is_published() -> None:
    async with MemorySystem(["consumer"]) as system:
        http = system.client("consumer")
        consumer = (await http.post("/api/consumers", json={"name": "Ada"})).json()["id"]
        await http.put(f"/api/consumers/{consumer}/rename", json={"name": "Grace"})
        address = {"street1": "1 Main Street", "city": "Oakland", "state": "CA", "zip": "94611"}
        await http.post(f"/api/consumers/{consumer}/addresses", json={"address_id": "home", "address": address})
        types = [ConsumerRegistered.type_name, ConsumerUpdated.type_name, AddressAdded.type_name]
        assert [message.type for message in sent(system)] == types
        assert [(message.key, message.sequence) for message in sent(system)] == [(consumer, n) for n in (1, 2, 3)]


async def test_an_order_of_an_erased_consumer_is_refused() -> None:
    async with MemorySystem(["consumer"]) as system:
        http = system.client("consumer")
        consumer = (await http.post("/api/consumers", json={"name": "Ada"})).json()["id"]
        await http.delete(f"/api/consumers/{consumer}")
        await system.tell(validate(ConsumerId(consumer)), reply_to="order")
        assert [message.type for message in sent(system)][-2:] == [ConsumerErased.type_name, Refused.type_name]
