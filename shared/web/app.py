"""The web application that every service serves its API with."""

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, Protocol

from fastapi import APIRouter, FastAPI, Response
from fastapi.responses import PlainTextResponse
from fastapi.routing import APIRoute
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, Field
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.core.context import Cause, handling
from shared.core.ids import new_id
from shared.telemetry import metrics, traces
from shared.web import problems
from shared.web.documents import Api
from shared.web.gate import Gate, Visit
from shared.web.hardening import SecurityHeaders

MAX_BODY = 1 << 20
BODY_SECONDS = 60.0
"""How long a client may take for a body."""
_MAX_DRAINED_BYTES = 16 << 20
_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_OPERATIONAL = ("/ping", "/readyz", "/metrics", "/docs", "/openapi.json")


class Readiness(Protocol):
    """Says whether a service can work, and what waits for an operator."""

    async def reasons(self) -> list[str]:
        """Why it can't; empty when it can."""
        ...

    async def measure(self) -> None:
        """Sets the metrics of what waits in its database, as far as that can be read now."""
        ...


def create_app(
    title: str,
    description: str,
    router: APIRouter,
    readiness: Readiness,
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None,
    gate: Gate | None = None,
    tags: Mapping[str, str] | None = None,
    contact: str = "The maintainers",
) -> FastAPI:
    """The service's API with /ping, /readyz, /metrics, /docs and /openapi.json."""
    app = Api(
        title=title,
        description=description,
        tags=tags or {},
        contact=contact,
        version="1.0.0",
        lifespan=lifespan,
        generate_unique_id_function=_operation_id,
        redirect_slashes=False,  # a path with a slash more is another path; and a redirect would believe `Host`
        separate_input_output_schemas=False,
        telemetry={"tracing": traces.exporting(), "metrics": False, "logs": False},
    )
    problems.install(app)
    app.include_router(router)
    app.include_router(_operations(readiness))
    app.add_middleware(RequestMiddleware, gate=gate or Gate())
    app.add_middleware(SecurityHeaders)
    return app


class HealthAnswer(BaseModel):
    """That all is well."""

    status: str = Field(examples=["ready"])


def _operations(readiness: Readiness) -> APIRouter:
    router = APIRouter(tags=["operations"])
    not_ready = problems.documented(503, "PostgreSQL: the migrations have not been applied yet")

    @router.get("/ping", summary="Is the process alive?")
    async def ping() -> HealthAnswer:
        """For liveness probes: looks at nothing but the process itself."""
        return HealthAnswer(status="alive")

    @router.get("/readyz", summary="Can the service work?", response_model=HealthAnswer, responses={503: not_ready})
    async def readyz() -> Any:
        """For readiness probes: whether database and broker can be reached, and the migrations are applied."""
        reasons = await readiness.reasons()
        return problems.problem(503, "; ".join(reasons)) if reasons else HealthAnswer(status="ready")

    metrics_example: dict[int | str, dict[str, Any]] = {
        200: {"content": {"text/plain": {"example": "placed_orders_total 3.0\n"}}}
    }

    @router.get(
        "/metrics", summary="Metrics for Prometheus", response_class=PlainTextResponse, responses=metrics_example
    )
    async def prometheus() -> Response:
        """In the text format of Prometheus."""
        await readiness.measure()
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return router


def _operation_id(route: APIRoute) -> str:
    return route.name


class RequestMiddleware:
    """Around each request: its three ids, its time, and the limits on its body and on how many there are."""

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        self._app = app
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _operational(scope["path"]):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        id_ = new_id()
        correlation_id = _plain(headers.get("x-correlation-id")) or id_
        started = time.perf_counter()
        status = 500

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                added = MutableHeaders(raw=message["headers"])
                added["X-Correlation-Id"] = correlation_id
                added["X-Request-Id"] = id_
                added["Cache-Control"] = "no-store"
                if self._gate.leaving:
                    added["Connection"] = "close"
            await send(message)

        traceparent = traces.current_traceparent() or _plain(headers.get("traceparent"))
        with handling(Cause(correlation_id, id_, _plain(headers.get("x-request-id")) or id_, traceparent)):
            if refusal := self._gate.refusal():
                await problems.unavailable(refusal)(scope, receive, answer)
            elif int(headers.get("content-length") or 0) > MAX_BODY:
                if "expect" not in headers:  # who waits for our leave has not sent anything
                    await drain_body(receive)
                await problems.problem(413, problems.TOO_LARGE)(scope, receive, answer)
            else:
                with self._gate.passing() as visit:
                    await self._answered(scope, _bounded(receive, visit), answer)
        duration = time.perf_counter() - started
        metrics.HTTP.labels(scope["method"], _route_of(scope), str(status)).observe(duration)

    async def _answered(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A bug is answered here: further out, the answer would lack the ids and the metrics the request."""
        begun = False

        async def noticed(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, noticed)
        except Exception as error:
            if begun:
                raise
            await problems.unforeseen(error)(scope, receive, send)


def _operational(path: str) -> bool:
    return path in _OPERATIONAL or path.startswith("/docs/")


def _route_of(scope: Scope) -> str:
    route: Any = scope.get("route")
    return str(getattr(route, "path", "unmatched"))


def _plain(value: str | None) -> str | None:
    """A client's id, if it is one: it is logged and sent on, so it may not be long or contain anything odd."""
    return value if value and _ID.fullmatch(value) else None


def _bounded(receive: Receive, visit: Visit) -> Receive:
    """Ends a body that turns out longer than it may be, though its length was not declared, or that takes too long, or
    that there is no room for now."""
    size = 0
    complete = False
    until = asyncio.get_running_loop().time() + BODY_SECONDS

    async def bounded() -> Message:
        nonlocal size, complete
        try:
            async with asyncio.timeout_at(None if complete else until):
                message = await receive()
        except TimeoutError:
            raise problems.BodyTooSlow from None
        complete = not message.get("more_body", False)
        size += len(message.get("body", b""))
        if size > MAX_BODY or not visit.has_room_for(size):
            visit.end()
            if not complete:
                await drain_body(receive)
            raise problems.BodyTooLarge if size > MAX_BODY else problems.NoRoomForBody
        return message

    return bounded


async def drain_body(receive: Receive) -> None:
    """Takes what is left of a body: a client that is still sending when the connection is closed sees no answer."""
    size = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(BODY_SECONDS):
            while size < _MAX_DRAINED_BYTES:
                message = await receive()
                size += len(message.get("body", b""))
                if not message.get("more_body", False):
                    return
