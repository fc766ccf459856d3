"""`/admin`: the operations on parked messages and sagas over HTTP, on a port that only this machine reaches."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Self

import msgspec
from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request
from pydantic import BaseModel, Field, JsonValue, model_validator

from shared.core.errors import NotFound
from shared.host.admin.repairs import By, MessageNotParked, Repairs, SagaNotFound, saga_data, step_name
from shared.messaging.repair_log import Action, Repair
from shared.messaging.set_aside import ParkedFilter, SetAside
from shared.processing.dispatcher import StillAwaited
from shared.saga.instance import SagaFilter, SagaInstance
from shared.web.documents import AN_ID
from shared.web.parameters import Body, Name, Text
from shared.web.problems import documented, problems

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_A_TIME = "2026-03-01T12:00:00Z"
_A_TYPE = "kitchen.CreateTicket"
_A_SAGA = "order.CreateOrderSaga"

Limit = Annotated[int, Query(ge=1, le=1000, description="How many at most.")]
Key = Annotated[Text | None, Query(description="Those of this key only.")]
Type = Annotated[Text | None, Query(alias="type", description="Those of this type only.")]
Id = Annotated[str, Path(alias="id", description="Which one.")]
Error = Annotated[Text | None, Query(description="Those with this in their error only.")]


class NoSuchSaga(NotFound):
    """No such saga is stuck, so that it could be resumed, or on its way, so that it could be retried."""

    text = "no such saga is there to go on"


class RepairBody(Body):
    """Who does it, and why: both are recorded."""

    operator: Name = Field(examples=["ada"])
    reason: Text = Field("", examples=["kitchen 1.4 can read them"])

    def by(self) -> By:
        """Return the operator and the reason as `Repairs` takes them."""
        return By(operator=self.operator, reason=self.reason)


class SelectionBody(RepairBody):
    """Which ones are meant: by their id, type, key or error, or all of them."""

    id: Name | None = Field(None, examples=[AN_ID])
    type: Name | None = Field(None, examples=[_A_TYPE])
    error: Name | None = Field(None, description="A part of the error.", examples=["division by zero"])
    all: bool = Field(False, examples=[False])

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        if not (self.all or self.id or self.type or self.error or getattr(self, "key", None)):
            raise ValueError("say which: something about them, or all")
        return self


class RedriveBody(SelectionBody):
    """Which parked messages are to be handled again."""

    key: Name | None = Field(None, examples=[AN_ID])

    def wanted(self) -> ParkedFilter:
        """Return the selection as `Repairs` takes it."""
        return ParkedFilter(message_id=self.id, key=self.key, type=self.type, error=self.error)


class DropBody(RedriveBody):
    """Which parked messages are given up, and why."""

    reason: Name = Field(examples=["sent by a test"])


class RepairAnswer(BaseModel):
    """What was done, and how it was before."""

    at: datetime = Field(examples=[_A_TIME])
    operator: str = Field(examples=["ada"])
    action: str = Field(examples=["redrive"])
    id: str = Field(examples=[AN_ID])
    type: str = Field(examples=[_A_TYPE])
    key: str = Field(examples=[AN_ID])
    reason: str = Field(examples=["kitchen 1.4 can read them"])
    details: dict[str, JsonValue] = Field(examples=[{"attempts": 5, "error": "division by zero"}])

    @classmethod
    def of(cls, repair: Repair) -> Self:
        """Return the answer for a record."""
        return cls(
            at=repair.at,
            operator=repair.operator,
            action=repair.action,
            id=repair.subject,
            type=repair.type,
            key=repair.key,
            reason=repair.reason,
            details=msgspec.json.decode(repair.details),
        )


class MessageAnswer(BaseModel):
    """A message that waits; `parked_at` is null for one that waits behind another."""

    id: str = Field(examples=[AN_ID])
    type: str = Field(examples=[_A_TYPE])
    key: str = Field(examples=[AN_ID])
    sender: str = Field(examples=["order"])
    attempts: int = Field(examples=[5])
    set_aside_at: datetime = Field(examples=[_A_TIME])
    parked_at: datetime | None = Field(examples=[_A_TIME])
    error: str = Field(examples=["division by zero"])

    @classmethod
    def of(cls, message: SetAside, **more: Any) -> Self:
        """Return the answer for a message."""
        return cls(
            id=message.message_id,
            type=message.received.headers.get("ce-type", ""),
            key=message.line.key,
            sender=message.line.source,
            attempts=message.attempts,
            set_aside_at=message.set_aside_at,
            parked_at=message.parked_at,
            error=message.error,
            **more,
        )


class ParkedAnswer(MessageAnswer):
    """A parked message, and how many wait behind it."""

    behind: int = Field(examples=[2])


class ParkedListAnswer(BaseModel):
    """Parked messages in order."""

    parked: list[ParkedAnswer]


class ParkedMessageAnswer(MessageAnswer):
    """A parked message with its headers and data, what waits behind it, and what was done about it before."""

    headers: dict[str, str] = Field(examples=[{"ce-type": _A_TYPE}])
    data: str = Field(examples=['{"order_id": "…"}'])
    behind: list[MessageAnswer]
    history: list[RepairAnswer]


class SagaAnswer(BaseModel):
    """A saga that has not ended. While it waits for a reply, `awaiting` is the id of the command it sent."""

    id: str = Field(examples=[AN_ID])
    type: str = Field(examples=[_A_SAGA])
    key: str = Field(examples=[AN_ID])
    step: int = Field(examples=[3])
    step_name: str = Field(examples=["authorize"])
    phase: str = Field(examples=["forward"])
    stuck: bool = Field(examples=[True])
    awaiting: str | None = Field(examples=[AN_ID])
    command: str = Field(examples=["accounting.AuthorizeOrder"])
    attempts: int = Field(examples=[8])
    resends: int = Field(examples=[0])
    due_at: datetime | None = Field(examples=[_A_TIME])
    error: str = Field(examples=["account not found"])
    correlation_id: str = Field(examples=[AN_ID])
    started_at: datetime = Field(examples=[_A_TIME])
    updated_at: datetime = Field(examples=[_A_TIME])

    @classmethod
    def of(cls, saga: SagaInstance, **more: Any) -> Self:
        """Return the answer for a saga."""
        return cls(
            id=saga.id,
            type=saga.type,
            key=saga.key,
            step=saga.step + 1,
            step_name=step_name(saga),
            phase=saga.phase,
            stuck=saga.stuck,
            awaiting=saga.awaiting,
            command=saga.command,
            attempts=saga.attempts,
            resends=saga.resends,
            due_at=saga.due_at,
            error=saga.error,
            correlation_id=saga.correlation_id,
            started_at=saga.started_at,
            updated_at=saga.updated_at,
            **more,
        )


class SagaListAnswer(BaseModel):
    """Sagas that have not ended, the oldest first."""

    sagas: list[SagaAnswer]


class StepAnswer(BaseModel):
    """A step of a saga."""

    name: str = Field(examples=["authorize"])
    state: str = Field(examples=["now"])


class OneSagaAnswer(SagaAnswer):
    """A saga with what it knows, its steps, and what was done about it before."""

    data: dict[str, JsonValue] = Field(examples=[{"order_id": AN_ID}])
    steps: list[StepAnswer]
    history: list[RepairAnswer]


class HistoryAnswer(BaseModel):
    """What was done by hand, the newest first."""

    history: list[RepairAnswer]


class CountAnswer(BaseModel):
    """How many messages or sagas were changed."""

    count: int = Field(examples=[3])


def routes(repairs: Repairs[Any], host: str) -> APIRouter:
    """Return the routes. On loopback a request with another host name is refused: it may come from a web page whose
    name was made to resolve to this machine."""

    def from_here(request: Request) -> None:
        if host in LOOPBACK and request.url.hostname not in LOOPBACK:
            raise HTTPException(403, _ELSEWHERE)

    router = APIRouter(prefix="/admin", tags=["repair"], dependencies=[Depends(from_here)])
    forbidden: dict[int | str, dict[str, Any]] = {403: documented(403, _ELSEWHERE)}

    @router.get("/parked", summary="List parked messages", responses=problems() | forbidden)
    async def list_parked(
        key: Key = None, type_: Type = None, error: Error = None, limit: Limit = 100
    ) -> ParkedListAnswer:
        """Those that wait for a person, in order; what comes behind one of the same key and sender waits with it."""
        found = await repairs.parked(ParkedFilter(key=key, type=type_, error=error), limit)
        return ParkedListAnswer(parked=[ParkedAnswer.of(each.message, behind=each.behind) for each in found])

    @router.post("/parked/redrive", summary="Handle again", responses=problems(MessageNotParked, body=True) | forbidden)
    async def redrive(body: RedriveBody) -> CountAnswer:
        """Has parked messages, and those behind them, handled again in order."""
        return _counted(await repairs.redrive(body.wanted(), body.by()), MessageNotParked)

    @router.post(
        "/parked/drop", summary="Give up", responses=problems(MessageNotParked, StillAwaited, body=True) | forbidden
    )
    async def drop(body: DropBody) -> CountAnswer:
        """Gives parked messages up: a command is refused, an event passed over for good."""
        return _counted(await repairs.drop(body.wanted(), body.by()), MessageNotParked)

    @router.get("/parked/{id:text}", summary="Show a parked message", responses=problems(MessageNotParked) | forbidden)
    async def show_parked(id_: Id, limit: Limit = 100) -> ParkedMessageAnswer:
        """With its headers and data, and the first messages that wait behind it."""
        found = await repairs.parked_message(id_, limit)
        return ParkedMessageAnswer.of(
            found.message,
            headers=dict(found.message.received.headers),
            data=found.message.received.data,
            behind=[MessageAnswer.of(each) for each in found.behind],
            history=_history(found.repairs),
        )

    @router.get("/sagas", summary="List sagas", responses=problems() | forbidden)
    async def list_sagas(
        stuck: Annotated[bool | None, Query(description="Those that wait for a person only, or the others.")] = None,
        type_: Type = None,
        error: Error = None,
        limit: Limit = 100,
    ) -> SagaListAnswer:
        """Those that have not ended, the oldest first."""
        found = await repairs.sagas(SagaFilter(stuck=stuck, type=type_, error=error), limit)
        return SagaListAnswer(sagas=[SagaAnswer.of(each) for each in found])

    @router.post("/sagas/resume", summary="Resume stuck sagas", responses=problems(NoSuchSaga, body=True) | forbidden)
    async def resume(body: SelectionBody) -> CountAnswer:
        """Has stuck sagas try their step again, with a new command."""
        wanted = SagaFilter(id=body.id, type=body.type, error=body.error)
        return _counted(await repairs.resume(wanted, body.by()), NoSuchSaga)

    @router.post("/sagas/retry", summary="Hurry sagas", responses=problems(NoSuchSaga, body=True) | forbidden)
    async def retry(body: SelectionBody) -> CountAnswer:
        """Has sagas on their way do now what they would do when their time-out is over: send their command again."""
        wanted = SagaFilter(id=body.id, type=body.type, error=body.error)
        return _counted(await repairs.retry(wanted, body.by()), NoSuchSaga)

    @router.get("/sagas/{id:text}", summary="Show a saga", responses=problems(SagaNotFound) | forbidden)
    async def show_saga(id_: Id) -> OneSagaAnswer:
        """With what it knows, and its steps; also one that has ended."""
        found = await repairs.saga(id_, 100)
        steps = [StepAnswer(name=step.name, state=step.state) for step in found.steps]
        data = saga_data(found.instance)
        return OneSagaAnswer.of(found.instance, data=data, steps=steps, history=_history(found.repairs))

    @router.get("/history", summary="What was done by hand", responses=problems() | forbidden)
    async def list_history(limit: Limit = 100) -> HistoryAnswer:
        """About messages and sagas, the newest first."""
        return HistoryAnswer(history=_history(await repairs.history(list(Action), limit)))

    return router


_ELSEWHERE = "this is for programs on this machine: address it as 127.0.0.1 or localhost"


def _counted(count: int, none: type[NotFound]) -> CountAnswer:
    if count == 0:
        raise none
    return CountAnswer(count=count)


def _history(repairs: Sequence[Repair]) -> list[RepairAnswer]:
    return [RepairAnswer.of(repair) for repair in repairs]
