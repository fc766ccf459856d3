"""Tests of sagas as stories: given events, expected commands, and replies to them.

    SagaTest(OrderUnitOfWork, MemoryDatabase())
        .given(an_order)
        .start(CreateOrderSaga(order_id=...))
        .expect(ValidateOrderByConsumer(...)).reply()
        .expect(CreateTicket(...)).refuse("restaurant not found")
        .expect_undone()

The real orchestrator runs the saga, its local steps included, with a clock that stands still. The database must answer
without waiting, and steps may wait for nothing else: so the story needs no `await`.
"""

from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, Self, TypeVar

from shared.core.clock import Clock
from shared.core.context import Cause
from shared.core.ids import new_id
from shared.core.messages import AnyCommand, Done, Refused, Reply
from shared.core.policy import Policy
from shared.core.serialization import decode_message, from_json, to_json
from shared.messaging.envelope import Envelope
from shared.saga.instance import SagaInstance
from shared.saga.machine import Phase
from shared.saga.orchestrator import instance_id
from shared.saga.saga import Saga, saga_type
from shared.unit_of_work.unit_of_work import Database, Transaction, UnitOfWork, Units

U = TypeVar("U", bound=UnitOfWork)
T = TypeVar("T")

_START = datetime(2026, 3, 1, 12, tzinfo=UTC)


class SagaTest(Generic[U]):
    """The story of one saga. Each `expect…` raises AssertionError if the saga does something else."""

    def __init__(
        self, make: Callable[[Transaction, Clock, Policy], U], database: Database, policy: Policy | None = None
    ) -> None:
        self.now = _START
        self.policy = policy or Policy()
        self._units = Units(database, lambda transaction: make(transaction, lambda: self.now, self.policy))
        self._saga_id = ""
        self._unexpected: list[Envelope] = []
        self._expected: Envelope | None = None

    @property
    def instance(self) -> SagaInstance:
        """The saga as it is stored."""

        async def find(uow: U) -> SagaInstance:
            return await uow.saga_instances.get(self._saga_id)

        return self._do(find)

    @property
    def saga(self) -> Saga:
        """The saga's data."""
        return from_json(saga_type(self.instance.type), self.instance.data)

    @property
    def command(self) -> Envelope:
        """The last expected command, as it was sent."""
        assert self._expected is not None, "no command has been expected yet"
        return self._expected

    def given(self, happening: Callable[[U], Awaitable[None]]) -> Self:
        """Run a function in a transaction of its own, beside the saga."""
        self._do(happening)
        return self

    def start(self, saga: Saga, *, by: str = "") -> Self:
        """Start the saga. `by` is the id of the message or request that starts it: use one id to start it twice.

        Raise the DomainError of a local first step.
        """
        cause = Cause("correlation", by or new_id(), "")

        async def start(uow: U) -> None:
            with uow.attempt(cause):
                await uow.sagas.start(saga)

        self._do(start)
        self._saga_id = instance_id(saga, cause.id)
        return self

    def expect(self, command: AnyCommand) -> Self:
        """Assert that exactly this command has been sent since the last expected one."""
        assert self._unexpected, f"expected {command}, but nothing was sent: {self._state()}"
        self._expected = self._unexpected.pop(0)
        assert decode_message(self._expected.type, self._expected.data) == command
        assert not self._unexpected, f"another command was sent with it: {self._unexpected}"
        return self

    def expect_nothing(self) -> Self:
        """Assert that no command has been sent."""
        assert not self._unexpected, f"nothing was expected, but this was sent: {self._unexpected}"
        return self

    def reply(self, reply: Reply | None = None, *, to: Envelope | None = None) -> Self:
        """Carry out the last expected command, or `to`."""
        command = to or self.command
        answer = reply or Done()
        type_ = type(decode_message(command.type, command.data))
        assert isinstance(answer, Refused | type_.reply_type())  # type: ignore[attr-defined]
        envelope = Envelope(
            id=new_id(),
            type=answer.type_name,
            kind="reply",
            source=command.type.partition(".")[0],
            key=command.reply_key or command.key,
            data=to_json(answer),
            time=self.now,
            correlation_id=command.correlation_id,
            causation_id=command.id,
            saga_id=command.saga_id,
            reply_to=command.reply_to,
        )

        async def take(uow: U) -> None:
            with uow.attempt(Cause(envelope.correlation_id, envelope.id, envelope.causation_id)):
                await uow.sagas.take_reply(envelope, answer)

        self._do(take)
        return self

    def refuse(self, message: str = "no", *, to: Envelope | None = None) -> Self:
        """Refuse the last expected command, or `to`."""
        return self.reply(Refused(kind="failed_precondition", code="no", message=message), to=to)

    def after(self, time: timedelta) -> Self:
        """Move the clock, and wake the saga if it is due."""
        self.now += time

        async def wake(uow: U) -> None:
            for id_, correlation_id in await uow.transaction.saga_timers.due(uow.policy.sagas_due(self.now), 100):
                with uow.attempt(Cause(correlation_id, new_id(), "")):
                    await uow.sagas.wake(id_)

        self._do(wake)
        return self

    def resume(self) -> Self:
        """Resume a stuck saga, as an operator."""

        async def resume(uow: U) -> bool:
            return await uow.sagas.resume(self._saga_id)

        assert self._do(resume), f"not stuck: {self._state()}"
        return self

    def retry(self) -> Self:
        """Let a waiting saga try again now, as an operator."""

        async def retry(uow: U) -> bool:
            return await uow.sagas.retry(self._saga_id)

        assert self._do(retry), f"not on its way: {self._state()}"
        return self

    def expect_completed(self) -> Self:
        """Assert that all steps have succeeded."""
        return self._expect_end(Phase.COMPLETED)

    def expect_undone(self) -> Self:
        """Assert that all steps that can be undone were undone."""
        return self._expect_end(Phase.UNDONE)

    def expect_stuck(self) -> Self:
        """Assert that the saga has given up and waits for an operator."""
        assert self.instance.stuck, self._state()
        assert self.instance.due_at is None
        return self.expect_nothing()

    def expect_pause(self) -> Self:
        """Assert that the saga waits for no reply, but to try its step again."""
        assert self.instance.awaiting is None, self._state()
        assert self.instance.due_at is not None, self._state()
        return self.expect_nothing()

    def until_due(self) -> Self:
        """Move the clock to when the saga is due, and wake it."""
        due = self.instance.due_at
        assert due is not None, f"nothing is due: {self._state()}"
        return self.after(due - self.now)

    def then(self, check: Callable[[U], Awaitable[None]]) -> Self:
        """Run a function that looks at the results and asserts."""
        return self.given(check)

    def _expect_end(self, phase: Phase) -> Self:
        assert self.instance.phase is phase, self._state()
        assert (self.instance.awaiting, self.instance.due_at, self.instance.stuck) == (None, None, False)
        return self.expect_nothing()

    def _state(self) -> str:
        return str(self.instance) if self._saga_id else "no saga has started"

    def _do(self, work: Callable[[U], Awaitable[T]]) -> T:
        async def in_a_transaction() -> T:
            async with self._units.begin() as uow:
                result = await work(uow)
                await uow.flush()
                self._unexpected += [message for message in uow.sent() if message.kind == "command"]
            return result

        return _at_once(in_a_transaction())


def _at_once(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits, without an event loop."""
    try:
        work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    work.close()
    raise RuntimeError("a step waits for something: steps must not wait in a SagaTest")
